package blob

import (
	"errors"
	"fmt"
	"io"

	"carillon/object"
	"carillon/object/backend"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// writeAtOnce is how much content is read before it is written: whole blocks.
const writeAtOnce = 4 * BlockSize

// Write makes a file of what an intake brings, and syncs it if sync is set. The file is in place
// when the caller has renamed it. If there is an error, it is removed.
func Write(fs vfs.FS, path string, name string, in *backend.Intake, sync bool) (object.Info, error) {
	var info object.Info
	err := create(fs, path, sync, func(f vfs.File) (err error) {
		info, err = writeContent(f, name, in)
		return err
	})
	return info, err
}

// WriteBytes is Write of a content in memory, or of the mark of a delete.
func WriteBytes(fs vfs.FS, path string, info object.Info, content []byte, sync bool) error {
	return create(fs, path, sync, func(f vfs.File) error {
		whole := make([]byte, 0, Overhead(info.Name, info.Size)+info.Size)
		_, err := f.Write(Append(whole, info, content))
		return err
	})
}

func create(fs vfs.FS, path string, sync bool, write func(vfs.File) error) error {
	f, err := fs.OpenReadWrite(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	if err = write(f); err == nil && sync {
		err = f.SyncData()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		_ = fs.Remove(path) // the error that counts is the one before
	}
	return err
}

// writeContent writes the header last, because only then size and checksum are known.
func writeContent(f vfs.File, name string, in *backend.Intake) (object.Info, error) {
	buffer := make([]byte, writeAtOnce)
	at := int64(headerSize + len(name))
	var sums []byte
	for {
		n, readErr := io.ReadFull(in, buffer)
		sums = appendSums(sums, buffer[:n])
		if _, err := f.WriteAt(buffer[:n], at); err != nil {
			return object.Info{}, fmt.Errorf("put %q: %w", name, err)
		}
		at += int64(n)
		if errors.Is(readErr, io.EOF) || readErr == io.ErrUnexpectedEOF { //nolint:errorlint // of ReadFull itself
			break
		}
		if readErr != nil {
			return object.Info{}, readErr
		}
	}
	h := Header{Info: in.Info(), blockSum: checksum(sums)}
	if _, err := f.WriteAt(sums, at); err != nil {
		return object.Info{}, fmt.Errorf("put %q: %w", name, err)
	}
	if _, err := f.WriteAt(h.append(nil), 0); err != nil {
		return object.Info{}, fmt.Errorf("put %q: %w", name, err)
	}
	return h.Info, nil
}
