package directory

import (
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// Backup writes the directory as it is now to dir, which must not exist: a folder
// that Open opens. On the same file system it is made of hard links and takes no
// time. All that was defined before is in it.
func (d *Directory) Backup(dir string) error {
	if err := d.db.Checkpoint(dir, pebble.WithFlushedWAL()); err != nil {
		return fmt.Errorf("back up the directory to %s: %w", dir, err)
	}
	return nil
}
