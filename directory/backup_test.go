package directory

import (
	"path/filepath"
	"testing"

	"carillon/series"
)

// TestBackup opens a backup that was made while series were being defined.
func TestBackup(t *testing.T) {
	dir := t.TempDir()
	d := openDisk(t, filepath.Join(dir, "directory"), Caches{})
	defer d.Close()
	before, err := series.Named("before")
	if err != nil {
		t.Fatal(err)
	}
	partition := before.Partition(d.Partitions())
	if _, err := d.Define(partition, []series.Definition{{Key: before}}); err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(dir, "copied")
	if err := d.Backup(copied); err != nil {
		t.Fatal(err)
	}
	if err := d.Backup(copied); err == nil {
		t.Error("a second backup to the same folder succeeds")
	}
	c, err := Open(copied, d.Partitions(), Caches{}, quiet())
	if err != nil {
		t.Fatal(err)
	}
	if key, ok := c.Key(series.NewID(partition, 0)); !ok || key != before || c.Count(partition) != 1 {
		t.Errorf("it has %q, %d series", key, c.Count(partition))
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}
