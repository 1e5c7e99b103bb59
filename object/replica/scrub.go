package replica

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"carillon/object"
	"carillon/object/clock"
)

// Scrub says what a scrub goes over.
type Scrub struct {
	Prefix string // only names that begin so
	After  string // only names behind this one: where an earlier scrub ended
	Deep   bool   // read every copy, to find flipped bits
	// Report, if not nil, hears of each name when it is done, with what could not be done.
	// It may take its time: that is how a scrub is paced. An error ends the scrub.
	Report func(name string, m Mended, err error) error
}

// Scrubbed is what a scrub came to.
type Scrubbed struct {
	Names     int64    `json:"names"`
	Copied    int64    `json:"copied"`
	Bytes     int64    `json:"bytes"` // of copies made and replaced
	Repaired  int64    `json:"repaired"`
	Dropped   int64    `json:"dropped"`
	Failed    int64    `json:"failed"` // names that could not be settled
	Last      string   `json:"last"`
	Unheard   []string `json:"unheard,omitempty"` // nodes whose names could not be listed, wholly or in part
	Forgotten int64    `json:"forgotten"`         // marks of deletes that were removed, of old age
}

// Settled tells whether every copy is where and how it should be.
func (s Scrubbed) Settled() bool { return s.Failed == 0 && len(s.Unheard) == 0 }

// Scrub goes over the names of all nodes in their order and mends each. It is how copies move after the
// map has changed, how a node that lost its disk gets its copies back, and how damage is found
// that nobody reads.
//
// When a scrub of all names settled everything, marks of deletes older than the grace are on every
// node where they belong and no older version is anywhere, so all nodes forget them;
// were one node not heard, an old version could be there and would come back. Marks of
// guarded deletes stay.
func (c *Coordinator) Scrub(ctx context.Context, s Scrub) (Scrubbed, error) {
	view := c.view.Load()
	begun := c.config.Clock.Wall()
	var done Scrubbed
	merge := merging{c: c, options: object.List{Prefix: s.Prefix, After: s.After, Deleted: true}}
	for _, node := range view.members() {
		merge.nodes = append(merge.nodes, &listing{node: node, more: true})
	}
	for {
		name, holders := merge.next(ctx)
		if err := ctx.Err(); err != nil {
			return done, fmt.Errorf("scrubbing after %q: %w", done.Last, err)
		}
		if name == "" {
			break
		}
		m, err := c.mend(ctx, name, holders, s.Deep)
		done.add(name, m)
		if s.Report != nil {
			if err := s.Report(name, m, err); err != nil {
				return done, err
			}
		}
	}
	done.Unheard = merge.unheard
	whole := s.Prefix == "" && s.After == "" && view.Before == nil && c.view.Load() == view
	if !whole || !done.Settled() {
		return done, nil
	}
	var err error
	done.Forgotten, err = c.forget(ctx, view, clock.Before(begun.Add(-c.config.Grace)))
	return done, err
}

func (d *Scrubbed) add(name string, m Mended) {
	d.Last = name
	d.Names++
	d.Copied += int64(m.Copied)
	d.Bytes += int64(m.Copied+m.Repaired) * m.Newest.Size
	d.Repaired += int64(m.Repaired)
	d.Dropped += int64(m.Dropped)
	if !m.Settled {
		d.Failed++
	}
}

func (c *Coordinator) forget(ctx context.Context, view *View, before object.Version) (int64, error) {
	nodes := view.members()
	answers := ask(ctx, &c.working, nodes, func(ctx context.Context, node string) (int, error) {
		n, err := c.config.Node(node)
		if err != nil {
			return 0, err
		}
		return n.Forget(ctx, before, view.Epoch)
	})
	forgotten := int64(0)
	var failures []error
	for range nodes {
		a := <-answers
		forgotten += int64(a.value)
		if a.err != nil {
			failures = append(failures, fmt.Errorf("node %s: forgetting marks of deletes: %w", a.node, a.err))
		}
	}
	return forgotten, errors.Join(failures...)
}

// merging goes over the names of many nodes at once.
type merging struct {
	c       *Coordinator
	options object.List
	nodes   []*listing
	unheard []string
}

// listing is where a merge is in one node's names.
type listing struct {
	node  string
	page  []object.Info
	after string
	more  bool // there may be pages after this one
}

// next is the next name and the nodes that have it, or "" at the end.
func (m *merging) next(ctx context.Context) (string, []string) {
	name := ""
	for _, l := range m.nodes {
		m.fill(ctx, l)
		if len(l.page) > 0 && (name == "" || strings.Compare(l.page[0].Name, name) < 0) {
			name = l.page[0].Name
		}
	}
	var holders []string
	for _, l := range m.nodes {
		if len(l.page) > 0 && l.page[0].Name == name {
			holders = append(holders, l.node)
			l.page = l.page[1:]
		}
	}
	return name, holders
}

// fill gets a node's next page when it has no more names. A node that does not answer has
// no more.
func (m *merging) fill(ctx context.Context, l *listing) {
	for len(l.page) == 0 && l.more {
		options := m.options
		if l.after != "" {
			options.After = l.after
		}
		page, err := m.c.list(ctx, l.node, options)
		if err != nil {
			l.more = false
			m.unheard = append(m.unheard, l.node)
			return
		}
		l.page, l.after, l.more = page.Objects, page.Next, page.Next != ""
	}
}

func (c *Coordinator) list(ctx context.Context, node string, o object.List) (object.Page, error) {
	ctx, cancel := context.WithTimeout(ctx, c.config.Timeout)
	defer cancel()
	n, err := c.config.Node(node)
	if err != nil {
		return object.Page{}, err
	}
	return n.List(ctx, o)
}

// List describes the newest version of each name, a page at a time, as the nodes that answer know it.
// The error wraps ErrTooFew if so many do not that a name could be missing; the page is what is known then.
func (c *Coordinator) List(ctx context.Context, o object.List) (object.Page, error) {
	view := c.view.Load()
	limit := o.Limit
	if limit <= 0 || limit > object.MaxPage {
		limit = object.MaxPage
	}
	listed := o
	listed.Deleted, listed.Limit = true, limit
	merge := merging{c: c, options: listed}
	for _, node := range view.members() {
		merge.nodes = append(merge.nodes, &listing{node: node, more: true})
	}
	var page object.Page
	for {
		newest := merge.newest(ctx)
		if newest.Name == "" {
			break
		}
		if newest.Deleted && !o.Deleted {
			continue
		}
		if len(page.Objects) == limit {
			page.Next = page.Objects[limit-1].Name
			break
		}
		page.Objects = append(page.Objects, newest)
	}
	if missing := len(merge.unheard) + len(view.Lost); missing >= c.need(view) {
		return page, fmt.Errorf("listing: %w: %s did not", ErrTooFew, strings.Join(slices.Concat(merge.unheard, view.Lost), ", "))
	}
	return page, ctx.Err()
}

// newest is next with what the nodes know of the name.
func (m *merging) newest(ctx context.Context) object.Info {
	var newest object.Info
	for _, l := range m.nodes {
		m.fill(ctx, l)
	}
	for _, l := range m.nodes {
		if len(l.page) > 0 && (newest.Name == "" || l.page[0].Name < newest.Name ||
			l.page[0].Name == newest.Name && l.page[0].Version.Compare(newest.Version) > 0) {
			newest = l.page[0]
		}
	}
	if newest.Name != "" {
		m.next(ctx)
	}
	return newest
}
