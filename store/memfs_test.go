package store

import (
	"bytes"
	"fmt"
	"io"
	iofs "io/fs"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
)

var errFull = fmt.Errorf("injected: %w", syscall.ENOSPC)

var errInjected = fmt.Errorf("injected: %w", syscall.EIO)

// memFS is a file system in memory that knows what a crash would leave of it, and
// that can fail at any call, or be full from a call on. Contents are durable after
// Sync of the file, names after SyncDir of the folder.
type memFS struct {
	mu      sync.Mutex
	names   map[string]*memNode
	durable map[string]*memNode
	dirs    map[string]bool

	calls  int // so far
	failAt int // the call that fails, from 1; 0 for none
	dead   bool
	crash  bool // with failAt: every later call fails too
	fills  bool // with failAt: the disk is full from then on, until full is set false
	full   bool
	synced bool // the call that failed was to make something durable

	flips *rand.Rand // with failAt: that call does not fail, but a bit of its data is another
}

type memNode struct{ data, synced []byte }

func newMemFS() *memFS {
	return &memFS{names: map[string]*memNode{}, durable: map[string]*memNode{}, dirs: map[string]bool{}}
}

// call counts one call, and fails it if it is the one.
func (m *memFS) call() error {
	m.calls++
	if m.calls == m.failAt && m.flips == nil {
		m.dead = m.crash
		if m.fills {
			m.full = true
			return nil
		}
		return errInjected
	}
	if m.dead {
		return errInjected
	}
	return nil
}

// flip changes a bit of the data of a call, if it is the one.
func (m *memFS) flip(data []byte) {
	if m.flips != nil && m.calls == m.failAt && len(data) > 0 {
		bit := m.flips.IntN(8 * len(data))
		data[bit/8] ^= 1 << (bit % 8)
	}
}

// sync is call for what makes something durable.
func (m *memFS) sync() error {
	err := m.call()
	if m.calls == m.failAt && m.fills {
		m.synced = true
		return errFull
	}
	return err
}

// allocate is call for what takes space.
func (m *memFS) allocate() error {
	if err := m.call(); err != nil || !m.full {
		return err
	}
	return errFull
}

// torn is what a crash leaves of data that were not synced from an offset on: a part,
// in which any sector may be missing.
func torn(data []byte, synced int, rng *rand.Rand) []byte {
	const sector = 512
	kept := slices.Clone(data[:synced+rng.IntN(len(data)-synced+1)])
	for at := (synced + sector - 1) / sector * sector; at < len(kept); at += sector {
		if rng.IntN(4) == 0 {
			clear(kept[at:min(at+sector, len(kept))])
		}
	}
	return kept
}

// restart is what a crash leaves: of what was not synced, any part.
func (m *memFS) restart(rng *rand.Rand) {
	m.mu.Lock()
	defer m.mu.Unlock()
	after := map[string]*memNode{}
	for _, names := range []map[string]*memNode{m.names, m.durable} {
		for name := range names {
			node := m.durable[name]
			if m.names[name] != node && rng.IntN(2) == 0 {
				node = m.names[name]
			}
			if node == nil {
				continue
			}
			if _, seen := after[name]; !seen {
				kept := node.synced
				if len(node.data) > len(kept) && bytes.HasPrefix(node.data, kept) {
					kept = torn(node.data, len(kept), rng)
				}
				after[name] = &memNode{data: slices.Clone(kept), synced: slices.Clone(kept)}
			}
		}
	}
	m.names, m.durable = after, map[string]*memNode{}
	for name, node := range after {
		m.durable[name] = node
	}
	m.dead, m.failAt = false, 0
}

func (m *memFS) Create(name string) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.allocate(); err != nil {
		return nil, err
	}
	if !m.dirs[filepath.Dir(name)] {
		return nil, iofs.ErrNotExist
	}
	node := &memNode{}
	m.names[name] = node
	return &memFile{fs: m, node: node}, nil
}

func (m *memFS) Open(name string) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.call(); err != nil {
		return nil, err
	}
	node := m.names[name]
	if node == nil {
		return nil, iofs.ErrNotExist
	}
	return &memFile{fs: m, node: node}, nil
}

func (m *memFS) Rename(from, to string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.allocate(); err != nil {
		return err
	}
	m.names[to] = m.names[from]
	delete(m.names, from)
	return nil
}

func (m *memFS) Remove(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.call(); err != nil {
		return err
	}
	if m.names[name] == nil {
		return iofs.ErrNotExist
	}
	delete(m.names, name)
	return nil
}

func (m *memFS) List(dir string) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.call(); err != nil {
		return nil, err
	}
	var names []string
	for name := range m.names {
		if filepath.Dir(name) == dir {
			names = append(names, filepath.Base(name))
		}
	}
	slices.Sort(names)
	return names, nil
}

// MkdirAll is durable at once: the store makes folders only before it has files.
func (m *memFS) MkdirAll(dir string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.call(); err != nil {
		return err
	}
	for ; !m.dirs[dir]; dir = filepath.Dir(dir) {
		m.dirs[dir] = true
	}
	return nil
}

func (m *memFS) SyncDir(dir string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.sync(); err != nil {
		return err
	}
	in := func(name string) bool { return filepath.Dir(name) == dir }
	for name := range m.durable {
		if in(name) {
			delete(m.durable, name)
		}
	}
	for name, node := range m.names {
		if in(name) {
			m.durable[name] = node
		}
	}
	return nil
}

// pages counts the page files, live or not.
func (m *memFS) pages() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := 0
	for name := range m.names {
		if strings.HasSuffix(name, pagesSuffix) {
			n++
		}
	}
	return n
}

type memFile struct {
	fs   *memFS
	node *memNode
}

func (f *memFile) Write(data []byte) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.fs.allocate(); err != nil {
		f.node.data = append(f.node.data, data[:len(data)/2]...)
		return len(data) / 2, err
	}
	f.node.data = append(f.node.data, data...)
	f.fs.flip(f.node.data[len(f.node.data)-len(data):])
	return len(data), nil
}

func (f *memFile) ReadAt(dst []byte, offset int64) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.fs.call(); err != nil {
		return 0, err
	}
	if offset >= int64(len(f.node.data)) {
		return 0, io.EOF
	}
	n := copy(dst, f.node.data[offset:])
	f.fs.flip(dst[:n])
	if n < len(dst) {
		return n, io.ErrUnexpectedEOF
	}
	return n, nil
}

func (f *memFile) Sync() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.fs.sync(); err != nil {
		return err
	}
	f.node.synced = slices.Clone(f.node.data)
	return nil
}

func (f *memFile) Size() (int64, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	return int64(len(f.node.data)), f.fs.call()
}

func (f *memFile) Close() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	return f.fs.call()
}
