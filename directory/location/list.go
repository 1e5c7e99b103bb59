package location

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"regexp"

	"github.com/cockroachdb/pebble/v2"
)

// Bounds of one List.
const (
	MaxList    = 10_000  // entries an answer
	MaxPattern = 1024    // bytes of pattern
	maxScan    = 100_000 // entries looked at; a page may end early with nothing found
)

// ErrBadQuery is wrapped by List for a filter, cursor or limit that cannot be.
var ErrBadQuery = errors.New("bad query")

// Filter says which entries to list. The zero Filter is all; with several fields
// an entry must pass all of them.
type Filter struct {
	Server    string  // has a site on this server
	Partition *uint32 // has a site in this partition; with Server, in this one of that server
	Flags     uint32  // has all these flags
	Pattern   string  // name matches this RE2 pattern, anywhere unless it is anchored
}

// Page is one answer of List.
type Page struct {
	Entries []Entry `json:"entries"`
	// Next is the cursor of what follows; empty at the end. A page with few entries
	// or none need not be the last.
	Next string `json:"next,omitempty"`
	// Revision was applied before the entries were read.
	Revision uint64 `json:"revision"`
}

// List returns up to limit entries that pass the filter, from the cursor of the
// page before, or from the start if it is empty. They come by name; with a server,
// by partition and then name, each once. It reads the disk, and changes nothing
// in the caches. Changes between two pages may or may not be seen.
func (d *Directory) List(filter Filter, cursor string, limit int) (Page, error) {
	d.operations.lists.Add(1)
	if limit < 1 || limit > MaxList {
		return Page{}, fmt.Errorf("%w: limit %d, want 1 to %d", ErrBadQuery, limit, MaxList)
	}
	d.mu.RLock()
	defer d.mu.RUnlock()
	if err := d.ready(); err != nil {
		return Page{}, err
	}
	l := lister{servers: d.servers.Load(), filter: filter, page: Page{Revision: d.revision.Load()}}
	if err := l.prepare(cursor); err != nil {
		return Page{}, err
	}
	snapshot := d.db.NewSnapshot() // index and entries must be of one moment
	if err := errors.Join(l.run(snapshot, limit), snapshot.Close()); err != nil {
		return Page{}, fmt.Errorf("list entries: %w", err)
	}
	return l.page, nil
}

// lister goes through one space of keys: names, or the sites of one server.
type lister struct {
	servers *servers
	filter  Filter
	pattern *regexp.Regexp // nil: any name
	server  uint32         // of the filter, if it names one
	bounds  pebble.IterOptions
	page    Page
}

func (l *lister) prepare(cursor string) error {
	if len(l.filter.Pattern) > MaxPattern {
		return fmt.Errorf("%w: pattern of %d bytes, want at most %d", ErrBadQuery, len(l.filter.Pattern), MaxPattern)
	}
	if l.filter.Pattern != "" {
		var err error
		if l.pattern, err = regexp.Compile(l.filter.Pattern); err != nil {
			return fmt.Errorf("%w: %w", ErrBadQuery, err)
		}
	}
	l.bounds = *spaceBounds(nameSpace)
	if l.filter.Server != "" {
		var err error
		if l.server, err = l.servers.find(l.filter.Server); err != nil {
			return err
		}
		from, to := uint32(0), uint32(math.MaxUint32)
		if l.filter.Partition != nil {
			from, to = *l.filter.Partition, *l.filter.Partition
		}
		l.bounds.LowerBound = siteKey(nil, place{server: l.server, partition: from}, nil)
		l.bounds.UpperBound = siteKey(nil, place{server: l.server, partition: to}, []byte{math.MaxUint8})
	}
	if cursor == "" {
		return nil
	}
	// A cursor is the last key looked at; the next one in order is it and a zero.
	key, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil || bytes.Compare(key, l.bounds.LowerBound) < 0 || bytes.Compare(key, l.bounds.UpperBound) >= 0 {
		return fmt.Errorf("%w: cursor %.200q is not of this list", ErrBadQuery, cursor)
	}
	l.bounds.LowerBound = append(key, 0)
	return nil
}

func (l *lister) run(db pebble.Reader, limit int) (err error) {
	iter, err := db.NewIter(&l.bounds)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, iter.Close()) }()
	scanned := 0
	for valid := iter.First(); valid; valid = iter.Next() {
		if err := l.look(db, iter); err != nil {
			return err
		}
		if scanned++; len(l.page.Entries) == limit || scanned == maxScan {
			key := base64.RawURLEncoding.EncodeToString(iter.Key())
			if iter.Next() {
				l.page.Next = key
			}
			break
		}
	}
	return iter.Error()
}

// look adds the entry at the iterator if it passes.
func (l *lister) look(db pebble.Reader, iter *pebble.Iterator) error {
	v := View{servers: l.servers}
	key := iter.Key()
	name := key[1:]
	if l.filter.Server != "" {
		name = key[sitePrefixBytes:]
	}
	if l.pattern != nil && !l.pattern.Match(name) {
		return nil
	}
	if l.filter.Server != "" {
		if err := readName(db, name, &v.record); err != nil {
			return fmt.Errorf("record of %q, which has a site: %w", name, err)
		}
	} else if value, err := iter.ValueAndErr(); err != nil {
		return err
	} else if err := decodeEntry(key, value, &v.record); err != nil {
		return fmt.Errorf("record of %q: %w", name, err)
	}
	if l.passes(&v.record, key) {
		l.page.Entries = append(l.page.Entries, v.Entry())
	}
	return nil
}

func (l *lister) passes(r *record, key []byte) bool {
	if r.flags&l.filter.Flags != l.filter.Flags {
		return false
	}
	switch {
	case l.filter.Server != "":
		return l.first(r, binary.BigEndian.Uint32(key[1+4:]))
	case l.filter.Partition != nil:
		for _, p := range r.places() {
			if p.partition == *l.filter.Partition {
				return true
			}
		}
		return false
	}
	return true
}

// first tells whether the partition is the one under which the entry is listed: the
// only one asked for, or the lowest that it has on the server.
func (l *lister) first(r *record, partition uint32) bool {
	for _, p := range r.places() {
		if p.server == l.server && p.partition < partition && l.filter.Partition == nil {
			return false
		}
	}
	return true
}
