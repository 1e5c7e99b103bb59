package measure

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// syncFilesystem has what was written on the file system of a folder written back.
func syncFilesystem(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(unix.Syncfs(int(d.Fd())), d.Close())
}
