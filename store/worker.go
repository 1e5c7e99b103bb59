package store

import (
	"errors"
	"fmt"
	"slices"

	"carillon/bucket"
)

// worker is the goroutine that makes versions. It is the only one to write files
// and to change the store's current version; it stops at the first error, for
// after a failed sync the system may claim that a second one succeeded.
type worker struct {
	store  *Store
	config Config
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
	case now := <-w.store.ticks:
		err = w.advance(w.store.current.sealed, now, nil)
	}
	for merged := true; merged && err == nil && !w.wanted(); {
		merged, err = w.merge()
	}
	if err != nil {
		w.fail(err)
	}
	return err == nil
}

// wanted tells whether something is more urgent than merging files.
func (w *worker) wanted() bool {
	w.store.mu.Lock()
	defer w.store.mu.Unlock()
	return w.store.sealing != nil || w.store.closing
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
	if err := w.advance(job.through, job.now, job.head); err != nil {
		return fmt.Errorf("sealing through %d: %w", job.through, err)
	}
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
	w.moveLines(next, now)
	if h == nil && next.watermark == current.watermark && slices.Equal(next.horizons, current.horizons) {
		return nil
	}
	out := newOutput(w.config, 0, next.sequence)
	defer out.abort()
	if err := newPass(w.config, current, next, h, out).run(); err != nil {
		return err
	}
	made, err := out.finish()
	if err != nil {
		return err
	}
	w.store.written.sealed.Add(sizeOf(made[:1]))
	w.store.written.rolled.Add(sizeOf(made[1:]))
	next.sequence = out.sequence
	for tier, horizon := range next.horizons {
		next.files[tier] = slices.DeleteFunc(next.files[tier], func(f *file) bool { return f.last < horizon })
		next.files[tier] = append(next.files[tier], made[tier]...)
	}
	if h != nil {
		if err := w.config.SyncDirectory(); err != nil {
			return errors.Join(fmt.Errorf("syncing the directory of series: %w", err), closeFiles(made))
		}
	}
	return w.commit(next, made, h != nil)
}

// moveLines sets the watermark and the horizons for a time. They only go forward,
// also when a clock or a configuration goes back: otherwise late data could be
// taken for something the finest tier still has whole, and a coarse bucket be
// recomputed from a part of its samples. For the same reason all of them keep to
// the coarsest tier's beat.
func (w *worker) moveLines(v *version, now int64) {
	tiers := w.config.Tiers
	coarsest := tiers[len(tiers)-1].Resolution.Milliseconds()
	for i, t := range tiers {
		v.horizons[i] = max(v.horizons[i], bucket.Floor(now-t.Retention.Milliseconds(), coarsest))
	}
	delay := min(w.config.RollupDelay, tiers[0].Retention).Milliseconds()
	v.watermark = max(v.watermark, bucket.Floor(now-delay, coarsest))
}

// commit makes next the current version, on disk and then in memory. With sealed
// the frozen head goes in the same step, since next has its contents. The files
// made for it are closed if that fails, but not removed: the manifest on disk may
// be the new one nevertheless.
func (w *worker) commit(next *version, made [][]*file, sealed bool) error {
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
	return nil
}
