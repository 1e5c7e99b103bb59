package blob

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"carillon/object"
	"carillon/object/backend"

	"github.com/cockroachdb/pebble/v2/vfs"
)

func content(size int) []byte {
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(i * 7 / 3)
	}
	return b
}

func write(t *testing.T, fs vfs.FS, path string, size int) object.Info {
	t.Helper()
	in, err := backend.NewIntake(t.Context(), "some/name", bytes.NewReader(content(size)), object.Put{Version: object.Version{Hi: 3}, Size: int64(size)})
	if err != nil {
		t.Fatal(err)
	}
	info, err := Write(fs, path, "some/name", in, true)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

// TestBothWritersAgree: a file does not tell how it was written.
func TestBothWritersAgree(t *testing.T) {
	for _, size := range []int{0, 1, BlockSize, 3*BlockSize + 1, 9 * BlockSize} {
		fs := vfs.NewMem()
		info := write(t, fs, "a", size)
		if err := WriteBytes(fs, "b", info, content(size), true); err != nil {
			t.Fatal(err)
		}
		a, errA := fs.UnsafeGetFileDataBuffer("a")
		b, errB := fs.UnsafeGetFileDataBuffer("b")
		if errA != nil || errB != nil || !bytes.Equal(a, b) {
			t.Fatalf("%d bytes: the files differ", size)
		}
		if want := int64(size) + Overhead("some/name", int64(size)); int64(len(a)) != want {
			t.Fatalf("%d bytes: the file has %d, want %d", size, len(a), want)
		}
		if got, err := ReadHeader(fs, "a"); err != nil || got != info {
			t.Fatalf("got %+v, %v, want %+v", got, err, info)
		}
	}
}

// TestFlippedBitsAreFound flips one bit here and there of a file in blocks: a range
// without it reads well, one with it and the whole do not.
func TestFlippedBitsAreFound(t *testing.T) {
	const size = 5*BlockSize + 100
	for at := headerSize; at < size; at += 12_345 {
		fs := vfs.NewMem()
		info := write(t, fs, "a", size)
		b, err := fs.UnsafeGetFileDataBuffer("a")
		if err != nil {
			t.Fatal(err)
		}
		flipped := at + len(info.Name) // so at is headerSize more than the offset in the content
		b[flipped] ^= 0x10
		offset := int64(at - headerSize)
		read := func(o object.Get) error {
			body, err := Open(fs, "a", info, o)
			if err != nil {
				return err
			}
			_, err = io.Copy(io.Discard, body)
			return errors.Join(err, body.Close())
		}
		for _, o := range []object.Get{{}, {Offset: offset, Length: 1}} {
			if err := read(o); !errors.Is(err, object.ErrDamaged) {
				t.Fatalf("flipped at %d, read %+v: %v", offset, o, err)
			}
		}
		if other := (offset + 2*BlockSize) % size; other/BlockSize != offset/BlockSize {
			if err := read(object.Get{Offset: other, Length: 1}); err != nil {
				t.Fatalf("flipped at %d, read a byte at %d: %v", offset, other, err)
			}
		}
	}
}

// TestSection: the piece of the file is the range, and the file is the body's alone.
func TestSection(t *testing.T) {
	const size = 10 * BlockSize
	path := filepath.Join(t.TempDir(), "a")
	info := write(t, vfs.Default, path, size)
	for _, o := range []object.Get{{}, {Offset: 12345}, {Offset: 5, Length: 100}} {
		body, err := Open(vfs.Default, path, info, o)
		if err != nil {
			t.Fatal(err)
		}
		file, length := body.Section()
		if file == nil {
			t.Fatal("no section")
		}
		got, err := io.ReadAll(io.LimitReader(file, length))
		offset, want := body.Range()
		if err != nil || length != want || !bytes.Equal(got, content(size)[offset:offset+want]) {
			t.Errorf("%+v: %d bytes, %v, want %d", o, len(got), err, want)
		}
		if err := body.Close(); err != nil {
			t.Error(err)
		}
		if _, err := file.Read(got); !errors.Is(err, os.ErrClosed) {
			t.Errorf("the file is open after the body: %v", err)
		}
	}
}

// FuzzHeader: what is decoded encodes to the same bytes.
func FuzzHeader(f *testing.F) {
	for _, info := range []object.Info{
		{Name: "a", Version: object.Version{Hi: 1, Lo: 2}, Size: 77, Sum: object.SumOf(nil)},
		{Name: "gone", Version: object.Version{Hi: 1}, Deleted: true},
	} {
		h := Header{Info: info}
		f.Add(h.append(nil))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := parse(b)
		if err != nil {
			return
		}
		if again := h.append(nil); !bytes.Equal(again[:headerSize-8], b[:headerSize-8]) && b[15] == 0 {
			t.Fatalf("%+v encodes differently", h)
		}
	})
}
