package store

import (
	"fmt"

	"carillon/bucket"
	"carillon/store/page"
)

// endedShare is which part of a file's series, one in so many, rules must have ended
// before the file is written again without them.
const endedShare = 4

// purge writes one file again that holds what is deleted, or too much that rules have
// ended; with no such file left it forgets the graves. It tells whether there may be
// more to do. Merging by size does most of this by the way; what remains are files
// that are large enough to be left alone.
func (w *worker) purge() (bool, error) {
	current := w.store.current
	ruled := w.config.Keep != nil && w.ended != current.retained.clock
	if len(current.graves) == 0 && !ruled {
		return false, nil
	}
	r := newReader(&version{files: current.files})
	damaged := false
	for tier, files := range current.files {
		for _, f := range files {
			if f.damaged { // it stays, and what is deleted in it
				damaged = true
				continue
			}
			w.rewriting = []*file{f}
			due, err := w.mostlyEnded(r, tier, f, ruled)
			for i := 0; i < len(current.graves) && !due && err == nil; i++ {
				due, err = current.graves[i].in(r, tier, f)
			}
			if err != nil {
				return false, fmt.Errorf("looking for what is deleted: %w", err)
			}
			if due {
				return w.rewrite(current, tier, f)
			}
		}
	}
	w.ended = current.retained.clock
	if len(current.graves) == 0 || damaged {
		return false, nil
	}
	next := current.next()
	next.graves = nil
	return false, w.commit(next, nil, false)
}

func (w *worker) rewrite(current *version, tier int, f *file) (bool, error) {
	if !w.begin([]*file{f}) {
		return false, nil
	}
	defer w.end()
	done, err := w.mergeRun(current, tier, []*file{f})
	if err != nil {
		return false, fmt.Errorf("taking what is deleted out of %s: %w", f.path, err)
	}
	return done, nil
}

// in tells whether a file has pages of the span with any of the series.
func (g *grave) in(r *reader, tier int, f *file) (found bool, err error) {
	if !g.concerns(tier, f) {
		return false, nil
	}
	s, c := g.spans[tier], r.cursor(tier, f)
	for _, number := range g.numbers {
		err := c.each(number, bucket.Floor(s.from, f.resolution), s.to, nil, func(page.Strip) (bool, error) {
			found = true
			return false, nil
		})
		if found || err != nil {
			return found, err
		}
	}
	return false, nil
}

// mostlyEnded tells whether rules have ended a good share of a file's series, as far
// as the first series of each page can tell.
func (w *worker) mostlyEnded(r *reader, tier int, f *file, ruled bool) (bool, error) {
	if !ruled {
		return false, nil
	}
	ended := uint64(0)
	for position := range f.pages {
		e, err := r.cursor(tier, f).lookUp(position)
		if err != nil {
			return false, err
		}
		if w.store.current.horizon(&w.config, e.low, tier) > f.last {
			ended++
		}
	}
	return ended*endedShare >= f.pages, nil
}
