// Package web is the page that people see. What comes in is the build of web/ui,
// committed under web/dist and embedded, so that building the server needs no
// Node. What goes out is an http.Handler that serves it with its cache and
// security headers; the server mounts it at /, beside the API the page talks to.
package web

import (
	"bytes"
	"compress/gzip"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/zeebo/xxh3"
)

//go:generate npm --prefix ui ci
//go:generate npm --prefix ui run build

//go:embed dist
var dist embed.FS

// policy lets the page load and reach its own origin and nothing else: text that
// a sender managed to smuggle into the page could neither run nor call home.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; " +
	"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

const (
	forever  = "public, max-age=31536000, immutable" // for names that carry a hash of the content
	validate = "no-cache"                            // for the others: ask whether the ETag still holds
)

// file is one file of the build, ready to be sent.
type file struct {
	contentType string
	cache       string
	etag        string
	plain       []byte
	zipped      []byte // gzip; nil where it would not be smaller
}

// Handler serves the page at / and its parts below. Other paths are 404, other
// methods than GET and HEAD are 405.
func Handler() http.Handler {
	files, err := load(dist)
	if err != nil {
		panic(fmt.Sprintf("web: the embedded page is broken: %v", err)) // the binary was built wrong
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := strings.TrimPrefix(r.URL.Path, "/")
		if name == "" {
			name = "index.html"
		}
		f, ok := files[name]
		switch {
		case !ok:
			http.NotFound(w, r)
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		default:
			f.serve(w, r)
		}
	})
}

func load(build fs.FS) (map[string]file, error) {
	root, err := fs.Sub(build, "dist")
	if err != nil {
		return nil, err
	}
	files := make(map[string]file)
	err = fs.WalkDir(root, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := fs.ReadFile(root, name)
		if err != nil {
			return err
		}
		files[name], err = prepare(name, content)
		return err
	})
	if _, ok := files["index.html"]; err == nil && !ok {
		err = fs.ErrNotExist
	}
	return files, err
}

func prepare(name string, content []byte) (file, error) {
	sum := xxh3.Hash128(content).Bytes()
	f := file{
		contentType: contentType(name),
		cache:       validate,
		etag:        `W/"` + hex.EncodeToString(sum[:]) + `"`,
		plain:       content,
	}
	if strings.HasPrefix(name, "assets/") {
		f.cache = forever
	}
	var zipped bytes.Buffer
	z, err := gzip.NewWriterLevel(&zipped, gzip.BestCompression)
	if err != nil {
		return file{}, err
	}
	if _, err := z.Write(content); err != nil {
		return file{}, err
	}
	if err := z.Close(); err != nil {
		return file{}, err
	}
	if zipped.Len() < len(content) {
		f.zipped = zipped.Bytes()
	}
	return f, nil
}

// contentType does not ask the system's table for the types the build is made
// of: a host without one, or with an odd one, must not break the page.
func contentType(name string) string {
	switch extension := path.Ext(name); extension {
	case ".html":
		return "text/html; charset=utf-8"
	case ".js":
		return "text/javascript; charset=utf-8"
	case ".css":
		return "text/css; charset=utf-8"
	case ".svg":
		return "image/svg+xml"
	default:
		if known := mime.TypeByExtension(extension); known != "" {
			return known
		}
		return "application/octet-stream"
	}
}

func (f *file) serve(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Content-Type", f.contentType)
	header.Set("Cache-Control", f.cache)
	header.Set("ETag", f.etag)
	header.Set("Content-Security-Policy", policy)
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Referrer-Policy", "no-referrer")
	content := f.plain
	if f.zipped != nil {
		header.Set("Vary", "Accept-Encoding")
		if acceptsGzip(r.Header.Get("Accept-Encoding")) {
			header.Set("Content-Encoding", "gzip")
			content = f.zipped
		}
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
}

// acceptsGzip reads Accept-Encoding (RFC 9110, 12.5.3) as far as gzip goes: named
// or "*", and not refused by a weight of zero.
func acceptsGzip(accept string) bool {
	for _, coding := range strings.Split(accept, ",") {
		name, weight, _ := strings.Cut(strings.TrimSpace(coding), ";")
		if name = strings.TrimSpace(name); !strings.EqualFold(name, "gzip") && name != "*" {
			continue
		}
		weight = strings.ReplaceAll(weight, " ", "")
		return weight == "" || strings.Trim(strings.TrimPrefix(weight, "q="), "0.") != ""
	}
	return false
}
