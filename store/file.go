package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
)

// file is an immutable page file, open for reading. It is shared by all versions
// that list it; the last one to let go closes it, and unlinks it if it is in no
// manifest any more.
type file struct {
	footer
	fs       FS
	path     string
	sequence uint64
	size     int64
	crc      uint32 // of the whole file, as its end has it
	in       File
	sparse   []uint32 // the last series of each block of the index

	damaged bool // found damaged: not to be merged; the worker's

	refs     atomic.Int32
	obsolete atomic.Bool
}

// openFile reads the two ends of a file, enough to find everything else.
func openFile(fs FS, path string, sequence uint64) (*file, error) {
	in, err := fs.Open(path)
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", path, err)
	}
	f := &file{fs: fs, path: path, sequence: sequence, in: in}
	if err := f.load(); err != nil {
		return nil, fmt.Errorf("opening %s: %w", path, errors.Join(err, in.Close()))
	}
	return f, nil
}

func (f *file) load() (err error) {
	if f.size, err = f.in.Size(); err != nil {
		return err
	}
	if f.size < headerBytes+footerBytes {
		return corrupt("%d bytes are too few", f.size)
	}
	var header [headerBytes]byte
	if _, err := f.in.ReadAt(header[:], 0); err != nil {
		return err
	}
	if string(header[:len(headerMagic)]) != headerMagic {
		return corrupt("it does not begin like a page file")
	}
	if version := binary.LittleEndian.Uint32(header[8:]); version != formatVersion {
		return fmt.Errorf("format version %d is not known, only %d", version, formatVersion)
	}
	var tail [footerBytes]byte
	if _, err := f.in.ReadAt(tail[:], f.size-footerBytes); err != nil {
		return err
	}
	if f.footer, err = decodeFooter(tail[:], f.size); err != nil {
		return err
	}
	f.crc = binary.LittleEndian.Uint32(tail[sealedBytes+4:])
	return f.loadSparse()
}

// high is the file's last series.
func (f *file) high() uint32 { return f.sparse[len(f.sparse)-1] }

func (f *file) loadSparse() error {
	data := make([]byte, 4*f.blocks())
	if _, err := f.in.ReadAt(data, int64(f.footer.sparse)); err != nil {
		return err
	}
	if checksum(data) != f.sparseCRC {
		return corrupt("the checksum of the sparse index is wrong")
	}
	f.sparse = make([]uint32, f.blocks())
	for i := range f.sparse {
		f.sparse[i] = binary.LittleEndian.Uint32(data[4*i:])
	}
	return nil
}

// overlaps tells whether the file has segments that start in [from, to).
func (f *file) overlaps(from, to int64) bool { return f.first < to && f.last >= from }

// release gives one reference back. The error is of removing the file.
func (f *file) release() error {
	if f.refs.Add(-1) > 0 {
		return nil
	}
	err := f.in.Close()
	if f.obsolete.Load() {
		err = errors.Join(err, f.fs.Remove(f.path))
	}
	return err
}
