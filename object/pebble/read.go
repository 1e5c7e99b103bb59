package pebble

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"

	"carillon/object"
	"carillon/object/backend"

	"github.com/cockroachdb/pebble/v2"
)

// Get implements object.Store. A body of chunks reads from a snapshot, which is
// held until it is closed.
func (s *Store) Get(_ context.Context, name string, o object.Get) (object.Body, error) {
	if err := object.CheckName(name); err != nil {
		return nil, err
	}
	if err := s.life.Begin(); err != nil {
		return nil, err
	}
	snapshot := s.db.NewSnapshot()
	body, held, err := s.open(snapshot, name, o)
	if !held {
		err = errors.Join(err, snapshot.Close())
		s.life.Done()
	}
	return body, err
}

func (s *Store) open(snapshot *pebble.Snapshot, name string, o object.Get) (body object.Body, held bool, err error) {
	found, content, err := find(snapshot, name, o.Version)
	if err != nil {
		return nil, false, err
	}
	if found.Deleted || found.Version.IsZero() {
		return nil, false, fmt.Errorf("%q: %w", name, object.ErrNotFound)
	}
	info := found.Info(name)
	offset, length, err := backend.Range(name, o, info.Size)
	if err != nil {
		return nil, false, err
	}
	if found.Where == 0 {
		body, err = backend.NewMemoryBody(info, content, offset, length)
		return body, false, err
	}
	c := &chunks{snapshot: snapshot, info: info, upload: found.Where, done: sync.OnceFunc(s.life.Done)}
	return backend.NewBlockBody(info, c, chunkSize, offset, length), true, nil
}

// find returns a version, the newest for the zero Version, with its content. It is zero if there is none.
func find(snapshot *pebble.Snapshot, name string, version object.Version) (found entry, content []byte, err error) {
	err = eachVersion(snapshot, name, version, func(one entry, inline []byte) bool {
		if version.IsZero() || one.Version == version {
			found, content = one, append([]byte{}, inline...)
		}
		return false
	})
	return found, content, err
}

// source is the database or a snapshot of it.
type source interface {
	NewIter(o *pebble.IterOptions) (*pebble.Iterator, error)
}

// eachVersion yields the versions of a name, newest first, from one on or all.
func eachVersion(from source, name string, first object.Version, yield func(one entry, inline []byte) bool) error {
	lower, upper := append(namePrefix(name), 0), append(namePrefix(name), 1)
	if !first.IsZero() {
		lower = recordKey(name, first)
	}
	iter, err := from.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return fmt.Errorf("read %q: %w", name, err)
	}
	for valid := iter.First(); valid; valid = iter.Next() {
		_, one, content, parseErr := parseAt(iter)
		if err = parseErr; err != nil || !yield(one, content) {
			break
		}
	}
	return errors.Join(err, iter.Error(), iter.Close())
}

func parseAt(iter *pebble.Iterator) (name string, one entry, content []byte, err error) {
	name, version, err := parseRecordKey(iter.Key())
	if err != nil {
		return "", entry{}, nil, err
	}
	b, err := iter.ValueAndErr()
	if err != nil {
		return "", entry{}, nil, err
	}
	one, content, err = parseRecord(name, version, b)
	return name, one, content, err
}

// versions is what is there of a name, newest first.
func (s *Store) versions(name string) (all versions, err error) {
	err = eachVersion(s.db, name, object.Version{}, func(one entry, _ []byte) bool {
		all = append(all, one)
		return true
	})
	return all, err
}

// chunks is a content in chunks, as of a snapshot.
type chunks struct {
	snapshot *pebble.Snapshot
	info     object.Info
	upload   uint64
	buffer   []byte
	done     func()
}

func (c *chunks) ReadBlock(block int64) ([]byte, error) {
	value, closer, err := c.snapshot.Get(chunkKey(c.upload, uint32(block)))
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, backend.Damaged(c.info, fmt.Sprintf("chunk %d is missing", block))
	}
	if err != nil {
		return nil, fmt.Errorf("get %q: %w", c.info.Name, err)
	}
	content, good := openChunk(value)
	c.buffer = append(c.buffer[:0], content...)
	if err := closer.Close(); err != nil {
		return nil, fmt.Errorf("get %q: %w", c.info.Name, err)
	}
	if !good {
		return nil, backend.Damaged(c.info, fmt.Sprintf("chunk %d does not have its checksum", block))
	}
	return c.buffer, nil
}

func (c *chunks) Section(int64) *os.File { return nil }

func (c *chunks) Close() error {
	defer c.done()
	return c.snapshot.Close()
}

// Stat implements object.Store.
func (s *Store) Stat(ctx context.Context, name string) (object.Info, error) {
	history, err := s.History(ctx, name)
	if err != nil {
		return object.Info{}, err
	}
	if len(history) == 0 || history[0].Deleted {
		return append(history, object.Info{})[0], fmt.Errorf("%q: %w", name, object.ErrNotFound)
	}
	return history[0], nil
}

// History implements object.Store.
func (s *Store) History(_ context.Context, name string) ([]object.Info, error) {
	if err := object.CheckName(name); err != nil {
		return nil, err
	}
	if err := s.life.Begin(); err != nil {
		return nil, err
	}
	defer s.life.Done()
	versions, err := s.versions(name)
	return versions.Infos(name), err
}

// List implements object.Store.
func (s *Store) List(_ context.Context, o object.List) (object.Page, error) {
	if err := s.life.Begin(); err != nil {
		return object.Page{}, err
	}
	defer s.life.Done()
	return s.list(o)
}

// list seeks from name to name: what is behind the newest version of each is not read.
func (s *Store) list(o object.List) (page object.Page, err error) {
	limit := backend.PageSize(o)
	lower := namePrefix(o.Prefix)
	if o.After >= o.Prefix {
		lower = append(namePrefix(o.After), 1)
	}
	iter, err := s.db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: []byte{nameKeys + 1}})
	if err != nil {
		return object.Page{}, fmt.Errorf("list %q: %w", o.Prefix, err)
	}
	for valid := iter.First(); valid; {
		name, one, _, parseErr := parseAt(iter)
		if err = parseErr; err != nil || !strings.HasPrefix(name, o.Prefix) {
			break
		}
		if !one.Deleted || o.Deleted {
			if len(page.Objects) == limit {
				page.Next = page.Objects[limit-1].Name
				break
			}
			page.Objects = append(page.Objects, one.Info(name))
		}
		valid = iter.SeekGE(append(namePrefix(name), 1))
	}
	return page, errors.Join(err, iter.Error(), iter.Close())
}
