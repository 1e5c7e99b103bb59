package blob

import (
	"errors"
	"fmt"
	"io"
	"os"

	"carillon/object"
	"carillon/object/backend"
)

// MaxHeader is the most bytes before a content.
const MaxHeader = headerSize + object.MaxName

// Fetch reads length bytes from an offset of a file on, as a stream. Where the file ends earlier the stream does. The error is
// an os.ErrNotExist if there is no such file.
type Fetch func(offset, length int64) (io.ReadCloser, error)

// Append encodes the file of a content in memory, or of the mark of a delete.
func Append(dst []byte, info object.Info, content []byte) []byte {
	sums := appendSums(nil, content)
	h := Header{Info: info, blockSum: checksum(sums)}
	return append(append(h.append(dst), content...), sums...)
}

// ParseHeader decodes what a file says it is from its first bytes, MaxHeader of them if there are so many.
func ParseHeader(b []byte) (object.Info, error) {
	h, err := parse(b)
	if err != nil {
		return object.Info{}, fmt.Errorf("%w: %w", object.ErrDamaged, err)
	}
	return h.Info, nil
}

// OpenStream is Open of a file that is far away: it asks for pieces as large as possible.
func OpenStream(info object.Info, o object.Get, fetch Fetch) (object.Body, error) {
	offset, length, err := backend.Range(info.Name, o, info.Size)
	if err != nil {
		return nil, err
	}
	start := int64(headerSize + len(info.Name))
	if info.Size <= wholeSize {
		content, err := fetchAll(info, fetch, start, info.Size)
		if err != nil {
			return nil, err
		}
		return backend.NewMemoryBody(info, content, offset, length)
	}
	sums, err := fetchSums(info, fetch)
	if err != nil {
		return nil, err
	}
	first, end := offset/BlockSize*BlockSize, min((offset+length+BlockSize-1)/BlockSize*BlockSize, info.Size)
	stream, err := open(info, fetch, start+first, end-first)
	if err != nil {
		return nil, err
	}
	return backend.NewBlockBody(info, &streamBlocks{stream: stream, sums: sums}, BlockSize, offset, length), nil
}

func open(info object.Info, fetch Fetch, offset, length int64) (io.ReadCloser, error) {
	stream, err := fetch(offset, length)
	if errors.Is(err, os.ErrNotExist) {
		return nil, backend.Damaged(info, "its file is missing")
	}
	if err != nil {
		return nil, fmt.Errorf("get %q: %w", info.Name, err)
	}
	return stream, nil
}

func fetchAll(info object.Info, fetch Fetch, offset, length int64) ([]byte, error) {
	stream, err := open(info, fetch, offset, length)
	if err != nil {
		return nil, err
	}
	content := make([]byte, length)
	_, err = io.ReadFull(stream, content)
	if err = errors.Join(err, stream.Close()); atEnd(err) {
		return nil, backend.Damaged(info, "its file is too short")
	}
	if err != nil {
		return nil, fmt.Errorf("get %q: %w", info.Name, err)
	}
	return content, nil
}

// fetchSums reads the header and the checksums of the blocks.
func fetchSums(info object.Info, fetch Fetch) (blockSums, error) {
	head, err := fetchAll(info, fetch, 0, int64(headerSize+len(info.Name)))
	if err != nil {
		return blockSums{}, err
	}
	h, err := parse(head)
	if err != nil {
		return blockSums{}, backend.Damaged(info, err.Error())
	}
	b, err := fetchAll(info, fetch, int64(len(head))+info.Size, sumSize*blocks(info.Size))
	if err != nil {
		return blockSums{}, err
	}
	return newBlockSums(info, h, b)
}

// streamBlocks reads blocks in their order.
type streamBlocks struct {
	stream io.ReadCloser
	sums   blockSums
	buffer []byte
}

func (b *streamBlocks) ReadBlock(block int64) ([]byte, error) {
	if b.buffer == nil {
		b.buffer = make([]byte, BlockSize)
	}
	content := b.buffer[:b.sums.size(block)]
	if _, err := io.ReadFull(b.stream, content); atEnd(err) {
		return nil, backend.Damaged(b.sums.info, fmt.Sprintf("its file ends in block %d", block))
	} else if err != nil {
		return nil, fmt.Errorf("get %q: %w", b.sums.info.Name, err)
	}
	return content, b.sums.check(block, content)
}

func (b *streamBlocks) Section(int64) *os.File { return nil }
func (b *streamBlocks) Close() error           { return b.stream.Close() }
