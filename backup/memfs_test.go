package backup

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
)

// errStopped is what every call returns once a memFS has stopped.
var errStopped = errors.New("the machine has stopped")

// memFS is a file system in memory that stops at a call of its life, and can forget
// what was not synced. Disks are folders at the top: files of two cannot be linked.
type memFS struct {
	root *node
	left int // calls until it stops; negative: never
}

// node is a folder or a file.
type node struct {
	children, durable map[string]*node // of a folder
	data, synced      []byte           // of a file
}

func newFolder() *node {
	return &node{children: make(map[string]*node), durable: make(map[string]*node)}
}

func newMemFS() *memFS { return &memFS{root: newFolder(), left: -1} }

func (m *memFS) step() error {
	if m.left == 0 {
		return errStopped
	}
	m.left--
	return nil
}

// loseUnsynced is a power cut.
func (n *node) loseUnsynced() {
	if n.children == nil {
		n.data = slices.Clone(n.synced)
		return
	}
	n.children = maps.Clone(n.durable)
	for _, child := range n.children {
		child.loseUnsynced()
	}
}

func split(name string) []string { return strings.Split(strings.Trim(path.Clean(name), "/"), "/") }

func (m *memFS) find(name string) (*node, error) {
	n := m.root
	for _, part := range split(name) {
		if part == "" {
			continue
		}
		child := n.children[part]
		if child == nil {
			return nil, &fs.PathError{Op: "find", Path: name, Err: fs.ErrNotExist}
		}
		n = child
	}
	return n, nil
}

func (m *memFS) parent(name string) (*node, string, error) {
	dir, base := path.Split(path.Clean(name))
	n, err := m.find(dir)
	return n, base, err
}

type memWriter struct {
	fs *memFS
	*node
}

func (w memWriter) Write(data []byte) (int, error) {
	if err := w.fs.step(); err != nil {
		half := data[:len(data)/2]
		w.data = append(w.data, half...)
		return len(half), err
	}
	w.data = append(w.data, data...)
	return len(data), nil
}

func (w memWriter) Sync() error {
	if err := w.fs.step(); err != nil {
		return err
	}
	w.synced = slices.Clone(w.data)
	return nil
}

func (memWriter) Close() error { return nil }

func (m *memFS) Open(name string) (io.ReadCloser, error) {
	if err := m.step(); err != nil {
		return nil, err
	}
	n, err := m.find(name)
	if err != nil {
		return nil, err
	}
	return io.NopCloser(bytes.NewReader(n.data)), nil
}

func (m *memFS) Create(name string) (Writer, error) {
	if err := m.step(); err != nil {
		return nil, err
	}
	in, base, err := m.parent(name)
	if err != nil {
		return nil, err
	}
	if in.children[base] != nil {
		return nil, fs.ErrExist
	}
	n := &node{}
	in.children[base] = n
	return memWriter{m, n}, nil
}

func (m *memFS) Link(from, to string) error {
	if err := m.step(); err != nil {
		return err
	}
	n, err := m.find(from)
	if err != nil {
		return err
	}
	in, base, err := m.parent(to)
	if err != nil {
		return err
	}
	if in.children[base] != nil {
		return fs.ErrExist
	}
	if split(from)[0] != split(to)[0] {
		return errors.New("another disk")
	}
	in.children[base] = n
	return nil
}

func (m *memFS) Rename(from, to string) error {
	if err := m.step(); err != nil {
		return err
	}
	out, old, err := m.parent(from)
	if err != nil {
		return err
	}
	in, base, err := m.parent(to)
	if err != nil {
		return err
	}
	in.children[base] = out.children[old]
	delete(out.children, old)
	return nil
}

func (m *memFS) RemoveAll(name string) error {
	if err := m.step(); err != nil {
		return err
	}
	in, base, err := m.parent(name)
	if err == nil {
		// As an interrupted one would leave it: a part of the folder is gone.
		if n := in.children[base]; n != nil && n.children != nil {
			for _, child := range slices.Sorted(maps.Keys(n.children)) {
				if err := m.RemoveAll(path.Join(name, child)); err != nil {
					return err
				}
			}
		}
		delete(in.children, base)
	}
	return nil
}

func (m *memFS) List(dir string) ([]string, error) {
	if err := m.step(); err != nil {
		return nil, err
	}
	n, err := m.find(dir)
	if err != nil {
		return nil, err
	}
	return slices.Sorted(maps.Keys(n.children)), nil
}

func (m *memFS) Walk(dir string) ([]Found, error) {
	if err := m.step(); err != nil {
		return nil, err
	}
	n, err := m.find(dir)
	if err != nil {
		return nil, err
	}
	found := n.walk("", nil)
	slices.SortFunc(found, func(a, b Found) int { return strings.Compare(a.Path, b.Path) })
	return found, nil
}

func (n *node) walk(at string, found []Found) []Found {
	if n.children == nil {
		return append(found, Found{at, int64(len(n.data))})
	}
	for name, child := range n.children {
		found = child.walk(path.Join(at, name), found)
	}
	return found
}

func (m *memFS) MkdirAll(dir string) error {
	if err := m.step(); err != nil {
		return err
	}
	n := m.root
	for _, part := range split(dir) {
		if n.children[part] == nil {
			n.children[part] = newFolder()
		}
		n = n.children[part]
	}
	return nil
}

func (m *memFS) SyncDir(dir string) error {
	if err := m.step(); err != nil {
		return err
	}
	n, err := m.find(dir)
	if err != nil {
		return err
	}
	n.durable = maps.Clone(n.children)
	return nil
}

// put makes a file that is there for good.
func (m *memFS) put(name string, data []byte) {
	n := m.root
	parts := split(name)
	for _, part := range parts[:len(parts)-1] {
		if n.children[part] == nil {
			n.children[part] = newFolder()
		}
		n.durable[part] = n.children[part]
		n = n.children[part]
	}
	f := &node{data: slices.Clone(data), synced: slices.Clone(data)}
	n.children[parts[len(parts)-1]], n.durable[parts[len(parts)-1]] = f, f
}
