// Package catalog is the index of a store in memory: which versions there are of which
// name, and where. In come entries in any order; out go the newest K versions of a name, listings
// in the order of names, and what an entry has displaced. The backends that
// keep their objects in files of their own call it.
package catalog

import (
	"slices"
	"strings"

	"carillon/object"

	"github.com/RaduBerinde/btreemap"
)

// Entry is a version of a name. L says where a backend keeps it.
type Entry[L any] struct {
	Version object.Version
	Size    int64
	Sum     object.Sum
	Deleted bool
	Where   L
}

// Info describes the entry under its name.
func (e *Entry[L]) Info(name string) object.Info {
	return object.Info{Name: name, Version: e.Version, Size: e.Size, Sum: e.Sum, Deleted: e.Deleted}
}

// Catalog maps names to their entries, newest first. Slices of entries are never changed, so that they
// can be kept. Its owner locks: any number may read, or one may write.
type Catalog[L any] struct {
	keep    int
	entries *btreemap.BTreeMap[string, []Entry[L]]
}

const degree = 32 // of the tree; the fastest from 8 to 128 for names of 30 bytes

// MaxKeep bounds how many versions of a name a catalogue keeps.
const MaxKeep = 64

// New returns an empty catalogue that keeps so many versions of a name.
func New[L any](keep int) *Catalog[L] {
	return &Catalog[L]{keep: keep, entries: btreemap.New[string, []Entry[L]](degree, strings.Compare)}
}

// Clone is the catalogue as it is now, whatever becomes of the original. It costs nothing at once.
func (c *Catalog[L]) Clone() *Catalog[L] {
	return &Catalog[L]{keep: c.keep, entries: c.entries.Clone()}
}

// Len is the number of names.
func (c *Catalog[L]) Len() int { return c.entries.Len() }

// Versions is what is there of a name, newest first.
func (c *Catalog[L]) Versions(name string) []Entry[L] {
	_, versions, _ := c.entries.Get(name)
	return versions
}

// Newest describes the newest version of a name. It is the zero Info for an unknown one.
func (c *Catalog[L]) Newest(name string) object.Info {
	if versions := c.Versions(name); len(versions) > 0 {
		return versions[0].Info(name)
	}
	return object.Info{}
}

// Find returns a version of a name, the newest for the zero Version.
func (c *Catalog[L]) Find(name string, version object.Version) (Entry[L], bool) {
	versions := c.Versions(name)
	if version.IsZero() && len(versions) > 0 {
		return versions[0], true
	}
	if i, there := search(versions, version); there {
		return versions[i], true
	}
	return Entry[L]{}, false
}

// search finds a version among entries, newest first.
func search[L any](versions []Entry[L], version object.Version) (int, bool) {
	return slices.BinarySearchFunc(versions, version, func(e Entry[L], v object.Version) int { return v.Compare(e.Version) })
}

// Decide tells what a write of a version would do: write is false if nothing is to be written, because the
// version is there or too old to be kept. It returns an error if the condition is not met, or
// if the version is there with another content.
func (c *Catalog[L]) Decide(info object.Info, condition object.Condition, repair bool) (write bool, err error) {
	versions := c.Versions(info.Name)
	i, there := search(versions, info.Version)
	switch {
	case there && (versions[i].Deleted != info.Deleted || versions[i].Sum != info.Sum):
		return false, &object.ConflictError{Newest: versions[0].Info(info.Name)}
	case there:
		return repair, nil // a write that is repeated has met its condition the first time
	}
	if err := condition.Check(c.Newest(info.Name)); err != nil {
		return false, err
	}
	return i < c.keep, nil
}

// Droppable is the entries of a name whose newest version is not newer than v. It returns an error if it is.
func (c *Catalog[L]) Droppable(name string, v object.Version) ([]Entry[L], error) {
	versions := c.Versions(name)
	if len(versions) > 0 && versions[0].Version.Compare(v) > 0 {
		return nil, &object.ConflictError{Newest: versions[0].Info(name)}
	}
	return versions, nil
}

// Add puts an entry in its place among those of its name. It displaces the entry of the same version, and the
// oldest if there are too many, which may be the one that came.
func (c *Catalog[L]) Add(name string, e Entry[L]) (displaced []Entry[L]) {
	versions := c.Versions(name)
	i, there := search(versions, e.Version)
	after := make([]Entry[L], 0, min(len(versions)+1, c.keep+1))
	after = append(append(after, versions[:i]...), e)
	if there {
		displaced = append(displaced, versions[i])
		i++
	}
	after = append(after, versions[i:]...)
	if len(after) > c.keep {
		displaced = append(displaced, after[c.keep:]...)
		after = after[:c.keep]
	}
	c.entries.ReplaceOrInsert(name, after)
	return displaced
}

// List is a page of a listing.
func (c *Catalog[L]) List(o object.List) object.Page {
	limit := object.MaxPage
	if o.Limit > 0 {
		limit = min(o.Limit, limit)
	}
	from := btreemap.GE(o.Prefix)
	if o.After >= o.Prefix {
		from = btreemap.GT(o.After)
	}
	var page object.Page
	for name, versions := range c.entries.Ascend(from, btreemap.Max[string]()) {
		if !strings.HasPrefix(name, o.Prefix) {
			break
		}
		if versions[0].Deleted && !o.Deleted {
			continue
		}
		if len(page.Objects) == limit {
			page.Next = page.Objects[limit-1].Name
			break
		}
		page.Objects = append(page.Objects, versions[0].Info(name))
	}
	return page
}

// History describes the versions of a name, newest first.
func (c *Catalog[L]) History(name string) []object.Info {
	versions := c.Versions(name)
	history := make([]object.Info, len(versions))
	for i := range versions {
		history[i] = versions[i].Info(name)
	}
	return history
}

// Named is the entries of a name.
type Named[L any] struct {
	Name    string
	Entries []Entry[L]
}

// Forgettable returns the names whose newest version is the mark of a delete older than before.
func (c *Catalog[L]) Forgettable(before object.Version) []Named[L] {
	var found []Named[L]
	for name, versions := range c.All() {
		if versions[0].Deleted && versions[0].Version.Compare(before) < 0 {
			found = append(found, Named[L]{name, versions})
		}
	}
	return found
}

// Remove drops a name with all its entries.
func (c *Catalog[L]) Remove(name string) { c.entries.Delete(name) }

// All yields the names in order, with their entries.
func (c *Catalog[L]) All() func(yield func(string, []Entry[L]) bool) {
	return c.entries.Ascend(btreemap.Min[string](), btreemap.Max[string]())
}
