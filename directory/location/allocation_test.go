package location

import (
	"strings"
	"testing"
)

// TestCachedLookupsDoNotAllocate keeps the promise of Lookup, for entries present
// and absent, by name and by id, one by one and in batches.
func TestCachedLookupsDoNotAllocate(t *testing.T) {
	d := openTest(t)
	long := strings.Repeat("n", MaxName)
	create(t, d, "a", IDs{RW: 7}, Site{Server: "s1"})
	create(t, d, long, IDs{RW: 8}, make13("s1")...)
	names := []string{"a", "a.readonly", long, long + ".backup", "7", "8", "absent", "9"}
	ids, found := make([]IDs, len(names)), make([]bool, len(names))
	var v View
	look := func() {
		for _, name := range names {
			_ = d.Lookup(name, &v)
			_, _, _ = d.ResolveID(name)
		}
		_ = d.LookupID(7, &v)
		if v.Sites() == 1 && v.Site(0).Server != "s1" {
			t.Fatal("wrong server")
		}
		_ = d.ResolveIDs(names, ids, found)
		d.LookupAll(names, &v, func(int, error) {})
	}
	look()
	if n := testing.AllocsPerRun(100, look); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

func make13(server string) []Site {
	sites := make([]Site, MaxSites)
	for i := range sites {
		sites[i].Server = server
	}
	return sites
}
