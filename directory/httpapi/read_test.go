package httpapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"carillon/directory/feed"
	"carillon/directory/location"
)

func TestGet(t *testing.T) {
	f := openFilled(t)
	want := location.Entry{
		Name: "root.cell", IDs: location.IDs{RW: 7, RO: 8}, Flags: 5, Version: 3, Modified: now().UnixMilli(),
		Sites: []location.Site{{Server: "s1", Partition: 2}, {Server: "s2", Partition: 3, Flags: 1}},
	}
	for _, name := range []string{"root.cell", "root.cell.readonly", "7", "8"} {
		a := f.do("GET", "/entries/"+name, "", http.StatusOK)
		if diff := cmp.Diff(want, into[location.Entry](t, a)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if tag, revision := a.header.Get("ETag"), a.header.Get(RevisionHeader); tag != `"3"` || revision != "4" {
			t.Errorf("%s: ETag %s, revision %s", name, tag, revision)
		}
	}
	for range 2 { // from disk, then from the cache of the absent
		f.refused("GET", "/entries/nobody", "", http.StatusNotFound, "not_found", "nobody")
		f.refused("GET", "/entries/9", "", http.StatusNotFound, "not_found", "9")
	}
	f.refused("GET", "/entries/a%20b", "", http.StatusBadRequest, "bad_data", "want letters")
	f.refused("GET", "/entries/"+strings.Repeat("n", 65), "", http.StatusBadRequest, "bad_data", "65 bytes")
}

func TestConsistency(t *testing.T) {
	f := openFilled(t)
	f.do("GET", "/entries/home", "", http.StatusOK)
	f.do("GET", "/entries/home?consistency=local", "", http.StatusOK)
	f.do("GET", "/entries/home?consistency=current", "", http.StatusOK)
	f.do("POST", "/lookup?revision=4&consistency=current", `{"names":[]}`, http.StatusOK)
	if want := []string{"current", "current", "revision 4ns"}; !slices.Equal(f.feed.asked, want) {
		t.Errorf("the feed was asked for %q, want %q", f.feed.asked, want)
	}
	f.refused("GET", "/entries/home?consistency=strong", "", http.StatusBadRequest, "bad_data", "strong")
	f.refused("GET", "/entries/home?revision=-1", "", http.StatusBadRequest, "bad_data", "revision")
}

// TestDeadFeed: what the node can say by itself it says, with a warning; anything
// else it refuses.
func TestDeadFeed(t *testing.T) {
	f := openFilled(t)
	f.feed.set(errors.New("no leader"), false)
	for path, status := range map[string]int{"/entries/home": http.StatusOK, "/entries/nobody": http.StatusNotFound, "/stats": http.StatusOK} {
		a := f.do("GET", path, "", status)
		if len(a.Warnings) != 1 || !strings.Contains(a.Warnings[0], "no leader") {
			t.Errorf("%s: warnings %q", path, a.Warnings)
		}
	}
	f.refused("GET", "/entries/home?consistency=current", "", http.StatusServiceUnavailable, "unavailable", "no leader")
	f.refused("GET", "/entries?revision=9", "", http.StatusServiceUnavailable, "unavailable", "no leader")
	f.refused("POST", "/entries", `{"name":"n"}`, http.StatusServiceUnavailable, "unavailable", "no leader")
	f.refused("PUT", "/servers/s3", "", http.StatusServiceUnavailable, "unavailable", "no leader")
	f.feed.set(fmt.Errorf("%w: no acknowledgement", feed.ErrUnknown), false)
	f.refused("POST", "/entries", `{"name":"n"}`, http.StatusServiceUnavailable, "outcome_unknown", "no acknowledgement")
}

func TestStuckFeed(t *testing.T) {
	f := open(t)
	f.feed.set(nil, true)
	synctest.Test(t, func(t *testing.T) {
		f := &fixture{t: t, mux: f.mux}
		for _, path := range []string{"/entries/home?consistency=current", "/entries?revision=9"} {
			f.local("GET", path, "", http.StatusServiceUnavailable, "timeout", "took longer than 10s")
		}
		f.local("POST", "/entries", `{"name":"n"}`, http.StatusServiceUnavailable, "timeout", "took longer than 10s")
	})
}

func TestClosedDirectory(t *testing.T) {
	f := openFilled(t)
	if err := f.directory.Close(); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/entries/nobody", "/entries"} {
		f.refused("GET", path, "", http.StatusServiceUnavailable, "unavailable", "closed")
	}
	f.refused("POST", "/lookup", `{"names":["nobody"]}`, http.StatusServiceUnavailable, "unavailable", "closed")
	f.refused("POST", "/entries", `{"name":"n"}`, http.StatusServiceUnavailable, "unavailable", "closed")
}

func TestLookup(t *testing.T) {
	f := openFilled(t)
	a := f.do("POST", "/lookup", `{"names":["home","nobody","7","no name","root.cell.backup","99"]}`, http.StatusOK)
	var names []string
	for _, e := range into[[]*location.Entry](t, a) {
		if e == nil {
			e = &location.Entry{Name: "null"}
		}
		names = append(names, e.Name)
	}
	if want := []string{"home", "null", "root.cell", "null", "root.cell", "null"}; !slices.Equal(names, want) {
		t.Errorf("found %q, want %q", names, want)
	}
}

func manyNames(t *testing.T, n int) string {
	t.Helper()
	var body Names
	for i := range n {
		body.Names = append(body.Names, fmt.Sprintf("volume-%d", i))
	}
	text, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestLookupBounds(t *testing.T) {
	f := openFilled(t)
	a := f.do("POST", "/lookup", manyNames(t, MaxNames), http.StatusOK)
	if got := into[[]*location.Entry](t, a); len(got) != MaxNames {
		t.Errorf("%d answers to %d names", len(got), MaxNames)
	}
	f.refused("POST", "/lookup", manyNames(t, MaxNames+1), http.StatusBadRequest, "bad_data", "10001 names at once, want at most 10000")
	f.refused("POST", "/lookup", `{"names":["`+strings.Repeat("n", maxBodyBytes)+`"]}`, http.StatusRequestEntityTooLarge, "bad_data", "4194304 bytes")
	f.refused("POST", "/lookup", `["home"]`, http.StatusBadRequest, "bad_data", "read the body")
	f.refused("POST", "/lookup", ``, http.StatusBadRequest, "bad_data", "read the body")
}

func TestList(t *testing.T) {
	f := openFilled(t)
	for query, want := range map[string][]string{
		"":                        {"home", "root.cell"},
		"?server=s1":              {"root.cell"},
		"?server=s1&partition=2":  {"root.cell"},
		"?server=s1&partition=0":  {},
		"?partition=3":            {"root.cell"},
		"?flags=0x4":              {"root.cell"},
		"?flags=2":                {},
		"?pattern=^h":             {"home"},
		"?pattern=.":              {"home", "root.cell"},
		"?consistency=current":    {"home", "root.cell"},
		"?pattern=%5Eroot%5C.&":   {"root.cell"},
		"?server=s2&pattern=home": {},
	} {
		page := into[location.Page](t, f.do("GET", "/entries"+query, "", http.StatusOK))
		names := []string{}
		for _, e := range page.Entries {
			names = append(names, e.Name)
		}
		if !slices.Equal(names, want) || page.Entries == nil || page.Next != "" || page.Revision != 4 {
			t.Errorf("%s: %q, next %q, revision %d; want %q", query, names, page.Next, page.Revision, want)
		}
	}
	first := into[location.Page](t, f.do("GET", "/entries?limit=1", "", http.StatusOK))
	second := into[location.Page](t, f.do("GET", "/entries?limit=1&cursor="+first.Next, "", http.StatusOK))
	if first.Entries[0].Name != "home" || second.Entries[0].Name != "root.cell" || second.Next != "" {
		t.Errorf("pages %+v and %+v", first, second)
	}
	for query, text := range map[string]string{
		"?limit=0": "limit", "?limit=10001": "limit 10001", "?limit=x": "limit", "?flags=-1": "flags", "?partition=4294967296": "partition",
		"?pattern=(": "missing closing", "?cursor=!": "cursor", "?pattern=" + strings.Repeat("a", location.MaxPattern+1): "pattern of 1025 bytes",
	} {
		f.refused("GET", "/entries"+query, "", http.StatusBadRequest, "bad_data", text)
	}
	f.refused("GET", "/entries?server=s9", "", http.StatusBadRequest, "unknown_server", "s9")
}

// TestStatsAndMetrics: the directory is new, so that the cache of names has had every
// one of them and tells by itself what is absent.
func TestStatsAndMetrics(t *testing.T) {
	f := openFilled(t)
	for range 3 {
		f.do("GET", "/entries/home", "", http.StatusOK)
		f.do("GET", "/entries/nobody", "", http.StatusNotFound)
	}
	f.refused("POST", "/entries", `{"name":"home"}`, http.StatusConflict, "exists", "home")
	s := into[Stats](t, f.do("GET", "/stats", "", http.StatusOK))
	if s.Directory.Entries != 2 || s.Directory.Servers != 2 || !s.Feed.Live || s.Series == nil || s.Series.Positive.Hits != 5 {
		t.Errorf("stats %+v", s)
	}
	if c := s.Directory.Changes[location.Create]; c.Done != 2 || c.Refused != 1 {
		t.Errorf("creates %+v", c)
	}
	got := f.metrics()
	for name, want := range map[string]float64{
		"carillon_directory_entries":                                2,
		"carillon_directory_feed_live":                              1,
		"carillon_directory_stopped":                                0,
		"carillon_directory_revision":                               5,
		"carillon_directory_changes_total create done":              2,
		"carillon_directory_changes_total create refused":           1,
		"carillon_directory_cache_lookups_total names hit":          3,
		"carillon_directory_cache_lookups_total absent_names hit":   0,
		"carillon_directory_cache_lookups_total series hit":         5,
		"carillon_directory_cache_slots ids":                        256,
		"carillon_directory_disk_lookups_total name absent":         0,
		"carillon_directory_requests_total get not_found":           3,
		"carillon_directory_requests_total get success":             3,
		"carillon_directory_requests_total create exists":           1,
		"carillon_directory_cache_entries absent_names":             0,
		"carillon_directory_cache_refused_fills_total absent_names": 0,
		"carillon_directory_disk_lookups_total series found":        0,
		"carillon_directory_changes_total unknown refused":          0,
		"carillon_directory_cache_lookups_total absent_series miss": 0,
		"carillon_directory_requests_total register-server success": 2,
		"carillon_directory_changes_total register-server done":     2,
		"carillon_directory_negatives_off":                          0,
		"carillon_directory_lists_total":                            0,
		"carillon_directory_servers":                                2,
		"carillon_directory_feed_last_revision":                     5,
		"carillon_directory_cache_squeezed_total names":             0,
		"carillon_directory_disk_lookups_total name found":          0,
	} {
		if value, ok := got[name]; !ok || value != want {
			t.Errorf("%s: %v (there: %t), want %v", name, value, ok, want)
		}
	}
}

// metrics are all of the registry, by name and the labels' values.
func (f *fixture) metrics() map[string]float64 {
	families, err := f.registry.Gather()
	if err != nil {
		f.t.Fatal(err)
	}
	all := make(map[string]float64)
	for _, family := range families {
		for _, m := range family.GetMetric() {
			name := family.GetName()
			for _, l := range m.GetLabel() {
				name += " " + l.GetValue()
			}
			all[name] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return all
}
