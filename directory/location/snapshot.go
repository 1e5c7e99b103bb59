package location

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2/vfs/atomicfs"
)

// Snapshot is a Backup in the form of a location directory: dir, which must not
// exist, becomes a folder that Open opens.
func (d *Directory) Snapshot(dir string) error {
	generation := nextGeneration("")
	if err := d.Backup(d.fs.PathJoin(dir, generation)); err != nil {
		return err
	}
	marker, _, err := atomicfs.LocateMarker(d.fs, dir, markerName)
	if err == nil {
		err = errors.Join(marker.Move(generation), marker.Close())
	}
	if err != nil {
		return fmt.Errorf("mark the database in %s: %w", dir, err)
	}
	return nil
}
