package location

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// pages lists everything, limit by limit.
func pages(t fataler, d *Directory, f Filter, limit int) []string {
	var names []string
	cursor := ""
	for {
		page, err := d.List(f, cursor, limit)
		if err != nil {
			t.Fatal(err)
		}
		if len(page.Entries) > limit || page.Revision != d.Revision() {
			t.Fatalf("%d entries at revision %d", len(page.Entries), page.Revision)
		}
		for _, e := range page.Entries {
			names = append(names, e.Name)
		}
		if cursor = page.Next; cursor == "" {
			return names
		}
	}
}

func TestList(t *testing.T) {
	d := openTest(t)
	do(t, d, Change{Op: RegisterServer, Name: "empty"})
	create(t, d, "a", IDs{}, Site{"s1", 2, 0}, Site{"s2", 1, 0})
	create(t, d, "b", IDs{}, Site{"s1", 1, 0}, Site{"s1", 2, 0}, Site{"s1", 1, 9})
	create(t, d, "ab", IDs{}, Site{"s2", 1 << 31, 0})
	create(t, d, "c", IDs{})
	do(t, d, Change{Op: Update, Name: "b", Patch: Patch{SetFlags: 6}})
	do(t, d, Change{Op: Update, Name: "c", Patch: Patch{SetFlags: 2}})
	tests := []struct {
		filter Filter
		want   string
	}{
		{Filter{}, "a ab b c"},
		{Filter{Server: "s1"}, "b a"},
		{Filter{Server: "s2"}, "a ab"},
		{Filter{Server: "empty"}, ""},
		{Filter{Server: "s1", Partition: ptr(uint32(2))}, "a b"},
		{Filter{Server: "s1", Partition: ptr(uint32(3))}, ""},
		{Filter{Partition: ptr(uint32(1))}, "a b"},
		{Filter{Flags: 2}, "b c"},
		{Filter{Flags: 6}, "b"},
		{Filter{Pattern: "b"}, "ab b"},
		{Filter{Pattern: "^a"}, "a ab"},
		{Filter{Pattern: "^[bc]$", Flags: 2, Server: "s1"}, "b"},
	}
	for _, test := range tests {
		for limit := 1; limit <= 5; limit++ {
			if got := strings.Join(pages(t, d, test.filter, limit), " "); got != test.want {
				t.Errorf("%+v, %d a page: %q, want %q", test.filter, limit, got, test.want)
			}
		}
	}
}

func TestListRefuses(t *testing.T) {
	d := openTest(t)
	create(t, d, "a", IDs{}, Site{Server: "s1"})
	create(t, d, "b", IDs{}, Site{Server: "s1"})
	page, err := d.List(Filter{}, "", 1)
	if err != nil || page.Next == "" {
		t.Fatal(page, err)
	}
	tests := []struct {
		filter Filter
		cursor string
		limit  int
		want   error
	}{
		{Filter{}, "", 0, ErrBadQuery},
		{Filter{}, "", MaxList + 1, ErrBadQuery},
		{Filter{Pattern: "("}, "", 1, ErrBadQuery},
		{Filter{Pattern: strings.Repeat("a", MaxPattern+1)}, "", 1, ErrBadQuery},
		{Filter{Server: "s9"}, "", 1, ErrUnknownServer},
		{Filter{}, "!", 1, ErrBadQuery},
		{Filter{Server: "s1"}, page.Next, 1, ErrBadQuery}, // another list's cursor
	}
	for _, test := range tests {
		if _, err := d.List(test.filter, test.cursor, test.limit); !errors.Is(err, test.want) {
			t.Errorf("%+v: %v, want %v", test, err, test.want)
		}
	}
}

func TestLookupAll(t *testing.T) {
	d := openTest(t)
	var names []string
	for i := range 3*batchNames + 5 {
		name := fmt.Sprintf("n%d", i)
		if i%3 != 0 {
			create(t, d, name, IDs{RW: uint64(1000 + i)}, Site{"s1", uint32(i), 1})
		}
		names = append(names, name)
	}
	names = append(names, "1001.readonly", "999", "bad name", "n1.backup")
	for range 2 {
		ids, found := make([]IDs, len(names)), make([]bool, len(names))
		if err := d.ResolveIDs(names, ids, found); err != nil {
			t.Fatal(err)
		}
		next := 0
		var v View
		d.LookupAll(names, &v, func(i int, err error) {
			if i != next {
				t.Fatalf("name %d after %d", i, next-1)
			}
			next++
			want, wantErr := d.Get(names[i])
			if fmt.Sprint(err) != fmt.Sprint(wantErr) || (err == nil) != found[i] {
				t.Fatalf("%s: %v, want %v; resolved: %v", names[i], err, wantErr, found[i])
			}
			if err != nil {
				return
			}
			if got := v.Entry(); got.Name != want.Name || got.IDs != want.IDs || ids[i] != want.IDs || !slices.Equal(got.Sites, want.Sites) {
				t.Fatalf("%s: %+v, %+v; want %+v", names[i], got, ids[i], want)
			}
		})
		if next != len(names) {
			t.Fatalf("%d calls for %d names", next, len(names))
		}
	}
}
