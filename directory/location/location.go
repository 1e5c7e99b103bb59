// Package location is the directory of locations: changes come in, numbered, in
// the order of a feed, and entries (a name, its ids, the sites that hold it) go
// out by name or id. Entries are kept in Pebble (docs/format/location.md), and
// caches of fixed size in front of it answer for what is there and for what is
// not. The feed's one consumer calls Apply; HTTP handlers and other packages look
// entries up.
package location

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/atomicfs"

	"carillon/cuckoo"
)

// Config is what a directory is opened with.
type Config struct {
	Dir    string
	FS     vfs.FS // nil: the operating system's
	Logger *slog.Logger
	Caches Caches
	// BlockCacheBytes is Pebble's own cache; 0 is Pebble's default of 8 MiB.
	BlockCacheBytes int64
	// Follower is told what changes; nil for nobody.
	Follower Follower
}

// Caches are the sizes of the four caches, as log2 of entries; 0 is off. A cache
// of the absent needs the one of the present.
type Caches struct {
	Names, AbsentNames int
	IDs, AbsentIDs     int
	Slots              int // a bucket of the tables, 4 or 8; 0 is 4
}

// Directory is safe for concurrent use, but for one rule: one goroutine applies
// changes. (A second one would wait, and then find its revision taken.)
//
// Who owns what, and in which order locks nest:
//   - applying is held by whoever changes the database: Apply, Restore, Close. It
//     guards state, marker and generation.
//   - mu guards db and closed. Readers hold it shared from before they read the
//     disk until what they read is cached, so that Restore, which holds it alone,
//     can empty the caches for good.
//   - a space's mu comes last.
//
// Readers that find what they want in a cache take no lock.
type Directory struct {
	config Config
	fs     vfs.FS
	logger *slog.Logger
	lock   *pebble.Lock

	applying   sync.Mutex
	state      state
	marker     *atomicfs.Marker // names the current database in the file system
	generation string           // what it names

	mu     sync.RWMutex
	db     *pebble.DB
	closed bool

	names, ids *space
	servers    atomic.Pointer[servers]
	revision   atomic.Uint64         // state.revision, once published
	stopped    atomic.Pointer[error] // set by the commit that failed
	blind      atomic.Bool           // absences are not served from cache
	operations operations

	beforeFill func() // tests stop a reader here, between disk and cache
}

// Open opens the directory in config.Dir, or makes one. It reads the state and the
// servers' names; the caches start empty and fill by use. An error says which part
// of the database is damaged.
func Open(config Config) (*Directory, error) {
	d := &Directory{config: config, fs: config.FS, logger: config.Logger}
	if d.fs == nil {
		d.fs = vfs.Default
	}
	if err := d.makeCaches(); err != nil {
		return nil, fmt.Errorf("open location directory %s: %w", config.Dir, err)
	}
	if err := d.open(); err != nil {
		return nil, fmt.Errorf("open location directory %s: %w", config.Dir, err)
	}
	return d, nil
}

func (d *Directory) makeCaches() (err error) {
	c := d.config.Caches
	if c.Slots == 0 {
		c.Slots = 4
	}
	// The seed is nobody's business and differs from start to start, so that names
	// cannot be chosen to collide.
	table := cuckoo.Config{Slots: c.Slots, Seed: rand.Uint64()}
	if d.names, err = newSpace("names", c.Names, c.AbsentNames, table); err != nil {
		return err
	}
	d.ids, err = newSpace("ids", c.IDs, c.AbsentIDs, table)
	return err
}

func (d *Directory) open() (err error) {
	if err := d.fs.MkdirAll(d.config.Dir, 0o755); err != nil {
		return err
	}
	if d.lock, err = pebble.LockDirectory(d.config.Dir, d.fs); err != nil {
		return err
	}
	if err := d.openMarker(); err != nil {
		return errors.Join(err, d.lock.Close())
	}
	loaded, err := d.load(d.generationDir(d.generation), true)
	if err != nil {
		return errors.Join(err, d.marker.Close(), d.lock.Close())
	}
	d.install(loaded)
	return nil
}

// database is an open one and what is held in memory of it.
type database struct {
	db      *pebble.DB
	state   state
	servers *servers
}

// install makes the database the one served, with empty caches. At Open nobody else
// is there yet; Restore holds applying and mu.
func (d *Directory) install(loaded database) {
	d.db, d.state = loaded.db, loaded.state
	d.names.reset(loaded.state.entries)
	d.ids.reset(unknown)
	d.servers.Store(loaded.servers)
	d.revision.Store(loaded.state.revision)
}

// load opens the database in dir. An empty one is made a directory if fresh is
// allowed.
func (d *Directory) load(dir string, fresh bool) (database, error) {
	options := d.pebbleOptions()
	options.ErrorIfNotExists = !fresh
	db, err := pebble.Open(dir, options)
	if err != nil {
		return database{}, fmt.Errorf("database is missing or damaged: %w", err)
	}
	loaded := database{db: db}
	if err := loaded.read(fresh); err != nil {
		return database{}, errors.Join(err, db.Close())
	}
	return loaded, nil
}

// Close closes the database. What was applied is on disk already.
func (d *Directory) Close() error {
	d.applying.Lock()
	defer d.applying.Unlock()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil
	}
	d.closed = true
	d.names.suspend()
	if err := errors.Join(d.db.Close(), d.marker.Close(), d.lock.Close()); err != nil {
		return fmt.Errorf("close location directory %s: %w", d.config.Dir, err)
	}
	return nil
}

// Revision is the last one applied: every look-up from now on answers as of it or
// of a later one. After Open it says where the feed has to go on.
func (d *Directory) Revision() uint64 { return d.revision.Load() }

// ServeNegatives says whether absences may be answered from cache. A node whose
// feed is not provably live turns it off: an answer "absent" is then the disk's.
func (d *Directory) ServeNegatives(on bool) { d.blind.Store(!on) }

// ready tells why the disk cannot be used, if it cannot. The caller holds mu.
func (d *Directory) ready() error {
	if d.closed {
		return ErrClosed
	}
	if err := d.stopped.Load(); err != nil {
		return *err
	}
	return nil
}
