package measure

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"path/filepath"
	"time"

	"carillon/bucket"
	"carillon/store"
)

const (
	pollEvery = 200 * time.Microsecond

	// sealPoints is how many points of a series a seal brings: ten minutes, as in a
	// server that is told nothing else.
	sealPoints = 60

	// fedAtOnce is how many samples are added in one call.
	fedAtOnce = 4096
)

// beginning is when generated histories begin, milliseconds; a multiple of all
// resolutions.
const beginning = 1_600_000_000_000 / 86_400_000 * 86_400_000

// fed is a store that is fed as the partition's loop of a server feeds it, but at the
// times of what it is fed with.
type fed struct {
	*store.Store
	now     int64  // milliseconds
	through uint64 // seals
}

// open makes a store in a folder of its own. Merging may be nil.
func open(dir string, fs store.FS, merging chan struct{}, logger *slog.Logger) (*fed, error) {
	tiers, err := store.ParseTiers(store.DefaultTiers)
	if err != nil {
		return nil, err
	}
	s, err := store.Open(store.Config{
		Dir: dir, Tiers: tiers, Kind: kindOf, SyncDirectory: func() error { return nil }, Merging: merging, FS: fs, Logger: logger,
	})
	return &fed{Store: s}, err
}

// openOne is a store to be measured alone. What close is told comes with its error.
func (r *run) openOne(name string, fs store.FS) (s *fed, closeStore func(*error), err error) {
	s, err = open(filepath.Join(r.Dir, name), fs, nil, r.Logger)
	if err != nil {
		return nil, nil, err
	}
	return s, func(err *error) { *err = errors.Join(*err, s.Close()) }, nil
}

// feed adds the next n points of all series, in the order of time, and moves the clock.
func (s *fed) feed(all []points, n int) {
	var (
		numbers [fedAtOnce]uint32
		times   [fedAtOnce]int64
		values  [fedAtOnce]float64
	)
	for range n {
		for from := 0; from < len(all); from += fedAtOnce {
			part := all[from:min(from+fedAtOnce, len(all))]
			for i := range part {
				numbers[i] = uint32(from + i)
				times[i], values[i] = part[i].next()
				s.now = max(s.now, times[i])
			}
			s.AddSamples(numbers[:len(part)], times[:len(part)], values[:len(part)])
		}
	}
}

// seal waits for the seal before and begins the next one.
func (s *fed) seal(ctx context.Context) error {
	for s.Sealing() && s.Err() == nil {
		select {
		case <-s.Committed():
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	s.through++
	return s.Seal(s.now, s.through, noneOpen)
}

// noneOpen is the open segments: all points are added.
var noneOpen iter.Seq2[uint32, bucket.Bucket] = func(func(uint32, bucket.Bucket) bool) {}

// settle pokes the store until there is nothing left to do: after that, no file is going
// to change.
func (s *fed) settle(ctx context.Context) error {
	for merged := int64(-1); merged != s.Written().Merged; {
		merged = s.Written().Merged
		s.now++
		s.Maintain(s.now)
		if err := s.idle(ctx); err != nil {
			return err
		}
	}
	return nil
}

// idle waits until the worker has done what it was asked for at the present time.
func (s *fed) idle(ctx context.Context) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		work := s.Work()
		switch {
		case s.Err() != nil:
			return s.Err()
		case work.Waiting != nil:
			return fmt.Errorf("no room: %w", work.Waiting)
		case work.Damaged > 0:
			return fmt.Errorf("files are damaged: %q", work.Damages)
		case work.Activity == store.Idle && work.Since >= s.now && !s.Sealing():
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// unsynced is the system's files without what makes them survive a power cut, which is
// nothing that sizes depend on.
type unsynced struct{ store.OS }

type unsyncedFile struct{ store.File }

func (unsyncedFile) Sync() error { return nil }

// Create makes a file that is never synced.
func (u unsynced) Create(name string) (store.File, error) {
	f, err := u.OS.Create(name)
	return unsyncedFile{f}, err
}

// SyncDir does nothing.
func (unsynced) SyncDir(string) error { return nil }
