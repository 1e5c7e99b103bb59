package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"carillon/object"
	"carillon/object/backend"
	"carillon/object/replica"
)

// spoolMemory is the size up to which a content waits in memory, in bytes.
const spoolMemory = 256 << 10

// Spool is a content taken in from a stream, so that it can be read as often as there are copies to make. The
// caller closes it.
type Spool struct {
	content []byte // if it is small
	size    int64
	sum     object.Sum

	mu    sync.Mutex
	file  *os.File // without a name; nil if the content is small
	users int      // guarded by mu; readers, and the owner until Close
}

// Take reads a body, which must be of the announced size, unless that is object.UnknownSize, and
// checksum, if that is not nil. A large one goes to a file in dir.
func Take(ctx context.Context, dir string, body io.Reader, size int64, announced *object.Sum) (*Spool, error) {
	// The intake wants what a put in a store has; name and version come later.
	in, err := backend.NewIntake(ctx, "body", body, object.Put{Version: object.Version{Lo: 1}, Size: size, Sum: announced})
	if err != nil {
		return nil, err
	}
	content, whole, err := in.Head(nil, spoolMemory)
	if err != nil {
		return nil, err
	}
	if whole {
		return &Spool{content: content, size: int64(len(content)), sum: in.Info().Sum}, nil
	}
	file, err := os.CreateTemp(dir, "spool-*")
	if err != nil {
		return nil, fmt.Errorf("taking in a body: %w", err)
	}
	_, err = io.Copy(file, in)
	if err = errors.Join(err, os.Remove(file.Name())); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	info := in.Info()
	return &Spool{file: file, users: 1, size: info.Size, sum: info.Sum}, nil
}

// Source is the content, to be read any number of times. Copies that are under way at Close go on.
func (s *Spool) Source() replica.Source {
	return replica.Source{Size: s.size, Sum: &s.sum, Open: func() (io.ReadCloser, error) {
		if s.file == nil {
			return io.NopCloser(bytes.NewReader(s.content)), nil
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.users == 0 {
			return nil, os.ErrClosed
		}
		s.users++
		return &spoolReader{io.NewSectionReader(s.file, 0, s.size), s}, nil
	}}
}

// Close frees the content when nobody reads it any more.
func (s *Spool) Close() error {
	if s.file == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.users--
	if s.users == 0 {
		return s.file.Close()
	}
	return nil
}

// spoolReader is one reading of a Spool.
type spoolReader struct {
	*io.SectionReader
	spool *Spool
}

func (r *spoolReader) Close() error { return r.spool.Close() }
