package replica

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"

	"carillon/object"
)

const keep = 3 // versions of a name

// memory is a store in memory whose bits a test can flip.
type memory struct {
	mu    sync.Mutex
	names map[string][]*stored // newest first
}

type stored struct {
	info    object.Info
	content []byte
}

func newMemory() *memory { return &memory{names: make(map[string][]*stored)} }

func (m *memory) newest(name string) object.Info {
	if versions := m.names[name]; len(versions) > 0 {
		return versions[0].info
	}
	return object.Info{}
}

func (m *memory) insert(name string, s *stored, repair bool) {
	versions := m.names[name]
	i := slices.IndexFunc(versions, func(o *stored) bool { return o.info.Version == s.info.Version })
	switch {
	case i >= 0 && repair:
		versions[i] = s
	case i < 0:
		versions = append(versions, s)
		slices.SortFunc(versions, func(a, b *stored) int { return b.info.Version.Compare(a.info.Version) })
		m.names[name] = versions[:min(len(versions), keep)]
	}
}

func (m *memory) Put(ctx context.Context, name string, body io.Reader, o object.Put) (object.Info, error) {
	content, err := io.ReadAll(body)
	if err != nil {
		return object.Info{}, err
	}
	info := object.Info{Name: name, Version: o.Version, Size: int64(len(content)), Sum: object.SumOf(content)}
	if o.Size >= 0 && o.Size != info.Size {
		return object.Info{}, object.ErrSize
	}
	if o.Sum != nil && *o.Sum != info.Sum {
		return object.Info{}, object.ErrSum
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := o.If.Check(m.newest(name)); err != nil {
		return object.Info{}, err
	}
	m.insert(name, &stored{info, content}, o.Repair)
	return info, nil
}

func (m *memory) Delete(ctx context.Context, name string, o object.Delete) (object.Info, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := o.If.Check(m.newest(name)); err != nil {
		return object.Info{}, err
	}
	info := object.Info{Name: name, Version: o.Version, Deleted: true}
	m.insert(name, &stored{info: info}, false)
	return info, nil
}

func (m *memory) Stat(ctx context.Context, name string) (object.Info, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	info := m.newest(name)
	if info.Deleted || info.Version.IsZero() {
		return info, object.ErrNotFound
	}
	return info, nil
}

func (m *memory) Get(ctx context.Context, name string, o object.Get) (object.Body, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, s := range m.names[name] {
		if o.Version.IsZero() && i > 0 {
			break
		}
		if !o.Version.IsZero() && s.info.Version != o.Version || s.info.Deleted {
			continue
		}
		end := s.info.Size
		if o.Length > 0 {
			end = min(end, o.Offset+o.Length)
		}
		if o.Offset > end {
			return nil, object.ErrRange
		}
		damaged := object.SumOf(s.content) != s.info.Sum
		return &section{bytes.NewReader(slices.Clone(s.content[o.Offset:end])), s.info, o.Offset, end - o.Offset, damaged}, nil
	}
	return nil, object.ErrNotFound
}

func (m *memory) History(ctx context.Context, name string) ([]object.Info, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var infos []object.Info
	for _, s := range m.names[name] {
		infos = append(infos, s.info)
	}
	return infos, nil
}

func (m *memory) List(ctx context.Context, o object.List) (object.Page, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []object.Info
	for name := range m.names {
		info := m.newest(name)
		if strings.HasPrefix(name, o.Prefix) && name > o.After && (o.Deleted || !info.Deleted) {
			all = append(all, info)
		}
	}
	slices.SortFunc(all, func(a, b object.Info) int { return strings.Compare(a.Name, b.Name) })
	limit := o.Limit
	if limit == 0 {
		limit = 2 // so that every listing has pages
	}
	if len(all) > limit {
		return object.Page{Objects: all[:limit], Next: all[limit-1].Name}, nil
	}
	return object.Page{Objects: all}, nil
}

func (m *memory) Forget(ctx context.Context, before object.Version) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := 0
	for name := range m.names {
		if info := m.newest(name); info.Deleted && info.Version.Compare(before) < 0 {
			delete(m.names, name)
			n++
		}
	}
	return n, nil
}

func (m *memory) Drop(ctx context.Context, name string, v object.Version) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if newest := m.newest(name); newest.Version.Compare(v) > 0 {
		return &object.ConflictError{Newest: newest}
	}
	delete(m.names, name)
	return nil
}

func (m *memory) Close() error { return nil }

// flip changes a bit of the newest version, and tells whether there was one.
func (m *memory) flip(name string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	versions := m.names[name]
	if len(versions) == 0 || len(versions[0].content) == 0 {
		return false
	}
	versions[0].content = slices.Clone(versions[0].content)
	versions[0].content[len(versions[0].content)/2] ^= 4
	return true
}

// section is a memory's Body.
type section struct {
	content        *bytes.Reader // not embedded: its WriteTo would pass by Read
	info           object.Info
	offset, length int64
	damaged        bool
}

func (s *section) Read(p []byte) (int, error) {
	if s.damaged {
		return 0, fmt.Errorf("%q: %w", s.info.Name, object.ErrDamaged)
	}
	return s.content.Read(p)
}

func (s *section) Close() error                  { return nil }
func (s *section) Info() object.Info             { return s.info }
func (s *section) Range() (offset, length int64) { return s.offset, s.length }
func (s *section) Section() (*os.File, int64)    { return nil, 0 }
