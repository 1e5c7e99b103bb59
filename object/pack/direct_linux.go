package pack

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// direct writes past the page cache, from memory and at offsets that are multiples of a page.
type direct struct{ *os.File }

// openDirect opens a file for that. The error is errors.ErrUnsupported if the file system cannot, or wants other multiples.
func openDirect(path string) (tail, error) {
	var stat unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, path, 0, unix.STATX_DIOALIGN, &stat); err != nil {
		return nil, &os.PathError{Op: "statx", Path: path, Err: err}
	}
	if align := max(stat.Dio_mem_align, stat.Dio_offset_align); stat.Mask&unix.STATX_DIOALIGN == 0 || align == 0 || align > pageSize {
		return nil, errors.ErrUnsupported
	}
	file, err := os.OpenFile(path, os.O_WRONLY|unix.O_DIRECT, 0)
	if err != nil {
		return nil, err
	}
	return direct{file}, nil
}

// SyncData makes what was written durable, and of the file's metadata what is needed to read it.
func (d direct) SyncData() error { return os.NewSyscallError("fdatasync", unix.Fdatasync(int(d.Fd()))) }
