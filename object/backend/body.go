package backend

import (
	"errors"
	"fmt"
	"io"
	"os"

	"carillon/object"
)

// Range is the range that a Get asks for of a content of size bytes.
func Range(name string, o object.Get, size int64) (offset, length int64, err error) {
	if o.Offset < 0 || o.Length < 0 || o.Offset > size || o.Offset == size && size > 0 {
		return 0, 0, fmt.Errorf("get %q: %w: %d bytes from byte %d on, it has %d", name, object.ErrRange, o.Length, o.Offset, size)
	}
	length = size - o.Offset
	if o.Length > 0 {
		length = min(length, o.Length)
	}
	return o.Offset, length, nil
}

// Damaged is the ErrDamaged of a version.
func Damaged(info object.Info, what string) error {
	return fmt.Errorf("%q version %s: %w: %s", info.Name, info.Version, object.ErrDamaged, what)
}

// memoryBody is a range of a content in memory, already checked.
type memoryBody struct {
	info           object.Info
	offset, length int64
	rest           []byte
	back           func() // gives the content's memory back; nil if it is not lent
}

// NewMemoryBody compares a content with its checksum and returns a range of it.
func NewMemoryBody(info object.Info, content []byte, offset, length int64) (object.Body, error) {
	return NewLentBody(info, content, offset, length, nil)
}

// NewLentBody is NewMemoryBody of a content whose memory is used again once back was called: when the body is closed, or
// if there is an error.
func NewLentBody(info object.Info, content []byte, offset, length int64, back func()) (object.Body, error) {
	b := &memoryBody{info: info, offset: offset, length: length, rest: content[offset : offset+length], back: back}
	if object.SumOf(content) != info.Sum {
		return nil, errors.Join(Damaged(info, "its content does not have its checksum"), b.Close())
	}
	return b, nil
}

func (b *memoryBody) Read(p []byte) (int, error) {
	if len(b.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p, b.rest)
	b.rest = b.rest[n:]
	return n, nil
}

// WriteTo saves io.Copy its buffer.
func (b *memoryBody) WriteTo(w io.Writer) (int64, error) {
	n, err := w.Write(b.rest)
	b.rest = b.rest[n:]
	return int64(n), err
}

// Close may be called again.
func (b *memoryBody) Close() error {
	b.rest = nil
	if b.back != nil {
		b.back()
		b.back = nil
	}
	return nil
}

func (b *memoryBody) Info() object.Info             { return b.info }
func (b *memoryBody) Range() (offset, length int64) { return b.offset, b.length }
func (b *memoryBody) Section() (*os.File, int64)    { return nil, 0 }

// Blocks is a content that is stored in blocks, each with a checksum of its own.
type Blocks interface {
	// ReadBlock reads a block and compares it with its checksum. The bytes are good until the next call.
	ReadBlock(block int64) ([]byte, error)
	// Section is as in object.Body, from a byte of the content on.
	Section(offset int64) *os.File
	io.Closer
}

// blockBody streams a range of Blocks. Of the whole content it computes the checksum
// on the way, and keeps the last bytes back until it is known to be right.
type blockBody struct {
	info           object.Info
	blocks         Blocks
	blockSize      int64
	offset, length int64
	at             int64 // the next byte to return
	block          []byte
	summer         *object.Summer // nil for a part
	err            error
}

// NewBlockBody returns a range of a content in blocks of blockSize bytes.
func NewBlockBody(info object.Info, blocks Blocks, blockSize, offset, length int64) object.Body {
	b := &blockBody{info: info, blocks: blocks, blockSize: blockSize, offset: offset, length: length, at: offset}
	if length == info.Size {
		summer := object.NewSummer()
		b.summer = &summer
	}
	return b
}

func (b *blockBody) Read(p []byte) (int, error) {
	if len(b.block) == 0 && b.err == nil {
		b.next()
	}
	if b.err != nil {
		return 0, b.err
	}
	n := copy(p, b.block)
	b.block = b.block[n:]
	b.at += int64(n)
	return n, nil
}

func (b *blockBody) next() {
	end := b.offset + b.length
	if b.at == end {
		b.err = io.EOF
		return
	}
	number := b.at / b.blockSize
	start := number * b.blockSize
	block, err := b.blocks.ReadBlock(number)
	if err != nil {
		b.err = err
		return
	}
	if want := min(b.blockSize, b.info.Size-start); int64(len(block)) != want {
		b.err = Damaged(b.info, fmt.Sprintf("block %d has %d bytes, not %d", number, len(block), want))
		return
	}
	if b.summer != nil {
		_, _ = b.summer.Write(block)
		if start+int64(len(block)) == end && b.summer.Sum() != b.info.Sum {
			b.err = Damaged(b.info, "its content does not have its checksum")
			return
		}
	}
	b.block = block[b.at-start : min(int64(len(block)), end-start)]
}

func (b *blockBody) Close() error                  { return b.blocks.Close() }
func (b *blockBody) Info() object.Info             { return b.info }
func (b *blockBody) Range() (offset, length int64) { return b.offset, b.length }

func (b *blockBody) Section() (*os.File, int64) {
	file := b.blocks.Section(b.at)
	if file == nil {
		return nil, 0
	}
	return file, b.offset + b.length - b.at
}
