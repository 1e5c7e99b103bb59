package store

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"syscall"

	"carillon/bucket"
)

// Room grants bytes on the disk before they are written, so that a bound on what a
// data directory takes holds at every moment and not only on average. Who was
// refused writes nothing, and tries again later. Its methods may be called at the
// same time; the errors of the first two wrap syscall.ENOSPC.
type Room interface {
	// Reserve is for what must be written sooner or later: sealing and rolling up.
	Reserve(bytes int64) error
	// ReserveSpare is for what can wait. It leaves free what sealing will need.
	ReserveSpare(bytes int64) error
	// Settle ends a reservation, of which so many bytes were written.
	Settle(reserved, written int64)
}

// boundless is the room of a store without a bound.
type boundless struct{}

func (boundless) Reserve(int64) error      { return nil }
func (boundless) ReserveSpare(int64) error { return nil }
func (boundless) Settle(int64, int64)      {}

const (
	reserveBytes = 256 << 10 // asked for at once, so that not every page has to ask
	blockBytesOS = 4 << 10   // a file takes whole blocks of the file system
)

// metered is a file system in which a page file's bytes are reserved before they are
// written. What else a store writes, its manifest and its deletes, is small, and
// must get through when there is no room: it is by the manifest that files are let go.
// It also marks errors of syncing, after which nothing may be tried again.
type metered struct {
	FS
	room Room

	mu    sync.Mutex
	ahead int64 // reserved and not yet written; guarded by mu
}

// Create makes a file whose writing is metered if it is one of pages.
func (m *metered) Create(name string) (File, error) {
	file := &meteredFile{fs: m, pages: strings.HasSuffix(name, pagesSuffix)}
	if err := file.take(blockBytesOS); err != nil {
		return nil, err
	}
	out, err := m.FS.Create(name)
	file.File = out
	return file, err
}

// SyncDir marks its error.
func (m *metered) SyncDir(dir string) error { return markSync(m.FS.SyncDir(dir)) }

// prepare reserves what can wait, to be written later, all of it at once.
func (m *metered) prepare(bytes int64) error {
	if err := m.room.ReserveSpare(bytes); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ahead += bytes
	return nil
}

// done gives back what is reserved and was not written.
func (m *metered) done() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.room.Settle(m.ahead, 0)
	m.ahead = 0
}

func (m *metered) take(bytes int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ahead < bytes {
		more := max(bytes, reserveBytes)
		if err := m.room.Reserve(more); err != nil {
			return err
		}
		m.ahead += more
	}
	m.ahead -= bytes
	m.room.Settle(bytes, bytes)
	return nil
}

type meteredFile struct {
	File
	fs    *metered
	pages bool
}

func (f *meteredFile) take(bytes int) error {
	if !f.pages {
		return nil
	}
	return f.fs.take(int64(bytes))
}

func (f *meteredFile) Write(data []byte) (int, error) {
	if err := f.take(len(data)); err != nil {
		return 0, err
	}
	return f.File.Write(data)
}

func (f *meteredFile) Sync() error { return markSync(f.File.Sync()) }

// syncError is an error of making something durable. What the system held of it may
// be gone, and a second sync claim that it is not.
type syncError struct{ error }

func (e syncError) Unwrap() error { return e.error }

func markSync(err error) error {
	if err != nil {
		return syncError{err}
	}
	return nil
}

// outOfRoom tells an error that passes when there is room again, and before which
// nothing was made durable or current.
func outOfRoom(err error) bool {
	full := errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
	return full && !errors.As(err, new(syncError))
}

// Aged is a file of a tier, for planning what to drop.
type Aged struct {
	Last  int64 // start of its last segment, milliseconds
	Bytes int64
}

// Ages lists a tier's files that are not to be dropped already, and what those that
// are, and are still there, will free. Any goroutine.
func (s *Store) Ages(tier int) (ages []Aged, going int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	horizon := max(s.current.horizons[tier], s.dropping[tier])
	for _, f := range s.current.files[tier] {
		if f.last < horizon {
			going += f.size
		} else {
			ages = append(ages, Aged{f.last, f.size})
		}
	}
	return ages, going
}

// PlanDrop finds the time before which a tier must be let go so that files of that
// many bytes, or as many as there are, go with it. The time is on the beat of the
// coarsest tier, as all horizons are, and at most latest. Without a file to go,
// frees is 0. Planned for all partitions at once, all keep the same.
func PlanDrop(ages []Aged, beat, bytes, latest int64) (before, frees int64) {
	slices.SortFunc(ages, func(a, b Aged) int { return cmp.Compare(a.Last, b.Last) })
	for _, f := range ages {
		end := bucket.Floor(f.Last, beat) + beat
		if end > latest || frees >= bytes && end > before {
			break
		}
		before = end
		frees += f.Bytes
	}
	return before, frees
}

// DropBefore lets a tier keep nothing that starts before a time of PlanDrop, although
// its retention would. The worker does it, at the next Maintain at the latest: what
// the coarser tiers do not have yet of that is rolled up first. Stats tells when it
// has happened. Any goroutine.
func (s *Store) DropBefore(tier int, before, now int64) {
	s.mu.Lock()
	s.dropping[tier] = max(s.dropping[tier], before)
	s.mu.Unlock()
	s.Maintain(now)
}

// letGo drops what DropBefore asked for, as far as nothing has to be rolled up, and so
// written, before: a disk may be full.
func (w *worker) letGo() error {
	s := w.store
	current := s.current
	next := current.next()
	s.mu.Lock()
	for tier := range next.horizons {
		next.horizons[tier] = max(next.horizons[tier], s.dropping[tier])
	}
	s.mu.Unlock()
	if len(next.horizons) > 1 {
		next.horizons[0] = max(current.horizons[0], min(next.horizons[0], current.watermark))
	}
	if slices.Equal(next.horizons, current.horizons) {
		return nil
	}
	next.expire()
	if err := w.commit(next, nil, false); err != nil {
		return fmt.Errorf("dropping the oldest files: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.noteDropped(current, next, current.horizons)
	w.retryAt = w.now // there may be room now
	return nil
}

// Horizons is, for each tier, the time before which it keeps nothing, be it for its
// retention or for DropBefore; milliseconds. Any goroutine.
func (s *Store) Horizons() []int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.current.horizons)
}

// Dropped is what a tier lost before its retention was over, since Open.
type Dropped struct {
	Before  int64 // nothing that starts earlier is kept, milliseconds; 0 if nothing was dropped
	Files   int
	Bytes   int64
	Buckets uint64
}

// Dropped is one Dropped a tier, finest first. Any goroutine.
func (s *Store) Dropped() []Dropped {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.dropped)
}

// noteDropped counts the files that next lacks only because of DropBefore; natural is
// where the horizons would be without it. s.mu is held.
func (s *Store) noteDropped(current, next *version, natural []int64) {
	for tier, horizon := range next.horizons {
		if horizon <= natural[tier] {
			continue
		}
		d := &s.dropped[tier]
		d.Before = horizon
		for _, f := range current.files[tier] {
			if f.last < horizon && f.last >= natural[tier] {
				d.Files++
				d.Bytes += f.size
				d.Buckets += f.buckets
			}
		}
	}
}

// begin tells whether the worker may write a run of files again now: beside those it
// shares Config.Merging with, and with room for what comes of it beside what is there.
// If not, the next poke of Maintain asks again.
func (w *worker) begin(run []*file) bool {
	if w.config.Merging != nil {
		select {
		case w.config.Merging <- struct{}{}:
		default:
			return false
		}
	}
	bytes := sizeOf([][]*file{run})
	if err := w.pages.prepare(bytes); err != nil {
		w.note(func(work *Work) { work.MergeWants = bytes })
		w.release()
		return false
	}
	w.note(func(work *Work) { work.MergeWants = 0 })
	w.doing(Merging)
	w.rewriting = run
	return true
}

func (w *worker) end() {
	w.pages.done()
	w.release()
}

func (w *worker) release() {
	if w.config.Merging != nil {
		<-w.config.Merging
	}
}
