package web

import (
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
)

func get(t *testing.T, method, path string, header ...string) *http.Response {
	t.Helper()
	r := httptest.NewRequest(method, path, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	Handler().ServeHTTP(w, r)
	return w.Result()
}

func body(t *testing.T, r io.Reader) string {
	t.Helper()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestIndex(t *testing.T) {
	for _, path := range []string{"/", "/index.html"} {
		response := get(t, "GET", path)
		if response.StatusCode != http.StatusOK {
			t.Fatalf("%s: status %d", path, response.StatusCode)
		}
		for name, want := range map[string]string{
			"Content-Type":            "text/html; charset=utf-8",
			"Cache-Control":           "no-cache",
			"Content-Security-Policy": policy,
			"X-Content-Type-Options":  "nosniff",
			"Referrer-Policy":         "no-referrer",
		} {
			if got := response.Header.Get(name); got != want {
				t.Errorf("%s: %s is %q, want %q", path, name, got, want)
			}
		}
		if page := body(t, response.Body); !strings.Contains(page, "<title>Carillon</title>") {
			t.Errorf("%s does not look like the page:\n%s", path, page)
		}
	}
}

// Every address in the page must be served, must be allowed by the policy and
// must be relative, so that the page works under a path prefix.
func TestEveryPartIsServed(t *testing.T) {
	page := body(t, get(t, "GET", "/").Body)
	parts := regexp.MustCompile(`(?:src|href)="([^"#]+)"`).FindAllStringSubmatch(page, -1)
	if len(parts) < 4 {
		t.Fatalf("found %d parts in the page, want a style, two scripts and an icon at least", len(parts))
	}
	types := map[string]string{
		".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml",
	}
	for _, part := range parts {
		name, relative := strings.CutPrefix(part[1], "./")
		if strings.HasPrefix(part[1], "api/") {
			continue
		}
		if !relative {
			t.Errorf("%q is not relative", part[1])
		}
		response := get(t, "GET", "/"+name)
		if response.StatusCode != http.StatusOK {
			t.Errorf("%s: status %d", name, response.StatusCode)
		}
		if got, want := response.Header.Get("Content-Type"), types[name[strings.LastIndex(name, "."):]]; got != want {
			t.Errorf("%s: Content-Type is %q, want %q", name, got, want)
		}
		cache := "no-cache"
		if strings.HasPrefix(name, "assets/") {
			cache = "public, max-age=31536000, immutable"
		}
		if got := response.Header.Get("Cache-Control"); got != cache {
			t.Errorf("%s: Cache-Control is %q, want %q", name, got, cache)
		}
	}
	if regexp.MustCompile(`<script>|<style|\son[a-z]+=|style="`).MatchString(page) {
		t.Error("the page has inline code, which its own policy forbids")
	}
}

func TestGzip(t *testing.T) {
	plain := body(t, get(t, "GET", "/").Body)
	response := get(t, "GET", "/", "Accept-Encoding", "br, gzip;q=0.8")
	if got := response.Header.Get("Content-Encoding"); got != "gzip" {
		t.Fatalf("Content-Encoding is %q", got)
	}
	z, err := gzip.NewReader(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if body(t, z) != plain {
		t.Error("the compressed page is another one")
	}
	for accept, want := range map[string]bool{
		"": false, "br": false, "gzip": true, "GZIP": true, "*": true, "gzip;q=0": false, "gzip; q=0.0": false, "identity, gzip;q=1.0": true,
	} {
		if got := acceptsGzip(accept); got != want {
			t.Errorf("acceptsGzip(%q) is %v", accept, got)
		}
	}
}

func TestRevalidation(t *testing.T) {
	etag := get(t, "GET", "/").Header.Get("ETag")
	if got := get(t, "GET", "/", "If-None-Match", etag).StatusCode; got != http.StatusNotModified {
		t.Errorf("the same ETag: status %d", got)
	}
	if got := get(t, "GET", "/", "If-None-Match", `"other"`).StatusCode; got != http.StatusOK {
		t.Errorf("another ETag: status %d", got)
	}
}

func TestRefusals(t *testing.T) {
	for _, c := range []struct {
		method, path string
		want         int
	}{
		{"GET", "/nothing", 404},
		{"GET", "/assets/", 404},
		{"GET", "/../web.go", 404},
		{"POST", "/", 405},
		{"HEAD", "/", 200},
	} {
		if got := get(t, c.method, c.path).StatusCode; got != c.want {
			t.Errorf("%s %s: status %d, want %d", c.method, c.path, got, c.want)
		}
	}
}
