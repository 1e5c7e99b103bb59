package node

import (
	"fmt"
	"io"
	"os"
	"sync"

	"carillon/object"
)

// receivedBody is a content on its way from another node. One that comes as a whole is compared with its
// checksum, and its last bytes are handed out only if that is right. A part was compared by
// the node.
type receivedBody struct {
	io.ReadCloser
	info           object.Info
	offset, length int64
	read           int64
	summer         *object.Summer // nil for a part
	leave          func()         // gives the place in the lane back
	once           sync.Once
}

func (b *receivedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.read += int64(n)
	if b.summer != nil {
		_, _ = b.summer.Write(p[:n])
		if b.read == b.length && n > 0 && b.summer.Sum() != b.info.Sum {
			return 0, fmt.Errorf("%q version %s as it came: %w", b.info.Name, b.info.Version, object.ErrDamaged)
		}
	}
	if err == io.EOF && b.read < b.length {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

func (b *receivedBody) Close() error {
	b.once.Do(b.leave)
	return b.ReadCloser.Close()
}

func (b *receivedBody) Info() object.Info             { return b.info }
func (b *receivedBody) Range() (offset, length int64) { return b.offset, b.length }
func (b *receivedBody) Section() (*os.File, int64)    { return nil, 0 }
