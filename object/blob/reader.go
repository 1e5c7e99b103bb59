package blob

import (
	"errors"
	"fmt"
	"io"
	"os"

	"carillon/object"
	"carillon/object/backend"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// wholeSize is the size up to which a content is read at once and compared as a whole.
const wholeSize = 256 << 10

// ReadHeader reads what a file says it is. A file that is not as long as it says is damaged.
func ReadHeader(fs vfs.FS, path string) (object.Info, error) {
	f, err := fs.Open(path)
	if err != nil {
		return object.Info{}, err
	}
	h, err := readHeader(f)
	if err = errors.Join(err, f.Close()); err != nil {
		return object.Info{}, fmt.Errorf("%w: %s: %w", object.ErrDamaged, path, err)
	}
	return h.Info, nil
}

func readHeader(f vfs.File) (Header, error) {
	b := make([]byte, headerSize+object.MaxName)
	n, err := f.ReadAt(b, 0)
	if err != nil && !atEnd(err) {
		return Header{}, err
	}
	h, err := parse(b[:n])
	if err != nil {
		return Header{}, err
	}
	stat, err := f.Stat()
	if err != nil {
		return Header{}, err
	}
	if want := h.Info.Size + Overhead(h.Info.Name, h.Info.Size); stat.Size() != want {
		return Header{}, fmt.Errorf("the file has %d bytes, want %d", stat.Size(), want)
	}
	return h, nil
}

func atEnd(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) }

// Open returns a range of the content that a file has to have.
func Open(fs vfs.FS, path string, info object.Info, o object.Get) (object.Body, error) {
	offset, length, err := backend.Range(info.Name, o, info.Size)
	if err != nil {
		return nil, err
	}
	f, err := fs.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, backend.Damaged(info, "its file is missing")
	}
	if err != nil {
		return nil, fmt.Errorf("get %q: %w", info.Name, err)
	}
	if info.Size <= wholeSize {
		body, err := readWhole(f, info, offset, length)
		return body, errors.Join(err, f.Close())
	}
	blocks, err := openBlocks(fs, path, f, info)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return backend.NewBlockBody(info, blocks, BlockSize, offset, length), nil
}

func readWhole(f vfs.File, info object.Info, offset, length int64) (object.Body, error) {
	content := make([]byte, info.Size)
	if _, err := f.ReadAt(content, int64(headerSize+len(info.Name))); err != nil && len(content) > 0 {
		if atEnd(err) {
			return nil, backend.Damaged(info, "its file is too short")
		}
		return nil, fmt.Errorf("get %q: %w", info.Name, err)
	}
	return backend.NewMemoryBody(info, content, offset, length)
}

// fileBlocks is a large content in its file.
type fileBlocks struct {
	fs      vfs.FS
	path    string
	file    vfs.File
	sums    blockSums
	buffer  []byte
	section *os.File // handed out
}

func openBlocks(fs vfs.FS, path string, f vfs.File, info object.Info) (*fileBlocks, error) {
	h, err := readHeader(f)
	if err != nil {
		return nil, backend.Damaged(info, err.Error())
	}
	b := make([]byte, sumSize*blocks(info.Size))
	if _, err := f.ReadAt(b, int64(headerSize+len(info.Name))+info.Size); err != nil && !atEnd(err) {
		return nil, fmt.Errorf("get %q: %w", info.Name, err)
	}
	sums, err := newBlockSums(info, h, b)
	if err != nil {
		return nil, err
	}
	return &fileBlocks{fs: fs, path: path, file: f, sums: sums}, nil
}

// contentAt is where in the file the content begins.
func (b *fileBlocks) contentAt() int64 { return int64(headerSize + len(b.sums.info.Name)) }

func (b *fileBlocks) ReadBlock(block int64) ([]byte, error) {
	if b.buffer == nil {
		b.buffer = make([]byte, BlockSize)
	}
	content := b.buffer[:b.sums.size(block)]
	if _, err := b.file.ReadAt(content, b.contentAt()+block*BlockSize); err != nil && !atEnd(err) {
		return nil, fmt.Errorf("get %q: %w", b.sums.info.Name, err)
	}
	return content, b.sums.check(block, content)
}

// Section opens the file once more: a file descriptor has one position, and sendfile moves it.
// The file may have been unlinked by a newer version since; then the content goes by Read.
func (b *fileBlocks) Section(offset int64) *os.File {
	if b.section == nil && b.fs == vfs.Default {
		f, err := os.Open(b.path)
		if err != nil {
			return nil
		}
		b.section = f
	}
	if b.section == nil {
		return nil
	}
	if _, err := b.section.Seek(b.contentAt()+offset, io.SeekStart); err != nil {
		return nil
	}
	return b.section
}

func (b *fileBlocks) Close() error {
	err := b.file.Close()
	if b.section != nil {
		err = errors.Join(err, b.section.Close())
	}
	return err
}
