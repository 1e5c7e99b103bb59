package store

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"path/filepath"
)

// Snapshot is the files of a store as they were at one moment. None of them is
// removed before Release, whatever the store does meanwhile. Any goroutine may use it,
// but only one at a time.
type Snapshot struct {
	store   *Store
	version *version
}

// SnapshotFile is one file of a snapshot.
type SnapshotFile struct {
	Path string // from the store's folder on, with slashes
	Size int64
	CRC  uint32 // CRC-32C of all of it
	// From is where the file is. If it is empty, Content is the file: it may be
	// replaced at any moment.
	From    string
	Content []byte
}

// Snapshot holds what the store has in files. What is in memory is not in it: who wants
// everything seals first. Any goroutine.
func (s *Store) Snapshot() *Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current.refs.Add(1)
	return &Snapshot{store: s, version: s.current}
}

// Release lets go of the files. It must be called once.
func (n *Snapshot) Release() { n.store.release(n.version) }

// Sealed is the journal position through which everything is in the files.
func (n *Snapshot) Sealed() uint64 { return n.version.sealed }

// Files lists everything that Open needs to find the store as it was.
func (n *Snapshot) Files() []SnapshotFile {
	config := n.store.config
	content := func(path string, data []byte) SnapshotFile {
		return SnapshotFile{Path: path, Size: int64(len(data)), CRC: checksum(data), Content: data}
	}
	files := []SnapshotFile{content(manifestName, n.version.manifest(config.Tiers).append(nil))}
	if buried := n.version.buried; buried.sequence != 0 {
		files = append(files, content(filepath.Base(gravesPath("", buried.sequence)), appendGraves(nil, n.version.graves, len(config.Tiers))))
	}
	for tier, of := range n.version.files {
		for _, f := range of {
			files = append(files, SnapshotFile{
				Path: filepath.ToSlash(filePath("", config.Tiers[tier], f.sequence)),
				Size: f.size, CRC: wholeChecksum(f.crc), From: f.path,
			})
		}
	}
	return files
}

// wholeChecksum is that of a whole page file, whose end holds the checksum of what
// stands before.
func wholeChecksum(crc uint32) uint32 {
	end := append(binary.LittleEndian.AppendUint32(nil, crc), footerMagic...)
	return crc32.Update(crc, castagnoli, end)
}

// MoveSealed changes the journal position in the manifest of a store that is not open:
// one that was restored goes on with a journal that begins behind it.
func MoveSealed(dir string, sealed uint64) error {
	m, err := readManifest(OS{}, dir)
	if err == nil {
		m.sealed = sealed
		err = writeManifest(OS{}, dir, m)
	}
	if err != nil {
		return fmt.Errorf("moving the journal position of a store: %w", err)
	}
	return nil
}
