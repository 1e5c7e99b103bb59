package pack

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"carillon/object/backend"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sys/unix"
)

const (
	spareName = "spare"
	zeroBytes = 1 << 20 // written at once
)

// spare is the file that becomes the next segment. It is full of zeros: to sync what is written over them takes half the
// time of a sync that also has to make a longer file durable. The keeper makes it and the writer takes it; what it is
// called is used again only when the one has let go of it, since either may be slow and a segment must not be written over
// with zeros.
type spare struct {
	mu    sync.Mutex
	state spareState
}

type spareState uint8

const (
	noSpare    spareState = iota
	spareMade             // it is being made
	spareReady            // it may be taken
	spareTaken            // it is getting another name
)

// move goes from a state to another, and tells whether it was in that.
func (p *spare) move(from, to spareState) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state != from {
		return false
	}
	p.state = to
	return true
}

// prepare makes the spare if it will be needed: the current segment is filling, and each write waits for a sync.
func (s *Store) prepare() error {
	s.mu.RLock()
	filling := s.current != nil && s.current.end > s.config.SegmentBytes/spareFrom
	s.mu.RUnlock()
	if !filling || s.config.Sync != backend.SyncAlways || !s.spare.move(noSpare, spareMade) {
		return nil
	}
	if err := s.writeZeros(s.path(spareName)); err != nil {
		err = errors.Join(fmt.Errorf("prepare a segment: %w", err), s.removeSpare())
		s.spare.move(spareMade, noSpare)
		return err
	}
	s.spare.move(spareMade, spareReady)
	return nil
}

const spareFrom = 2 // one so-manieth of a segment is full when the next one is prepared

func (s *Store) writeZeros(path string) (err error) {
	if s.fs == vfs.Default {
		if done, err := writeZerosDirect(path, s.config.SegmentBytes); done || err != nil {
			return err
		}
	}
	file, err := s.fs.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	zeros := make([]byte, min(zeroBytes, s.config.SegmentBytes))
	for left := s.config.SegmentBytes; left > 0 && err == nil; left -= int64(len(zeros)) {
		_, err = file.Write(zeros[:min(left, int64(len(zeros)))])
	}
	if err == nil {
		err = file.Sync()
	}
	return errors.Join(err, file.Close())
}

// removeSpare is for when nobody uses it: at the end, at the start after a crash, or if it could not be made.
func (s *Store) removeSpare() error {
	if err := s.fs.Remove(s.path(spareName)); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// truncate gives back what is behind the end of a segment.
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
