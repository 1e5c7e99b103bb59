package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	writePath     = "/api/v1/write"
	answerBytes   = 1024             // most that is read of a server's answer, for the log
	idleKeepAlive = 90 * time.Second // an interval of a minute still finds its connection open
)

// HTTP sends bodies by POST, as Prometheus remote write 1.0 does.
type HTTP struct {
	url           string // without credentials, so that no error shows them
	authorization func(*http.Request)
	client        *http.Client
}

// NewHTTP makes a sender to address, an http or https URL; without a path, the
// path is /api/v1/write. Credentials stand before the @: `user:password@` is sent
// as basic authentication, `token@` as a bearer token.
func NewHTTP(address string) (*HTTP, error) {
	u, err := url.Parse(address)
	if err != nil {
		// The parser's error quotes the whole address, password included.
		if parse, ok := errors.AsType[*url.Error](err); ok {
			err = parse.Err
		}
		return nil, fmt.Errorf("agent: server's address: %w", err)
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("agent: server's address: want http://HOST:PORT or https://…, not scheme %q and host %q", u.Scheme, u.Host)
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = writePath
	}
	h := &HTTP{authorization: authorization(u.User)}
	u.User, u.Fragment = nil, ""
	h.url = u.String()

	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.IdleConnTimeout = idleKeepAlive
	h.client = &http.Client{
		Transport: transport,
		// A redirect may turn the POST into a GET that "succeeds".
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return h, nil
}

func authorization(user *url.Userinfo) func(*http.Request) {
	name := user.Username()
	password, basic := user.Password()
	switch {
	case basic:
		return func(r *http.Request) { r.SetBasicAuth(name, password) }
	case name != "":
		return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+name) }
	}
	return func(*http.Request) {}
}

// Send posts body. ctx bounds the whole exchange.
func (h *HTTP) Send(ctx context.Context, body []byte) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, h.url, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("send to %s: %w", h.url, err)
	}
	request.Header.Set("Content-Type", "application/x-protobuf")
	request.Header.Set("Content-Encoding", "snappy")
	request.Header.Set("X-Prometheus-Remote-Write-Version", "0.1.0")
	request.Header.Set("User-Agent", "carillon-agent")
	h.authorization(request)

	response, err := h.client.Do(request)
	if err != nil {
		return err // names the method and the URL
	}
	defer response.Body.Close()
	// Read even when unused: only then the connection is used again.
	text, _ := io.ReadAll(io.LimitReader(response.Body, answerBytes))
	return h.verdict(response, strings.TrimSpace(strings.ToValidUTF8(string(text), "?")))
}

// verdict turns an answer into Send's result.
func (h *HTTP) verdict(response *http.Response, text string) error {
	status := response.StatusCode
	if status >= 200 && status < 300 {
		return nil
	}
	err := fmt.Errorf("send to %s: %s: %s", h.url, response.Status, text)
	if status >= 400 && status < 500 && !mayPass(status) {
		return fmt.Errorf("%w: %w", ErrRejected, err)
	}
	if after := retryAfter(response.Header); after > 0 {
		return &RetryLater{After: after, Err: err}
	}
	return err
}

// mayPass tells of a refusal that says nothing about the body: the server is
// busy, or credentials or a path are being put right. Dropping bodies for it would
// empty the whole buffer.
func mayPass(status int) bool {
	switch status {
	case http.StatusTooManyRequests, http.StatusRequestTimeout,
		http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed:
		return true
	}
	return false
}

// retryAfter reads the header of RFC 9110 §10.2.3: seconds, or a date, which is
// taken from the server's own Date so that the two clocks need not agree. What it
// cannot read, and what is past, is 0.
func retryAfter(header http.Header) time.Duration {
	value := header.Get("Retry-After")
	if seconds, err := strconv.ParseUint(value, 10, 32); err == nil {
		return time.Duration(seconds) * time.Second
	}
	date, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	sent, err := http.ParseTime(header.Get("Date"))
	if err != nil {
		return 0
	}
	return max(0, date.Sub(sent))
}
