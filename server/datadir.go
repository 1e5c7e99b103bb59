package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"carillon/backup"
	"carillon/store"
)

// IdentityName is the file that makes a folder a data directory: it holds what
// was fixed when the directory was made.
const IdentityName = "carillon.json"

// The rest of a data directory; docs/format/datadir.md describes it.
const (
	lockName      = "LOCK"      // flock'ed while in use; holds the process id
	directoryName = "directory" // Pebble: series and their numbers
	locationsName = "locations" // Pebble: the location directory
	journalName   = "journal"   // JetStream: what is not sealed yet
	storeName     = "store"     // page files, a folder a partition
)

const identityFormat = 1

// maxPartitions bounds the streams, loops and folders of one data directory.
const maxPartitions = 256

// identity is what cannot change in the life of a data directory.
type identity struct {
	Format     int       `json:"format"`
	Partitions int       `json:"partitions"`
	Tiers      []string  `json:"resolutions"` // finest first; retentions may change
	Created    time.Time `json:"created"`
}

// dataDir is an open, locked data directory.
type dataDir struct {
	path     string
	lock     *os.File
	identity identity
}

// openDataDir locks a data directory. If create is given and the directory is
// new, it is made with that identity.
func openDataDir(path string, create *identity) (*dataDir, error) {
	if create != nil {
		if err := os.MkdirAll(path, 0o755); err != nil {
			return nil, fmt.Errorf("data directory: %w", err)
		}
	} else if _, err := os.Stat(filepath.Join(path, IdentityName)); err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	lock, err := lockFile(filepath.Join(path, lockName))
	if err != nil {
		return nil, fmt.Errorf("data directory %s: %w", path, err)
	}
	d := &dataDir{path: path, lock: lock}
	if err := d.load(create); err != nil {
		return nil, errors.Join(fmt.Errorf("data directory %s: %w", path, err), d.close())
	}
	return d, nil
}

func lockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		holder, _ := os.ReadFile(path)
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("in use by process %s; stop that one or choose another directory with --data", strings.TrimSpace(string(holder)))
		}
		return nil, fmt.Errorf("lock: %w", err)
	}
	if err := errors.Join(f.Truncate(0), writeAtStart(f, strconv.Itoa(os.Getpid())+"\n")); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func writeAtStart(f *os.File, s string) error {
	_, err := f.WriteAt([]byte(s), 0)
	return err
}

func (d *dataDir) load(create *identity) error {
	if err := backup.Finished(backup.Config{}, d.path); err != nil {
		return err
	}
	name := filepath.Join(d.path, IdentityName)
	text, err := os.ReadFile(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		d.identity = *create
		return d.writeIdentity(name)
	case err != nil:
		return err
	}
	if err := json.Unmarshal(text, &d.identity); err != nil {
		return fmt.Errorf("%s: %w", IdentityName, err)
	}
	if d.identity.Format != identityFormat {
		return fmt.Errorf("written in format %d; this program reads format %d", d.identity.Format, identityFormat)
	}
	if d.identity.Partitions < 1 || d.identity.Partitions > maxPartitions {
		return fmt.Errorf("%s: %d partitions: want 1 to %d", IdentityName, d.identity.Partitions, maxPartitions)
	}
	if create == nil {
		return nil
	}
	if have, want := strings.Join(d.identity.Tiers, ","), strings.Join(create.Tiers, ","); have != want {
		return fmt.Errorf("holds tiers of %s, not of %s: resolutions are fixed when a directory is made, only retentions may change (--tiers)", have, want)
	}
	return nil
}

func (d *dataDir) writeIdentity(name string) error {
	text, err := json.MarshalIndent(d.identity, "", "  ")
	if err != nil {
		return err
	}
	temporary := name + ".tmp"
	if err := writeSynced(temporary, append(text, '\n')); err != nil {
		return err
	}
	if err := os.Rename(temporary, name); err != nil {
		return err
	}
	dir, err := os.Open(d.path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

func writeSynced(name string, data []byte) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Sync(), f.Close())
}

func (d *dataDir) directory() string { return filepath.Join(d.path, directoryName) }
func (d *dataDir) locations() string { return filepath.Join(d.path, locationsName) }
func (d *dataDir) journal() string   { return filepath.Join(d.path, journalName) }
func (d *dataDir) store(partition int) string {
	return filepath.Join(d.path, storeName, fmt.Sprintf("%03d", partition))
}

func (d *dataDir) close() error { return d.lock.Close() }

func newIdentity(partitions int, tiers []store.Tier, now time.Time) *identity {
	i := &identity{Format: identityFormat, Partitions: partitions, Created: now.UTC()}
	for _, t := range tiers {
		i.Tiers = append(i.Tiers, t.Resolution.String())
	}
	return i
}
