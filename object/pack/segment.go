package pack

import (
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"carillon/object"
	"carillon/object/backend"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sys/unix"
)

// segment is a file of records.
type segment struct {
	header segmentHeader
	file   vfs.File     // nil before the first group
	refs   atomic.Int32 // of the store and of readers; the last one closes the file

	// Under the store's mu.
	end   int64 // behind the last record
	live  int64 // bytes of records that the catalogue refers to
	held  int64 // live bytes that compaction could not move because they are damaged
	drops bool  // it may have a record of a drop behind the checkpoint

	synced atomic.Int64 // what is before it is durable; changed under mu
}

func newSegment(header segmentHeader, file vfs.File) *segment {
	seg := &segment{header: header, file: file, end: segmentHeaderSize}
	seg.synced.Store(segmentHeaderSize)
	seg.refs.Store(1)
	return seg
}

// truncate cuts off what is behind the last record.
func (seg *segment) truncate() error {
	fd := seg.file.Fd()
	if fd == vfs.InvalidFd {
		return nil
	}
	if err := unix.Ftruncate(int(fd), seg.end); err != nil {
		return fmt.Errorf("truncate segment %d: %w", seg.header.number, err)
	}
	return nil
}

// acquire is called while the store still has its reference.
func (seg *segment) acquire() { seg.refs.Add(1) }

func (seg *segment) release() error {
	if seg.refs.Add(-1) > 0 {
		return nil
	}
	return seg.file.Close()
}

// content reads a content, unchecked.
func (seg *segment) content(info object.Info, at place) ([]byte, error) {
	content := make([]byte, info.Size)
	if err := seg.read(content, info, at); err != nil {
		return nil, err
	}
	return content, nil
}

// read is content, into memory of its size.
func (seg *segment) read(content []byte, info object.Info, at place) error {
	if len(content) == 0 {
		return nil
	}
	r := record{info: info, offset: at.offset}
	n, err := seg.file.ReadAt(content, r.contentAt())
	switch {
	case n == len(content):
		return nil
	case err == nil || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return backend.Damaged(info, fmt.Sprintf("segment %d is too short", at.segment))
	}
	return fmt.Errorf("read %q in segment %d: %w", info.Name, at.segment, err)
}
