// Package catalog is the index of a store: which versions there are of which
// name, and where. In come entries in any order; out go the newest K versions of a name, listings
// in the order of names, and what an entry has displaced. The backends that
// have their index in memory call Catalog; the one that reads it from a database
// decides by Versions, too.
package catalog

import (
	"fmt"
	"iter"
	"strings"
	"sync"

	"carillon/object"
	"carillon/object/backend"

	"github.com/RaduBerinde/btreemap"
)

// Catalog maps names to their versions. All methods may be called by many goroutines at once.
type Catalog[L any] struct {
	keep int

	mu    sync.RWMutex
	names *btreemap.BTreeMap[string, Versions[L]]
}

const degree = 32 // of the tree; the fastest from 8 to 128 for names of 30 bytes

// New returns an empty catalogue that keeps so many versions of a name.
func New[L any](keep int) *Catalog[L] {
	return &Catalog[L]{keep: keep, names: btreemap.New[string, Versions[L]](degree, strings.Compare)}
}

// Clone is the catalogue as it is now, whatever becomes of the original. It costs nothing at once.
func (c *Catalog[L]) Clone() *Catalog[L] {
	c.mu.Lock() // a clone marks the original
	defer c.mu.Unlock()
	return &Catalog[L]{keep: c.keep, names: c.names.Clone()}
}

// Len is the number of names.
func (c *Catalog[L]) Len() int {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.names.Len()
}

// Versions is what is there of a name.
func (c *Catalog[L]) Versions(name string) Versions[L] {
	c.mu.RLock()
	defer c.mu.RUnlock()
	_, versions, _ := c.names.Get(name)
	return versions
}

// Find returns a version that has a content, the newest for the zero Version. The error is ErrNotFound if there is none, then
// with the zero Entry, or if it is the mark of a delete.
func (c *Catalog[L]) Find(name string, version object.Version) (Entry[L], error) {
	if err := object.CheckName(name); err != nil {
		return Entry[L]{}, err
	}
	e, there := c.Versions(name).Find(version)
	if !there || e.Deleted {
		return e, fmt.Errorf("%q: %w", name, object.ErrNotFound)
	}
	return e, nil
}

// Decide is that of the name's Versions.
func (c *Catalog[L]) Decide(info object.Info, condition object.Condition, repair bool) (write bool, err error) {
	return c.Versions(info.Name).Decide(c.keep, info, condition, repair)
}

// Add takes an entry in, and returns what it displaces.
func (c *Catalog[L]) Add(name string, e Entry[L]) (displaced Versions[L]) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, before, _ := c.names.Get(name)
	after, displaced := before.Add(c.keep, e)
	c.names.ReplaceOrInsert(name, after)
	return displaced
}

// Remove drops a name with all its entries.
func (c *Catalog[L]) Remove(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.names.Delete(name)
}

// Clear drops everything.
func (c *Catalog[L]) Clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.names.Clear(false)
}

// List is a page of a listing.
func (c *Catalog[L]) List(o object.List) (page object.Page) {
	from := btreemap.GE(o.Prefix)
	if o.After >= o.Prefix {
		from = btreemap.GT(o.After)
	}
	limit := backend.PageSize(o)
	c.mu.RLock()
	defer c.mu.RUnlock()
	for name, versions := range c.names.Ascend(from, btreemap.Max[string]()) {
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

// Deleted describes the names whose newest version is the mark of a delete older than before.
func (c *Catalog[L]) Deleted(before object.Version) (marks []object.Info) {
	for name, versions := range c.All() {
		if versions[0].Deleted && versions[0].Version.Compare(before) < 0 {
			marks = append(marks, versions[0].Info(name))
		}
	}
	return marks
}

// All yields the names in order as they are now, with their versions, whatever is written meanwhile.
func (c *Catalog[L]) All() iter.Seq2[string, Versions[L]] {
	return c.Clone().names.Ascend(btreemap.Min[string](), btreemap.Max[string]())
}
