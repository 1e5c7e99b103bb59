package catalog

import (
	"slices"
	"testing"

	"carillon/object"

	"pgregory.net/rapid"
)

// TestOrderDoesNotMatter: catalogues that get the same versions keep the same, the newest, and displace the others,
// in whatever order they come.
func TestOrderDoesNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		keep := rapid.IntRange(1, 4).Draw(t, "keep")
		came := rapid.Permutation([]uint64{1, 2, 3, 4, 5, 6}).Draw(t, "came")
		c := New[uint64](keep)
		var displaced []uint64
		for _, n := range came {
			for _, e := range c.Add("a", Entry[uint64]{Version: object.Version{Hi: n}, Where: n}) {
				displaced = append(displaced, e.Where)
			}
		}
		var kept []uint64
		for _, e := range c.Versions("a") {
			kept = append(kept, e.Where)
		}
		newest := []uint64{6, 5, 4, 3, 2, 1}
		slices.SortFunc(displaced, func(a, b uint64) int { return int(b) - int(a) })
		if !slices.Equal(kept, newest[:keep]) || !slices.Equal(displaced, newest[keep:]) {
			t.Errorf("of %v are kept %v, displaced %v", came, kept, displaced)
		}
	})
}

// TestAllIsOfOneMoment: what is written while All is read does not show in it.
func TestAllIsOfOneMoment(t *testing.T) {
	c := New[int](1)
	for _, name := range []string{"a", "b", "c"} {
		c.Add(name, Entry[int]{Version: object.Version{Hi: 1}})
	}
	var names []string
	for name := range c.All() {
		names = append(names, name)
		c.Remove("b")
		c.Add("d", Entry[int]{Version: object.Version{Hi: 1}})
	}
	if !slices.Equal(names, []string{"a", "b", "c"}) || c.Len() != 3 || c.Versions("b") != nil {
		t.Errorf("all were %q, %d are left", names, c.Len())
	}
}
