// Package bucket keeps objects in a service that stores bytes under keys: one key a version, which says
// everything about it, so that a listing of the keys is the index. In come object.Store's calls; out go
// whole files of the service and contents compared with their checksums.
// object/s3 and object/jetstream bring a service each.
//
// One process at a time may have a bucket open: it decides compare-and-set from the index that it has in memory.
// docs/format/object-bucket.md describes keys and bytes.
package bucket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"carillon/object"
	"carillon/object/backend"
	"carillon/object/blob"
	"carillon/object/catalog"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Service stores bytes under keys. All methods may be called by many goroutines at once.
type Service interface {
	// Each calls yield with every key, in any order, until it returns an error, which Each returns.
	Each(ctx context.Context, yield func(key string) error) error
	// Put stores size bytes under a key, wholly or not at all, also over what is there. It is durable when it returns.
	Put(ctx context.Context, key string, body io.ReadSeeker, size int64) error
	// Get streams length bytes from an offset on. The error is an os.ErrNotExist if the key is unknown. A stream that was
	// begun may be read to its end whatever happens to the key.
	Get(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error)
	// Remove forgets a key. An unknown key is no error.
	Remove(ctx context.Context, key string) error
	// Close ends the connection, after all else.
	Close() error
}

// Config is of a Store.
type Config struct {
	Service Service
	Keep    int    // versions of a name; 0 means 1, at most backend.MaxKeep
	Spool   string // folder for the bodies of puts that are too large for memory
	Logger  *slog.Logger
}

const (
	headSize    = 1 << 20          // bytes of content up to which a put stays in memory
	removeFor   = 15 * time.Second // at most, for what a failed call may have left
	recallAtMax = 32 << 10         // keys between two looks whether the context has ended
)

// Store is the backend. Its methods run in their callers' goroutines.
type Store struct {
	catalog.Reader[struct{}] // Stat, History and List

	config  Config
	service Service
	spool   spool
	life    backend.Life   // also of bodies that are open
	names   *backend.Names // held while what is there of a name changes
	catalog *catalog.Catalog[struct{}]
	damaged int // keys that were not understood at the start

	settling sync.Mutex // held while doubts are settled; before names
	mu       sync.Mutex
	doubts   []object.Info // appended to, and taken from the front while settling; may be in the service, and must not; oldest versions of a name first
}

var _ object.Store = (*Store)(nil)

// Open reads the keys that are there. The service is the Store's, which closes it, also after an error.
func Open(ctx context.Context, config Config) (*Store, error) {
	keep, err := backend.Keep(config.Keep)
	if err != nil {
		return nil, errors.Join(err, config.Service.Close())
	}
	s := &Store{config: config, service: config.Service, names: backend.NewNames(), catalog: catalog.New[struct{}](keep)}
	s.Reader = catalog.NewReader(&s.life, s.catalog)
	s.spool = spool{fs: vfs.Default, dir: config.Spool}
	if err := s.load(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("read what is there: %w", err), config.Service.Close())
	}
	return s, nil
}

// load builds the index, and removes versions that are displaced: a crash has come between.
func (s *Store) load(ctx context.Context) error {
	var displaced []object.Info
	seen := 0
	err := s.service.Each(ctx, func(k string) error {
		if seen++; seen%recallAtMax == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		info, err := s.recall(ctx, k)
		if errors.Is(err, errKey) || errors.Is(err, object.ErrDamaged) {
			s.damaged++
			s.config.Logger.Warn("pass over a key", "key", k, "error", err)
			return nil
		}
		if err != nil {
			return err
		}
		for _, e := range s.catalog.Add(info.Name, catalog.EntryOf(info, struct{}{})) {
			displaced = append(displaced, e.Info(info.Name))
		}
		return nil
	})
	if err != nil {
		return err
	}
	return s.remove(ctx, displaced)
}

// recall tells what a key is of.
func (s *Store) recall(ctx context.Context, k string) (object.Info, error) {
	info, long, err := parseKey(k)
	if err != nil || !long {
		return info, err
	}
	stream, err := s.service.Get(ctx, k, 0, blob.MaxHeader)
	if err != nil {
		return object.Info{}, err
	}
	head, err := io.ReadAll(io.LimitReader(stream, blob.MaxHeader))
	if err = errors.Join(err, stream.Close()); err != nil {
		return object.Info{}, err
	}
	if info, err = blob.ParseHeader(head); err != nil {
		return object.Info{}, err
	}
	if key(info) != k {
		return object.Info{}, fmt.Errorf("%w: it is of %q version %s", errKey, info.Name, info.Version)
	}
	return info, nil
}

// Damaged is how many keys were not understood at the start. They are left where they are.
func (s *Store) Damaged() int { return s.damaged }

// beginWrite begins what changes anything: first what failed before is cleared away.
func (s *Store) beginWrite(ctx context.Context) error {
	if err := s.life.Begin(); err != nil {
		return err
	}
	if err := s.settleDoubts(ctx); err != nil {
		s.life.Done()
		return err
	}
	return nil
}

// Get implements object.Store. Close waits for the body, too.
func (s *Store) Get(ctx context.Context, name string, o object.Get) (object.Body, error) {
	if err := s.life.Begin(); err != nil {
		return nil, err
	}
	body, err := s.open(ctx, name, o)
	if err != nil {
		s.life.Done()
		return nil, err
	}
	return &held{Body: body, done: sync.OnceFunc(s.life.Done)}, nil
}

func (s *Store) open(ctx context.Context, name string, o object.Get) (object.Body, error) {
	for {
		e, err := s.catalog.Find(name, o.Version)
		if err != nil {
			return nil, err
		}
		info := e.Info(name)
		body, err := blob.OpenStream(info, o, func(offset, length int64) (io.ReadCloser, error) {
			return s.service.Get(ctx, key(info), offset, length)
		})
		if errors.Is(err, object.ErrDamaged) {
			// It is missing, too, if a newer version has displaced it meanwhile.
			if _, gone := s.catalog.Find(name, e.Version); gone != nil {
				continue
			}
		}
		return body, err
	}
}

// held is a body that Close waits for.
type held struct {
	object.Body
	done func()
}

func (h *held) Close() error {
	defer h.done()
	return h.Body.Close()
}

// Close implements object.Store. It waits for bodies that are open.
func (s *Store) Close() error {
	if err := s.life.Close(); err != nil {
		return err
	}
	return s.service.Close()
}

// Put implements object.Store.
func (s *Store) Put(ctx context.Context, name string, body io.Reader, o object.Put) (object.Info, error) {
	in, err := backend.NewIntake(ctx, name, body, o)
	if err != nil {
		return object.Info{}, err
	}
	if err := s.beginWrite(ctx); err != nil {
		return object.Info{}, fmt.Errorf("put %q: %w", name, err)
	}
	defer s.life.Done()
	info, file, err := s.spool.fill(name, in)
	if err != nil {
		return object.Info{}, err
	}
	return info, errors.Join(s.place(ctx, info, file, o.If, o.Repair), file.Close())
}

// Delete implements object.Store.
func (s *Store) Delete(ctx context.Context, name string, o object.Delete) (object.Info, error) {
	if err := backend.CheckWrite(name, o.Version); err != nil {
		return object.Info{}, err
	}
	if err := s.beginWrite(ctx); err != nil {
		return object.Info{}, fmt.Errorf("delete %q: %w", name, err)
	}
	defer s.life.Done()
	info := object.Info{Name: name, Version: o.Version, Deleted: true}
	return info, s.place(ctx, info, inMemory(info, nil), o.If, false)
}
