package replica

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"carillon/object"
)

// body is a content that goes on from another node when one fails in the middle: the same
// version, from the byte where the first one ended. A content that is read as a whole
// is compared with its checksum here too, since parts of it may come from several nodes.
type body struct {
	object.Body // of the node that is read now
	c           *Coordinator
	ctx         context.Context
	name        string
	others      []string // nodes that can still go on
	info        object.Info
	offset      int64 // of the range
	length      int64
	read        int64 // bytes of it
	sum         *object.Summer
}

func (c *Coordinator) resumable(ctx context.Context, name string, b object.Body, from string, nodes []string) object.Body {
	r := &body{Body: b, c: c, ctx: ctx, name: name, info: b.Info()}
	r.others = slices.DeleteFunc(slices.Clone(nodes), func(n string) bool { return n == from })
	r.offset, r.length = b.Range()
	if r.offset == 0 && r.length == r.info.Size {
		s := object.NewSummer()
		r.sum = &s
	}
	return r
}

// Read is io.Reader's.
func (b *body) Read(p []byte) (int, error) {
	for {
		n, err := b.Body.Read(p)
		b.read += int64(n)
		if b.sum != nil {
			b.sum.Write(p[:n])
		}
		switch {
		case err == io.EOF && b.read < b.length:
			err = fmt.Errorf("%q ended after %d of %d bytes: %w", b.name, b.read, b.length, io.ErrUnexpectedEOF)
		case err == io.EOF && b.sum != nil && b.sum.Sum() != b.info.Sum:
			b.c.repairs.add(repair{name: b.name, deep: true})
			return n, fmt.Errorf("%q as a whole: %w", b.name, object.ErrDamaged)
		}
		if err == nil || err == io.EOF {
			return n, err
		}
		if resumed := b.resume(err); resumed != nil {
			return n, resumed
		}
		if n > 0 {
			return n, nil
		}
	}
}

// resume opens the rest at another node.
func (b *body) resume(cause error) error {
	if errors.Is(cause, object.ErrDamaged) {
		b.c.repairs.add(repair{name: b.name, deep: true})
	}
	for len(b.others) > 0 && b.ctx.Err() == nil {
		from := b.others[0]
		b.others = b.others[1:]
		rest := object.Get{Version: b.info.Version, Offset: b.offset + b.read, Length: b.length - b.read}
		next, _, err := b.c.failover(b.ctx, []string{from}, sought{name: b.name, Get: rest})
		if errors.Is(err, object.ErrNotFound) {
			continue // it has another version
		}
		if err != nil {
			cause = errors.Join(cause, err)
			continue
		}
		b.Body.Close()
		b.Body = next
		b.c.counts.resumed.Add(1)
		return nil
	}
	return cause
}

// Info is object.Body's.
func (b *body) Info() object.Info { return b.info }

// Range is object.Body's.
func (b *body) Range() (offset, length int64) { return b.offset, b.length }

// Section is nil: a file of one node could not go on at another.
func (b *body) Section() (*os.File, int64) { return nil, 0 }
