package store

import (
	"errors"
	"fmt"
	"slices"

	"carillon/bucket"
)

// retryAfter is how long what found no room on the disk waits to be tried again.
const retryAfter = 5000 // ms

// worker is the goroutine that makes versions. It is the only one to write files
// and to change the store's current version; it stops at the first error, for
// after a failed sync the system may claim that a second one succeeded. Only what
// finds no room, before anything is committed, is tried again: it leaves no files, and
// a seal keeps its head until it succeeds.
type worker struct {
	store  *Store
	config Config
	pages  *metered // config's FS
	pace   pacer

	now       int64    // of the last seal or tick, milliseconds
	rewriting []*file  // what is being merged
	waiting   *sealing // the seal that is to be tried again
	retryAt   int64    // not before then
	ended     int64    // the clock at which purge last found nothing that rules have ended
}

func (w *worker) run() {
	defer close(w.store.stopped)
	for w.step() {
	}
}

// step waits for one thing to do and does it, and then merges files until there
// is something else to do. It reports false when there will never be.
func (w *worker) step() bool {
	var err error
	select {
	case job, ok := <-w.store.seals:
		if !ok {
			return false
		}
		err = w.seal(job)
	case job := <-w.store.deletes:
		w.doing(Deleting)
		err = w.delete(job.Deletion)
		job.done <- err
		if errors.Is(err, ErrDeletesWait) {
			err = nil
		}
	case job := <-w.store.imports:
		err = w.importFrom(job)
	case now := <-w.store.ticks:
		err = w.tick(now)
	}
	for merged := true; merged && err == nil && !w.wanted() && w.now >= w.retryAt; {
		w.rewriting = nil
		if merged, err = w.merge(); corrupted(err) {
			merged, err = true, w.setAside(err)
		}
	}
	if outOfRoom(err) {
		err = w.makeWay(err)
	}
	w.pages.done()
	w.doing(Idle)
	if err != nil {
		w.fail(err)
	}
	return err == nil
}

// tick does what time asks for, or tries a seal again that found no room.
func (w *worker) tick(now int64) error {
	w.now = max(w.now, now)
	if err := w.letGo(); err != nil {
		return err
	}
	switch {
	case w.waiting == nil:
		w.doing(Rolling)
		return w.advance(w.store.current.sealed, now, nil)
	case w.now < w.retryAt:
		return nil
	}
	job := *w.waiting
	job.now = now
	return w.seal(job)
}

// makeWay follows when something found no room: its files are removed, and it is
// tried again later. The error is of removing them.
func (w *worker) makeWay(cause error) error {
	w.retryAt = w.now + retryAfter
	waits := w.waiting != nil
	w.note(func(work *Work) {
		if waits && work.Waiting == nil {
			w.config.Logger.Warn("there is no room to seal; it will be tried again, and the journal keeps what is not sealed",
				"dir", w.config.Dir, "error", cause)
		}
		if waits {
			work.Waiting = cause
			work.Tries++
		}
	})
	return removeFrom(w.config, w.store.current.sequence)
}

// wanted tells whether something is more urgent than merging files.
func (w *worker) wanted() bool { return w.urged(false) }

// urged tells whether something waits for what the worker does, be it a seal or not.
func (w *worker) urged(sealing bool) bool {
	w.store.mu.Lock()
	defer w.store.mu.Unlock()
	return w.store.sealing != nil && !sealing || w.store.closing || len(w.store.deletes) > 0
}

// pacing is a pause for between two series of a pass. A seal keeps memory and journal
// taken as long as it lasts, so it does not let everybody go first for ever.
func (w *worker) pacing(sealing bool) func() {
	end := w.pace.now().Add(passPatience)
	hurry := func() bool { return w.urged(sealing) || w.pace.now().After(end) }
	return func() { w.pace.step(hurry) }
}

func (w *worker) fail(err error) {
	s := w.store
	s.config.Logger.Error("the store stops sealing; the journal keeps what is not sealed", "dir", s.config.Dir, "error", err)
	s.mu.Lock()
	s.err = err
	s.mu.Unlock()
	w.signal()
}

func (w *worker) signal() {
	select {
	case w.store.committed <- struct{}{}:
	default:
	}
}

func (w *worker) seal(job sealing) error {
	w.now = max(w.now, job.now)
	w.waiting = &job
	w.doing(Sealing)
	if err := w.advance(job.through, job.now, job.head); err != nil {
		return fmt.Errorf("sealing through %d: %w", job.through, err)
	}
	w.waiting = nil
	w.note(func(work *Work) { work.Waiting, work.Tries = nil, 0 })
	w.config.Logger.Debug("sealed", "dir", w.config.Dir, "through", job.through, "buckets", job.head.count)
	w.signal()
	return nil
}

// advance moves the watermark and the horizons as far as now allows, and commits
// what follows from it together with the contents of a head, if there is one: the
// finest tier's new files, the coarser tiers' up to the watermark, and the end of
// files that are out of retention.
func (w *worker) advance(through uint64, now int64, h *head) error {
	current := w.store.current
	next := current.next()
	next.sealed = through
	natural := w.moveLines(next, now)
	if h == nil && next.watermark == current.watermark && next.retained == current.retained && slices.Equal(next.horizons, current.horizons) {
		return nil
	}
	out := newOutput(w.config, 0, next.sequence)
	defer out.abort()
	p := newPass(w.config, current, next, h, out)
	p.pause = w.pacing(h != nil)
	if err := p.run(); err != nil {
		return err
	}
	w.damaged(textsOf(p.lost))
	next.lose(p.lost)
	next.expire()
	made, err := w.finish(out, next)
	if err == nil && h != nil {
		err = w.syncDirectory(made)
	}
	if err == nil {
		err = w.commit(next, made, h != nil)
	}
	if err != nil {
		return err
	}
	w.store.mu.Lock()
	defer w.store.mu.Unlock()
	w.store.noteDropped(current, next, natural)
	return nil
}

// finish makes the files of an output durable and puts them into the next version, behind
// those that it has.
func (w *worker) finish(out *output, next *version) (made [][]*file, err error) {
	if made, err = out.finish(); err != nil {
		return nil, err
	}
	w.store.written.sealed.Add(sizeOf(made[:1]))
	w.store.written.rolled.Add(sizeOf(made[1:]))
	next.sequence = out.sequence
	for tier := range next.files {
		next.files[tier] = append(next.files[tier], made[tier]...)
	}
	return made, nil
}

// syncDirectory goes before the commit of files that may refer to new series.
func (w *worker) syncDirectory(made [][]*file) error {
	if err := w.config.SyncDirectory(); err != nil {
		err = fmt.Errorf("syncing the directory of series: %w", syncError{err})
		return errors.Join(err, closeFiles(made))
	}
	return nil
}

// moveLines sets the watermark and the horizons for a time. They only go forward,
// also when a clock or a configuration goes back: otherwise late data could be
// taken for something the finest tier still has whole, and a coarse bucket be
// recomputed from a part of its samples. For the same reason all of them keep to
// the coarsest tier's beat. DropBefore may have asked for later horizons than the
// natural ones, which are returned; the watermark keeps ahead of the finest tier's.
func (w *worker) moveLines(v *version, now int64) (natural []int64) {
	tiers := w.config.Tiers
	coarsest := w.config.beat()
	v.retained.clock = max(v.retained.clock, bucket.Floor(now, coarsest))
	for i, t := range tiers {
		v.horizons[i] = max(v.horizons[i], bucket.Floor(now-t.Retention.Milliseconds(), coarsest))
	}
	delay := min(w.config.RollupDelay, tiers[0].Retention).Milliseconds()
	v.watermark = max(v.watermark, bucket.Floor(now-delay, coarsest))
	natural = slices.Clone(v.horizons)
	w.store.mu.Lock()
	defer w.store.mu.Unlock()
	for i := range tiers {
		v.horizons[i] = max(v.horizons[i], w.store.dropping[i])
	}
	v.watermark = max(v.watermark, v.horizons[0])
	return natural
}

// commit makes next the current version, on disk and then in memory. With sealed
// the frozen head goes in the same step, since next has its contents. The files
// made for it are closed if that fails, but not removed: the manifest on disk may
// be the new one nevertheless.
func (w *worker) commit(next *version, made [][]*file, sealed bool) error {
	if err := w.bury(w.store.current, next); err != nil {
		return errors.Join(err, closeFiles(made))
	}
	if err := writeManifest(w.config.FS, w.config.Dir, next.manifest(w.config.Tiers)); err != nil {
		return errors.Join(err, closeFiles(made))
	}
	next.hold()
	s := w.store
	s.mu.Lock()
	old := s.current
	s.current = next
	var frozen *head
	if sealed {
		frozen, s.sealing = s.sealing, nil
	}
	s.mu.Unlock()
	frozen.release()

	for tier, files := range old.files {
		for _, f := range files {
			if !slices.Contains(next.files[tier], f) {
				f.obsolete.Store(true)
			}
		}
	}
	s.release(old)
	w.unbury(old, next)
	return nil
}
