package store

import (
	"fmt"
	"math"
	"slices"

	"carillon/bucket"
)

// mergeFiles is how many files of one tier, window and level become one of the
// next level. So a window has fewer than that many a level, and what is written
// is written again once a level.
const mergeFiles = 8

// merge merges one run of files, if there is one that is due.
func (w *worker) merge() (bool, error) {
	current := w.store.current
	for tier, files := range current.files {
		run := due(files)
		if run == nil {
			continue
		}
		done, err := w.mergeRun(current, tier, run)
		if err != nil {
			return false, fmt.Errorf("merging %d files of tier %s: %w", len(run), w.config.Tiers[tier], err)
		}
		return done, nil
	}
	return false, nil
}

// due finds mergeFiles neighbours of one window and level. Files of other windows
// may stand between them: they have no segment in common.
func due(files []*file) []*file {
	runs := make(map[int64][]*file) // by window
	for _, f := range files {
		run := runs[f.window]
		if len(run) > 0 && run[0].level != f.level {
			run = nil
		}
		run = append(run, f)
		if len(run) == mergeFiles {
			return run
		}
		runs[f.window] = run
	}
	return nil
}

// mergeRun puts the outcome in the run's place. It gives up, and reports false,
// when the store is closing.
func (w *worker) mergeRun(current *version, tier int, run []*file) (bool, error) {
	next := current.next()
	out := newOutput(w.config, run[0].level+1, next.sequence)
	defer out.abort()
	if done, err := w.mergeSeries(tier, run, next.horizons[tier], out); err != nil || !done {
		return false, err
	}
	made, err := out.finish()
	if err != nil {
		return false, err
	}
	next.sequence = out.sequence
	at := slices.Index(next.files[tier], run[0])
	next.files[tier] = slices.DeleteFunc(next.files[tier], func(f *file) bool { return slices.Contains(run, f) })
	next.files[tier] = slices.Insert(next.files[tier], at, made[tier]...)
	return true, w.commit(next, made, false)
}

func (w *worker) mergeSeries(tier int, run []*file, horizon int64, out *output) (bool, error) {
	files := make([][]*file, tier+1)
	files[tier] = run
	r := newReader(files)
	var m merging
	for number := uint32(0); !w.closing(); number++ {
		n, ok, err := r.next(tier, number, horizon, math.MaxInt64)
		if err != nil || !ok {
			return true, err
		}
		m.reset(w.config, tier, n)
		for _, f := range run {
			if r.buckets, err = r.cursor(f).series(n, horizon, math.MaxInt64, r.buckets[:0]); err != nil {
				return false, err
			}
			m.add(r.buckets, f.replaces)
		}
		if err := out.add(tier, true, n, m.replacing.acc); err != nil {
			return false, err
		}
		if err := out.add(tier, false, n, m.adding.acc); err != nil {
			return false, err
		}
		if number = n; number == math.MaxUint32 {
			return true, nil
		}
	}
	return false, nil
}

func (w *worker) closing() bool {
	w.store.mu.Lock()
	defer w.store.mu.Unlock()
	return w.store.closing
}

// merging puts the buckets of one series in a run of files together. What lies
// before the run must stay able to shine through where nothing of the run takes
// its place, so a segment goes to the file that replaces if any of the run did,
// else to the one that merges. No segment is in both.
type merging struct {
	replacing, adding fold
	inReplacing       []bucket.Bucket // scratch
	inAdding          []bucket.Bucket
}

func (m *merging) reset(config Config, tier int, number uint32) {
	kind, resolution := config.Kind(number), config.Tiers[tier].Resolution.Milliseconds()
	m.replacing.reset(kind, resolution)
	m.adding.reset(kind, resolution)
}

func (m *merging) add(buckets []bucket.Bucket, replaces bool) {
	if replaces {
		m.replacing.add(buckets, true)
		m.adding.drop(buckets)
		return
	}
	if len(m.replacing.acc) == 0 {
		m.adding.add(buckets, false)
		return
	}
	m.inReplacing, m.inAdding = m.inReplacing[:0], m.inAdding[:0]
	resolution := m.adding.resolution
	for _, b := range buckets {
		if has(m.replacing.acc, b.Start(resolution), resolution) {
			m.inReplacing = append(m.inReplacing, b)
		} else {
			m.inAdding = append(m.inAdding, b)
		}
	}
	m.replacing.add(m.inReplacing, false)
	m.adding.add(m.inAdding, false)
}
