package store

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"carillon/store/page"
)

// Activity is what a store's worker does.
type Activity string

// The activities of a worker.
const (
	Idle      Activity = "idle"
	Sealing   Activity = "sealing"
	Rolling   Activity = "rolling up"
	Merging   Activity = "merging"
	Deleting  Activity = "deleting"
	Importing Activity = "importing"
)

// Activities is all of them.
func Activities() []Activity {
	return []Activity{Idle, Sealing, Rolling, Merging, Deleting, Importing}
}

// maxDamages bounds how many damaged places are kept to be shown; all are counted.
const maxDamages = 16

// Work is a snapshot of what goes on behind a store, for people. Times are
// milliseconds of the clock of Seal and Maintain.
type Work struct {
	Activity   Activity
	Since      int64    // when that began
	Waiting    error    // why a seal waits for room on the disk; nil if none does
	Tries      int      // of that seal
	MergeWants int64    // bytes of room that files wait for to be merged
	Frozen     int      // buckets that are being sealed, or wait for it
	Unrolled   int64    // bytes of the finest tier that no coarser one has yet
	Watermark  int64    // segments that start before it are in the coarser tiers
	Damaged    uint64   // reports of Damages, and those for which there was no place
	Damages    []string // what could not be read in the background, and what that costs
}

// Work says what the worker does. Any goroutine.
func (s *Store) Work() Work {
	s.mu.Lock()
	defer s.mu.Unlock()
	work := s.work
	work.Damages = slices.Clone(work.Damages)
	work.Watermark = s.current.watermark
	if s.sealing != nil {
		work.Frozen = s.sealing.count
	}
	for _, f := range s.current.files[0] {
		if len(s.current.files) > 1 && f.last >= work.Watermark {
			work.Unrolled += f.size
		}
	}
	return work
}

// corrupted tells damage to a file from an error of reading it.
func corrupted(err error) bool {
	return errors.Is(err, ErrCorrupt) || errors.Is(err, page.ErrCorrupt)
}

func formatTime(ms int64) string { return time.UnixMilli(ms).UTC().Format(time.RFC3339) }

// note changes what Work says.
func (w *worker) note(change func(*Work)) {
	w.store.mu.Lock()
	defer w.store.mu.Unlock()
	change(&w.store.work)
}

func (w *worker) doing(a Activity) {
	w.note(func(work *Work) { work.Activity, work.Since = a, w.now })
}

// damaged reports what is lost, once for each text.
func (w *worker) damaged(texts []string) {
	w.note(func(work *Work) {
		for _, text := range texts {
			if slices.Contains(work.Damages, text) {
				continue
			}
			work.Damaged++
			w.config.Logger.Error("files are damaged", "dir", w.config.Dir, "cost", text)
			if len(work.Damages) < maxDamages {
				work.Damages = append(work.Damages, text)
			}
		}
	})
}

// setAside follows when files that were to be merged turn out to be damaged: those are
// left as they are from now on. Without one among them the cause is elsewhere, and
// cause is returned.
func (w *worker) setAside(cause error) error {
	found := false
	for _, f := range w.rewriting {
		if err := new(Report).pages(f); corrupted(err) {
			f.damaged, found = true, true
			w.damaged([]string{fmt.Sprintf("%s: %v: it stays as it is, and is not merged with others", f.path, err)})
		} else if err != nil {
			return errors.Join(cause, err)
		}
	}
	if !found {
		return cause
	}
	return removeFrom(w.config, w.store.current.sequence)
}
