package httpapi

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"carillon/directory/location"
)

func TestCreate(t *testing.T) {
	f := openFilled(t)
	a := f.do("POST", "/entries", `{"name":"n","ids":{"bk":20}}`, http.StatusCreated)
	if r := into[location.Result](t, a); r.Revision != 5 || r.Entry.Name != "n" || r.Entry.Version != 5 || a.header.Get("ETag") != `"5"` {
		t.Errorf("created %+v, ETag %s", r, a.header.Get("ETag"))
	}
	sites := func(n int, server string) string {
		return "[" + strings.TrimSuffix(strings.Repeat(fmt.Sprintf(`{"server":%q,"partition":1},`, server), n), ",") + "]"
	}
	f.do("POST", "/entries", `{"name":"thirteen","sites":`+sites(13, "s1")+`}`, http.StatusCreated)
	for _, c := range []struct {
		what, body string
		status     int
		kind, text string
	}{
		{"a name too long", `{"name":"` + strings.Repeat("n", 65) + `"}`, 400, "bad_data", "has 65 bytes, want 1 to 64"},
		{"no name", `{}`, 400, "bad_data", "has 0 bytes"},
		{"a bad character", `{"name":"a b"}`, 400, "bad_data", `has ' ' at byte 1`},
		{"a bad character", `{"name":"ä"}`, 400, "bad_data", "at byte 0"},
		{"digits only", `{"name":"123"}`, 400, "bad_data", "digits only"},
		{"a suffix", `{"name":"n.readonly"}`, 400, "bad_data", "suffix"},
		{"14 sites", `{"name":"x","sites":` + sites(14, "s1") + `}`, 400, "bad_data", "14 sites, want at most 13"},
		{"an unknown server", `{"name":"x","sites":` + sites(1, "s9") + `}`, 400, "unknown_server", `"s9" is not registered`},
		{"an id twice", `{"name":"x","ids":{"rw":1,"ro":1}}`, 400, "bad_data", "id 1 twice"},
		{"a name that is there", `{"name":"home"}`, 409, "exists", "home"},
		{"an id of another", `{"name":"x","ids":{"rw":8}}`, 409, "id_taken", "8 is root.cell's"},
		{"a field that is not", `{"name":"x","site":[]}`, 400, "bad_data", `unknown field "site"`},
		{"two values", `{"name":"x"} {"name":"y"}`, 400, "bad_data", "more than one JSON value"},
		{"no JSON", `name=x`, 400, "bad_data", "read the body"},
		{"a cut body", `{"name":`, 400, "bad_data", "unexpected EOF"},
		{"a number too large", `{"name":"x","ids":{"rw":18446744073709551616}}`, 400, "bad_data", "rw"},
		{"a long body", `{"name":"` + strings.Repeat("n", maxEntryBytes) + `"}`, 413, "bad_data", "65536 bytes"},
	} {
		t.Run(c.what, func(t *testing.T) {
			f := *f
			f.t = t
			f.refused("POST", "/entries", c.body, c.status, c.kind, c.text)
		})
	}
	f.refused("GET", "/entries/x", "", http.StatusNotFound, "not_found", "x") // nothing was half done
}

func TestReplace(t *testing.T) {
	f := openFilled(t) // home has version 4
	f.refused("PUT", "/entries/home", `{"flags":1}`, http.StatusBadRequest, "bad_data", "must name the version")
	f.refused("PUT", "/entries/home", `{"flags":1,"version":3}`, http.StatusConflict, "wrong_version", "has version 4, not 3")
	f.refused("PUT", "/entries/home", `{"flags":1}`, http.StatusConflict, "wrong_version", "has version 4, not 3", `If-Match: "3"`)
	f.refused("PUT", "/entries/home", `{"flags":1,"version":4}`, http.StatusBadRequest, "bad_data", "version 3 and version 4", `If-Match: "3"`)
	f.refused("PUT", "/entries/home", `{"flags":1}`, http.StatusBadRequest, "bad_data", "If-Match", `If-Match: *`)
	f.refused("PUT", "/entries/nobody", `{"version":4}`, http.StatusNotFound, "not_found", "nobody")
	f.refused("PUT", "/entries/home", `{"name":"root.cell","version":4}`, http.StatusConflict, "exists", "root.cell")

	a := f.do("PUT", "/entries/home", `{"flags":1}`, http.StatusOK, `If-Match: "4"`)
	r := into[location.Result](t, a)
	if r.Entry.Name != "home" || r.Entry.Flags != 1 || r.Entry.Version != r.Revision {
		t.Errorf("replaced: %+v", r)
	}
	// What GET answers with goes back as it is, and may be renamed.
	text := string(f.do("GET", "/entries/home", "", http.StatusOK).Data)
	f.do("PUT", "/entries/home", strings.Replace(text, `"home"`, `"house"`, 1), http.StatusOK)
	f.refused("GET", "/entries/home", "", http.StatusNotFound, "not_found", "home")
	f.do("GET", "/entries/house", "", http.StatusOK)
}

func TestUpdate(t *testing.T) {
	f := openFilled(t)
	a := f.do("PATCH", "/entries/7", `{"bk":9,"ro":0,"set_flags":8,"clear_flags":1,"remove_sites":[{"server":"s2","partition":3}],"add_sites":[{"server":"s2","partition":4}]}`, http.StatusOK)
	e := into[location.Result](t, a).Entry
	if e.IDs != (location.IDs{RW: 7, BK: 9}) || e.Flags != 12 || len(e.Sites) != 2 || e.Sites[1].Partition != 4 {
		t.Errorf("updated: %+v", e)
	}
	f.refused("PATCH", "/entries/7?version=3", `{}`, http.StatusConflict, "wrong_version", "not 3")
	f.refused("PATCH", "/entries/7?version=x", `{}`, http.StatusBadRequest, "bad_data", "version")
	f.refused("PATCH", "/entries/7", `{"remove_sites":[{"server":"s1","partition":77}]}`, http.StatusBadRequest, "bad_data", "no site")
	f.refused("PATCH", "/entries/7", `{"add_sites":[{"server":"s9","partition":1}]}`, http.StatusBadRequest, "unknown_server", "s9")
	f.refused("PATCH", "/entries/7", `{"rw":"x"}`, http.StatusBadRequest, "bad_data", "rw")
	f.refused("PATCH", "/entries/nobody", `{}`, http.StatusNotFound, "not_found", "nobody")
}

func TestDelete(t *testing.T) {
	f := openFilled(t)
	f.refused("DELETE", "/entries/home?version=3", "", http.StatusConflict, "wrong_version", "not 3")
	f.refused("DELETE", "/entries/home", "", http.StatusConflict, "wrong_version", "not 3", `If-Match: "3"`)
	a := f.do("DELETE", "/entries/home?version=4", "", http.StatusOK)
	if r := into[location.Result](t, a); r.Entry.Name != "home" || a.header.Get("ETag") != "" {
		t.Errorf("deleted %+v", r)
	}
	f.refused("DELETE", "/entries/home", "", http.StatusNotFound, "not_found", "home")
}

func TestLocks(t *testing.T) {
	f := openFilled(t)
	a := f.do("POST", "/entries/home/lock", `{"owner":"me","kind":2,"ttl_ms":60000}`, http.StatusOK)
	want := location.Lock{Owner: "me", Kind: 2, Expires: now().UnixMilli() + 60000}
	if e := into[location.Result](t, a).Entry; e.Lock != want {
		t.Errorf("lock %+v, want %+v", e.Lock, want)
	}
	f.do("POST", "/entries/home/lock", `{"owner":"me","ttl_ms":86400000}`, http.StatusOK) // renewed
	for _, c := range [][3]string{
		{"POST", "/entries/home/lock", `{"owner":"you","ttl_ms":1}`}, {"DELETE", "/entries/home/lock?owner=you", ""},
		{"PATCH", "/entries/home", `{}`}, {"PUT", "/entries/home?owner=you", `{"version":6}`}, {"DELETE", "/entries/home", ""},
	} {
		f.refused(c[0], c[1], c[2], http.StatusConflict, "locked", "me holds home")
	}
	f.do("PATCH", "/entries/home?owner=me", `{"set_flags":1}`, http.StatusOK)
	f.do("DELETE", "/entries/home/lock?owner=me", "", http.StatusOK)
	f.do("PATCH", "/entries/home", `{"set_flags":2}`, http.StatusOK)

	f.refused("DELETE", "/entries/home/lock", "", http.StatusBadRequest, "bad_data", "owner")
	f.refused("POST", "/entries/home/lock", `{"owner":"a b","ttl_ms":1}`, http.StatusBadRequest, "bad_data", "owner")
	f.refused("POST", "/entries/home/lock", `{"owner":"me"}`, http.StatusBadRequest, "bad_data", "ttl_ms is 0, want 1 to 86400000")
	f.refused("POST", "/entries/home/lock", `{"owner":"me","ttl_ms":9223372036854775807}`, http.StatusBadRequest, "bad_data", "ttl_ms")
	f.refused("POST", "/entries/nobody/lock", `{"owner":"me","ttl_ms":1}`, http.StatusNotFound, "not_found", "nobody")
	f.refused("DELETE", "/entries/nobody/lock?owner=me", "", http.StatusNotFound, "not_found", "nobody")
}

func TestNewIDs(t *testing.T) {
	f := openFilled(t)
	if got := into[NewIDs](t, f.do("POST", "/ids", "", http.StatusOK)); got != (NewIDs{First: 1, Count: 1, Revision: 5}) {
		t.Errorf("one id: %+v", got)
	}
	if got := into[NewIDs](t, f.do("POST", "/ids?count=10", "", http.StatusOK)); got != (NewIDs{First: 9, Count: 10, Revision: 6}) {
		t.Errorf("ten ids in a row, past those that are taken: %+v", got)
	}
	for _, count := range []string{"0", "1025", "4294967295"} {
		f.refused("POST", "/ids?count="+count, "", http.StatusBadRequest, "bad_data", "want 1 to 1024")
	}
	f.refused("POST", "/ids?count=4294967296", "", http.StatusBadRequest, "bad_data", "count")
}

func TestServers(t *testing.T) {
	f := open(t)
	if got := string(f.do("GET", "/servers", "", http.StatusOK).Data); got != "[]" {
		t.Errorf("servers of an empty directory: %s", got)
	}
	f.do("PUT", "/servers/rack%2F1:9000", "", http.StatusCreated)
	f.do("PUT", "/servers/rack%2F1:9000", "", http.StatusOK) // may be repeated
	if got := into[Server](t, f.do("GET", "/servers/rack%2F1:9000", "", http.StatusOK)); got.Name != "rack/1:9000" {
		t.Errorf("server %+v", got)
	}
	f.refused("GET", "/servers/s9", "", http.StatusNotFound, "not_found", "s9")
	f.refused("DELETE", "/servers/s9", "", http.StatusNotFound, "not_found", "s9")
	f.refused("PUT", "/servers/"+strings.Repeat("s", 65), "", http.StatusBadRequest, "bad_data", "65 bytes")
	f.do("POST", "/entries", `{"name":"n","sites":[{"server":"rack/1:9000","partition":0}]}`, http.StatusCreated)
	f.refused("DELETE", "/servers/rack%2F1:9000", "", http.StatusConflict, "server_in_use", "n has a site on rack/1:9000")
	f.do("DELETE", "/entries/n", "", http.StatusOK)
	f.do("DELETE", "/servers/rack%2F1:9000", "", http.StatusOK)
	if got := string(f.do("GET", "/servers", "", http.StatusOK).Data); got != "[]" {
		t.Errorf("servers in the end: %s", got)
	}
}

// TestOtherSites: a page of another site cannot make a user's browser change
// anything.
func TestOtherSites(t *testing.T) {
	f := openFilled(t)
	f.refused("POST", "/entries", `{"name":"n"}`, http.StatusForbidden, "forbidden", "cross-origin", "Origin: http://elsewhere.example")
	f.refused("DELETE", "/entries/home", "", http.StatusForbidden, "forbidden", "cross-origin", "Sec-Fetch-Site: cross-site")
	f.do("POST", "/entries", `{"name":"n"}`, http.StatusCreated, "Origin: "+strings.TrimSuffix(f.url, Root))
}
