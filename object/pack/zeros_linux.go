package pack

import (
	"errors"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

const directAlign = 4096 // of memory, offsets and lengths; every disk takes it

// writeZerosDirect writes past the page cache, which saves most of the CPU time. It tells whether it could: some file systems do not
// know how.
func writeZerosDirect(path string, size int64) (done bool, err error) {
	size = (size + directAlign - 1) / directAlign * directAlign
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|unix.O_DIRECT, 0o640)
	if errors.Is(err, unix.EINVAL) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	zeros := aligned(zeroBytes)
	for left := size; left > 0 && err == nil; left -= int64(len(zeros)) {
		_, err = file.Write(zeros[:min(left, int64(len(zeros)))])
	}
	if errors.Is(err, unix.EINVAL) {
		return false, file.Close()
	}
	if err == nil {
		err = file.Sync()
	}
	return err == nil, errors.Join(err, file.Close())
}

// aligned returns memory as direct writes want it. The address is only looked at, and Go does not move what is on the heap, where a slice
// of this size always is; so the arithmetic stays right. There is no way to ask for aligned memory.
func aligned(size int) []byte {
	b := make([]byte, size+directAlign)
	skip := -int(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) & (directAlign - 1)
	return b[skip : skip+size]
}
