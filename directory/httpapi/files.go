package httpapi

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"

	"carillon/directory/location"
)

// fromHere serves what reads and writes files of the machine: to clients on it
// alone.
func (a *API) fromHere(operation string, h handler) http.Handler {
	return a.change(operation, func(r *http.Request) (answer, error) {
		if err := FromHere(r); err != nil {
			return answer{}, &failure{forbidden, http.StatusForbidden, fmt.Errorf("%s is for clients on the server's own machine: %w", operation, err)}
		}
		// A copy takes as long as it takes, and is not left half done because the
		// client went away.
		return h(r.WithContext(context.WithoutCancel(r.Context())))
	})
}

// FromHere tells why a request may have come from another machine. Both ends
// of its connection must be loopback addresses; it must not have been forwarded by
// a proxy; and it must be addressed to a loopback name, or a page whose name
// resolves to this machine could have a browser send it.
func FromHere(r *http.Request) error {
	local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if local == nil || !loopback(local.String()) {
		return errors.New("the listener's address is not loopback")
	}
	if !loopback(r.RemoteAddr) {
		return fmt.Errorf("%s is not loopback", r.RemoteAddr)
	}
	for _, header := range []string{"Forwarded", "X-Forwarded-For", "Via"} {
		if r.Header.Get(header) != "" {
			return fmt.Errorf("the request was forwarded, %s says", header)
		}
	}
	if !loopback(r.Host) {
		return fmt.Errorf("host %.80q is not loopback", r.Host)
	}
	return nil
}

// loopback tells whether an address, with or without a port, is of this machine
// alone.
func loopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		host = address
	}
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && ip.Unmap().IsLoopback()
}

// Folder is the body of a request to back up or to restore.
type Folder struct {
	Dir string `json:"dir"` // an absolute path on the server's machine
}

func folder(r *http.Request) (string, error) {
	var body Folder
	if err := decode(r, &body); err != nil {
		return "", err
	}
	if !filepath.IsAbs(body.Dir) {
		return "", bad("dir is %.80q, want an absolute path on the server's machine", body.Dir)
	}
	return filepath.Clean(body.Dir), nil
}

// Copied is the answer about a backup made or restored.
type Copied struct {
	Dir      string `json:"dir"`
	Revision uint64 `json:"revision"` // of the directory, at least
}

func (a *API) backup(r *http.Request) (answer, error) {
	dir, err := folder(r)
	if err != nil {
		return answer{}, err
	}
	revision := a.config.Directory.Revision()
	err = a.config.Directory.Backup(dir)
	if errors.Is(err, fs.ErrExist) {
		return answer{}, &failure{"exists", http.StatusConflict, err}
	}
	return answer{data: Copied{Dir: dir, Revision: revision}}, err
}

func (a *API) restore(r *http.Request) (answer, error) {
	dir, err := folder(r)
	if err != nil {
		return answer{}, err
	}
	if a.config.Restore == nil {
		return answer{}, &failure{unavailable, http.StatusServiceUnavailable, errors.New("this server does not restore while it runs")}
	}
	err = a.config.Restore(r.Context(), dir)
	switch {
	case err == nil:
		return answer{data: Copied{Dir: dir, Revision: a.config.Directory.Revision()}}, nil
	case errors.Is(err, location.ErrStopped), errors.Is(err, location.ErrClosed):
		return answer{}, err
	}
	return answer{}, &failure{"execution", http.StatusUnprocessableEntity, err} // the directory is what it was
}
