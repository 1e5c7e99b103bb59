// Package directory knows every series: definitions come in from a partition's
// journal in log order, and numbers, kinds, keys and the answers to label
// matchers go out. Everything is kept in Pebble (docs/format/directory.md), and
// found in an index in memory (package index), with caches of fixed size in front
// of it for keys. Receivers look keys up, the loop of each partition defines and
// describes, and queries select.
package directory

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"carillon/directory/index"
	"carillon/series"
)

const (
	maxPartitions   = 1024    // partitions a directory
	memTableBytes   = 4 << 20 // what Pebble gathers before it writes a table
	blockCacheBytes = 1 << 20 // of Pebble; what it holds is read once, at the start
)

var (
	// ErrInUse is returned by Open when the directory is open already, in this
	// process or in another one.
	ErrInUse = errors.New("directory is in use")

	// ErrRefused is returned by Define for a batch that can never be defined: a
	// malformed key, a key of another partition, an unknown kind, or a full
	// partition. Nothing of the batch was defined, and no replay of the journal
	// would end otherwise, so a caller may drop the batch and go on. Any other
	// error is one of the disk.
	ErrRefused = errors.New("definition refused")
)

// Directory is safe for concurrent use, but for one rule: Define and Describe of
// one partition are only called by that partition's loop, one call at a time.
//
// Who owns what:
//   - partitions: the slice never changes. An index has a lock of its own, which is
//     held during no I/O; its writer is the partition's loop.
//   - lookups: see lookups. Its lock is taken last, and held during no I/O.
//   - families: see families. Describe holds families.writing around the whole
//     of its work, and takes an index's lock, then families.mu, inside it.
//   - db: safe by itself. No lock that a reader needs is held during its I/O.
type Directory struct {
	db         *pebble.DB
	lock       *pebble.Lock
	dir        string
	logger     *slog.Logger
	partitions []*index.Index
	families   families
	lookups    *lookups
	closed     atomic.Bool
}

// Open opens the directory in dir, makes it if there is none, and loads it into
// memory. The number of partitions is fixed when it is made; another one is an
// error that names both. ErrInUse is wrapped when it is open already.
func Open(dir string, partitions int, caches Caches, logger *slog.Logger) (*Directory, error) {
	return open(vfs.Default, dir, partitions, caches, logger)
}

func open(fs vfs.FS, dir string, partitions int, caches Caches, logger *slog.Logger) (*Directory, error) {
	if partitions < 1 || partitions > maxPartitions {
		return nil, fmt.Errorf("open directory %s: want 1 to %d partitions, not %d", dir, maxPartitions, partitions)
	}
	lookups, err := newLookups(caches)
	if err != nil {
		return nil, fmt.Errorf("open directory %s: %w", dir, err)
	}
	if err := makeDir(fs, dir); err != nil {
		return nil, fmt.Errorf("make directory %s: %w", dir, err)
	}
	lock, err := lockDir(fs, dir)
	if err != nil {
		return nil, err
	}
	db, err := pebble.Open(dir, pebbleOptions(fs, lock, logger))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open directory %s: %w", dir, err), lock.Close())
	}
	d := &Directory{db: db, lock: lock, dir: dir, logger: logger, lookups: lookups, partitions: make([]*index.Index, partitions)}
	for i := range d.partitions {
		d.partitions[i] = index.New(rand.Uint64())
	}
	if err := d.load(); err != nil {
		return nil, errors.Join(fmt.Errorf("open directory %s: %w", dir, err), d.Close())
	}
	return d, nil
}

// makeDir makes dir and its missing parents, and syncs the folder that each was
// made in: a power cut must not take away the folder around synced files.
func makeDir(fs vfs.FS, dir string) error {
	if _, err := fs.Stat(dir); err == nil {
		return nil // if it is a file, the lock will say so
	}
	parent := fs.PathDir(dir)
	if parent != dir {
		if err := makeDir(fs, parent); err != nil {
			return err
		}
	}
	if err := fs.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	folder, err := fs.OpenDir(parent)
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}

func lockDir(fs vfs.FS, dir string) (*pebble.Lock, error) {
	lock, err := pebble.LockDirectory(dir, fs)
	if err == nil {
		return lock, nil
	}
	// Held by another process it is EAGAIN, held by this one it is no errno.
	if errno := syscall.Errno(0); errors.As(err, &errno) && errno != syscall.EAGAIN {
		return nil, fmt.Errorf("lock directory %s: %w", dir, err)
	}
	return nil, fmt.Errorf("%w: %s (%w)", ErrInUse, dir, err)
}

func pebbleOptions(fs vfs.FS, lock *pebble.Lock, logger *slog.Logger) *pebble.Options {
	return &pebble.Options{
		FS:   fs,
		Lock: lock,
		// Named, so that a newer Pebble does not silently write what an older
		// Carillon cannot read.
		FormatMajorVersion: pebble.FormatTableFormatV6,
		MemTableSize:       memTableBytes,
		CacheSize:          blockCacheBytes,
		Logger:             pebbleLogger{logger},
		EventListener: &pebble.EventListener{
			BackgroundError: func(err error) { logger.Error("directory: background work failed", "err", err) },
			// Pebble's default is to end the process. The reader gets an error too.
			DataCorruption: func(i pebble.DataCorruptionInfo) { logger.Error("directory: corrupt file", "what", i.String()) },
		},
	}
}

// Close makes everything durable and gives the directory free. Receivers and
// loops must have stopped: what is in memory can still be read afterwards, all
// else panics. A second Close does nothing.
func (d *Directory) Close() error {
	if d.closed.Swap(true) {
		return nil
	}
	if err := errors.Join(d.db.Close(), d.lock.Close()); err != nil {
		return fmt.Errorf("close directory %s: %w", d.dir, err)
	}
	return nil
}

// Sync returns when everything defined and described before it is durable.
func (d *Directory) Sync() error {
	// An empty record, synced: all records before it are then on disk as well,
	// because a log that is full is synced before the next one is begun.
	if err := d.db.LogData(nil, pebble.Sync); err != nil {
		return fmt.Errorf("sync directory %s: %w", d.dir, err)
	}
	return nil
}

// Bytes is what the directory takes on disk, obsolete files not yet removed
// included.
func (d *Directory) Bytes() int64 {
	m := d.db.Metrics()
	bytes := m.DiskSpaceUsage()
	// Of the log it counts what the file had when it was opened.
	if m.WAL.Size > m.WAL.PhysicalSize {
		bytes += m.WAL.Size - m.WAL.PhysicalSize
	}
	return int64(bytes)
}

// Partitions is how many partitions the directory was made with.
func (d *Directory) Partitions() int { return len(d.partitions) }

// Count is how many series the partition has, which is the next one's number.
func (d *Directory) Count(partition int) int { return d.partitions[partition].Count() }

// Key is the key of a series, or false if there is no such series. It is put together
// each time.
func (d *Directory) Key(id series.ID) (series.Key, bool) {
	p := d.partition(id)
	if p == nil {
		return "", false
	}
	var space [512]byte
	key, ok := p.AppendKey(space[:0], id.Number())
	return series.Key(key), ok
}

// Kind is what the values of a series mean; a series that does not exist is a
// gauge.
func (d *Directory) Kind(id series.ID) series.Kind {
	p := d.partition(id)
	if p == nil {
		return series.Gauge
	}
	kind, ok := p.Kind(id.Number())
	if !ok {
		return series.Gauge
	}
	return kind
}

// partition is the one the id points to, or nil: ids come from outside, too.
func (d *Directory) partition(id series.ID) *index.Index {
	if id.Partition() >= len(d.partitions) {
		return nil
	}
	return d.partitions[id.Partition()]
}

// pebbleLogger hands Pebble's messages to slog. Its chatter is for debugging.
type pebbleLogger struct{ logger *slog.Logger }

func (l pebbleLogger) Infof(format string, args ...any) {
	l.logger.Debug("directory: " + fmt.Sprintf(format, args...))
}

func (l pebbleLogger) Errorf(format string, args ...any) {
	l.logger.Error("directory: " + fmt.Sprintf(format, args...))
}

// Fatalf must not return: Pebble calls it when its log cannot be written, and
// after a failed sync a second try may succeed falsely. The process ends, and
// the next start reads what is really there.
func (l pebbleLogger) Fatalf(format string, args ...any) {
	message := "directory: " + fmt.Sprintf(format, args...)
	l.logger.Error(message)
	panic(message)
}
