package pack

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"carillon/object/backend"

	"github.com/cockroachdb/pebble/v2/vfs"
)

const (
	segmentsFolder = "segments"
	blobsFolder    = "blobs"
	checkpointName = "checkpoint"

	segmentSuffix = ".seg"
	blobSuffix    = ".obj"
)

func (s *Store) path(name string) string { return s.fs.PathJoin(s.config.Dir, name) }

func (s *Store) segmentPath(number uint64) string {
	return s.fs.PathJoin(s.config.Dir, segmentsFolder, fmt.Sprintf("%016x%s", number, segmentSuffix))
}

func (s *Store) blobPath(number uint64) string {
	return s.fs.PathJoin(s.config.Dir, blobsFolder, fmt.Sprintf("%016x%s", number, blobSuffix))
}

// load brings the store to where the log ends: checkpoint, then the records behind it.
func (s *Store) load() error {
	var err error
	if s.lock, err = backend.OpenFolder(s.fs, s.config.Dir, segmentsFolder, blobsFolder); err != nil {
		return err
	}
	from, err := s.readCheckpoint()
	if err != nil {
		return err
	}
	if err := s.openSegments(); err != nil {
		return err
	}
	for _, number := range slices.Sorted(maps.Keys(s.segments)) {
		seg := s.segments[number]
		start := int64(segmentHeaderSize)
		switch {
		case number < from.segment:
			continue
		case number == from.segment:
			start = max(start, from.offset)
		}
		if err := s.replay(seg, start); err != nil {
			return fmt.Errorf("read segment %d: %w", number, err)
		}
	}
	return s.settle()
}

// numbers lists the files of a folder by the number that is their name.
func (s *Store) numbers(folder, suffix string) ([]uint64, error) {
	names, err := s.fs.List(s.path(folder))
	if err != nil {
		return nil, err
	}
	var numbers []uint64
	for _, name := range names {
		number, err := strconv.ParseUint(strings.TrimSuffix(name, suffix), 16, 64)
		if err == nil && number > 0 && strings.HasSuffix(name, suffix) {
			numbers = append(numbers, number)
		}
	}
	slices.Sort(numbers)
	return numbers, nil
}

func (s *Store) openSegments() error {
	numbers, err := s.numbers(segmentsFolder, segmentSuffix)
	if err != nil {
		return err
	}
	for _, number := range numbers {
		s.log.next = max(s.log.next, number+1)
		if err := s.openSegment(number); err != nil {
			return fmt.Errorf("open segment %d: %w", number, err)
		}
	}
	return nil
}

// openSegment opens a segment, or removes it if a crash has prevented its header: then nothing is in it.
func (s *Store) openSegment(number uint64) error {
	path := s.segmentPath(number)
	file, err := s.fs.OpenReadWrite(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	stat, err := file.Stat()
	if err != nil {
		return errors.Join(err, file.Close())
	}
	b := make([]byte, segmentHeaderSize)
	n, _ := file.ReadAt(b, 0) // a header that cannot be read is damaged
	header, err := parseSegmentHeader(b[:n])
	if err == nil && header.number != number {
		err = fmt.Errorf("%w: it is of segment %d", errSegment, header.number)
	}
	switch {
	case err != nil && stat.Size() <= segmentHeaderSize:
		return errors.Join(file.Close(), s.fs.Remove(path))
	case err != nil:
		s.damaged++
		s.config.Logger.Warn("pass over a segment", "segment", number, "error", err)
		return file.Close()
	}
	seg := newSegment(header, file)
	seg.end = stat.Size()
	seg.synced.Store(seg.end)
	s.segments[number] = seg
	return nil
}

// settle counts what is live, and removes blobs that no record refers to: a crash has come between the two.
func (s *Store) settle() error {
	live := map[uint64]bool{}
	for name, versions := range s.catalog.All() {
		for i := range versions {
			s.account(name, &versions[i], 1)
			live[versions[i].Where.blob] = true
		}
	}
	numbers, err := s.numbers(blobsFolder, blobSuffix)
	if err != nil {
		return err
	}
	for number := range live {
		s.blobs.Store(max(s.blobs.Load(), number))
	}
	for _, number := range numbers {
		s.blobs.Store(max(s.blobs.Load(), number))
		if live[number] || s.damaged > 0 { // a damaged record may have referred to it
			continue
		}
		if err := s.fs.Remove(s.blobPath(number)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("remove blob %d: %w", number, err)
		}
	}
	return nil
}
