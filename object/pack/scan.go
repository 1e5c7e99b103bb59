package pack

import (
	"errors"
	"fmt"
	"io"

	"carillon/object"
	"carillon/object/blob"
	"carillon/object/catalog"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// window reads a segment's bytes from front to back.
type window struct {
	file  vfs.File
	size  int64
	start int64
	bytes []byte
}

const windowBytes = 32 << 10

// at returns up to so many bytes from an offset on; fewer at the end of the file.
func (w *window) at(offset int64, n int) ([]byte, error) {
	n = int(min(int64(n), max(0, w.size-offset)))
	if offset < w.start || offset+int64(n) > w.start+int64(len(w.bytes)) {
		if w.bytes == nil {
			w.bytes = make([]byte, windowBytes)
		}
		w.bytes = w.bytes[:min(windowBytes, max(0, w.size-offset))]
		w.start = offset
		if read, err := w.file.ReadAt(w.bytes, offset); read < len(w.bytes) {
			if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
				return nil, err
			}
			w.bytes = w.bytes[:read]
		}
		n = min(n, len(w.bytes))
	}
	return w.bytes[offset-w.start:][:n], nil
}

// scanned is what a segment's bytes say.
type scanned struct {
	records []record
	end     int64 // behind the last record
	synced  int64 // what is before it was durable once: a later record says so
	gaps    []gap // between records
}

type gap struct{ from, to int64 }

// scan finds the records of a segment from an offset on. What is no record is passed over: before
// synced it is damage, behind it a write that a crash has torn, and whose caller had no answer. A
// record with a lower group number than one before it is left over from a write that failed.
func scan(file vfs.File, salt uint64, from, size int64) (scanned, error) {
	w := window{file: file, size: size}
	found := scanned{end: from, synced: from}
	group := uint64(0)
	for at := from; at+recordHeaderSize <= size; {
		b, err := w.at(at, recordHeaderSize+object.MaxName)
		if err != nil {
			return scanned{}, err
		}
		r, err := parseRecord(b, salt, at)
		if err != nil || r.group < group || r.size() > size-at {
			at += align
			continue
		}
		if at > found.end {
			found.gaps = append(found.gaps, gap{found.end, at})
		}
		group = r.group
		found.synced = max(found.synced, r.synced)
		found.records = append(found.records, r)
		at = min(at+r.size()+r.padding, size)
		found.end = at
	}
	return found, nil
}

// whole tells whether the content of a record that may be torn is there.
func (s *Store) whole(seg *segment, r *record) (bool, error) {
	switch r.kind() {
	case kindDelete, kindDrop:
		return true, nil
	case kindBlob:
		info, err := blob.ReadHeader(s.fs, s.blobPath(r.blob))
		return err == nil && info == r.info, nil
	}
	content, err := seg.content(r.info, place{segment: seg.header.number, offset: r.offset})
	if errors.Is(err, object.ErrDamaged) {
		return false, nil
	}
	return err == nil && object.SumOf(content) == r.info.Sum, err
}

// replay takes the records of a segment into the catalogue. What counts is durable afterwards: readers see it.
func (s *Store) replay(seg *segment, from int64) error {
	stat, err := seg.file.Stat()
	if err != nil {
		return err
	}
	found, err := scan(seg.file, seg.header.salt, from, stat.Size())
	if err != nil {
		return err
	}
	seg.end = found.end
	for _, g := range found.gaps {
		if g.from < found.synced {
			s.damaged++
			s.config.Logger.Warn("damaged records", "segment", seg.header.number, "from", g.from, "to", g.to)
		}
	}
	for i := range found.records {
		r := &found.records[i]
		if r.offset >= found.synced {
			whole, err := s.whole(seg, r)
			if err != nil {
				return err
			}
			if !whole {
				continue
			}
		}
		s.unsaved += r.size()
		if r.drop {
			seg.drops = true
			if s.catalog.Versions(r.info.Name).CheckDrop(r.info.Name, r.info.Version) == nil {
				s.catalog.Remove(r.info.Name)
			}
			continue
		}
		s.catalog.Add(r.info.Name, catalog.EntryOf(r.info, place{segment: seg.header.number, offset: r.offset, blob: r.blob}))
	}
	seg.synced.Store(seg.end)
	if err := seg.truncate(); err != nil {
		return err
	}
	if len(found.records) == 0 {
		return nil
	}
	if err := seg.file.SyncData(); err != nil {
		return fmt.Errorf("sync: %w", err)
	}
	return nil
}
