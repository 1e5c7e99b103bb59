package store

import (
	"errors"
	"fmt"
	"iter"
	"slices"

	"carillon/bucket"
)

// Source names what an import reads, the same whenever it is run again.
type Source [16]byte

// Position is how far an import has come in its source. Positions of a source only go
// up; what they count is for the source to say.
type Position struct {
	Stage int64
	Item  uint64
}

// Before tells whether p is less far than other.
func (p Position) Before(other Position) bool {
	return p.Stage < other.Stage || p.Stage == other.Stage && p.Item < other.Item
}

// Import is history that did not come through the journal. It is committed in one step
// together with the position it reaches, so an import that was interrupted knows from
// the store what it has, and takes nothing twice.
//
// Its buckets are those of the finest tier, like what Add takes, and may stand for a
// longer time than its segments are: they lie in the segment where they begin. Each
// tier that keeps their time gets them, as if they had come late: for the time that
// the finest tier has whole the coarser ones are made from it anew, before that they
// are merged into what is there. So whatever comes later, or is imported from elsewhere,
// adds to them.
type Import struct {
	Source Source
	Now    int64 // milliseconds

	// Since is, by tier, the time before which it is not given anything, in milliseconds:
	// a store that is open only for an import does not know how long the server keeps its
	// tiers. What is said for the finest one holds for good: what comes late before that
	// is merged into the coarser tiers.
	Since []int64

	// Buckets is read once, by the worker. Series ascend. The buckets of one are in any
	// order; they may come in pieces, of which each begins in a later segment of the
	// coarsest tier than the one before has.
	Buckets iter.Seq2[uint32, []bucket.Bucket]
	// Through is asked afterwards for the position that this reaches, or why nothing of it
	// is to be taken.
	Through func() (Position, error)
}

// maxImports bounds the sources that a store remembers, 32 bytes each.
const maxImports = 1024

// imported is how far a source has come.
type imported struct {
	source   Source
	position Position
}

// importing is what Import asks of the worker.
type importing struct {
	Import
	done chan<- error // capacity 1
}

// Import returns when everything is in synced files and counts, or with an error, and
// then nothing of it does. Any goroutine.
func (s *Store) Import(i Import) error {
	done := make(chan error, 1)
	select {
	case s.imports <- importing{i, done}:
	case <-s.stopped:
		return s.errStopped()
	}
	return s.answer(done)
}

// Imported is how far a source has come; the zero Position if it is not known. Any
// goroutine.
func (s *Store) Imported(source Source) Position {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := s.current.imported(source); i >= 0 {
		return s.current.imports[i].position
	}
	return Position{}
}

func (v *version) imported(source Source) int {
	return slices.IndexFunc(v.imports, func(i imported) bool { return i.source == source })
}

// sourceError is one of what is imported, or of the order that it comes in. The store
// itself is well.
type sourceError struct{ error }

func (e sourceError) Unwrap() error { return e.error }

// importFrom answers an import. The error is one that concerns the store.
func (w *worker) importFrom(job importing) error {
	w.doing(Importing)
	w.now = max(w.now, job.Now)
	err := w.takeIn(job.Import)
	job.done <- err
	if errors.As(err, new(sourceError)) {
		return removeFrom(w.config, w.store.current.sequence)
	}
	return err
}

// takeIn writes the files of an import, and commits them.
func (w *worker) takeIn(i Import) error {
	if w.waiting != nil {
		return sourceError{errors.New("there is no room to seal, and so none for an import")}
	}
	if err := w.advance(w.store.current.sealed, w.now, nil); err != nil { // so that what is old is old
		return err
	}
	current := w.store.current
	next := current.next()
	out := newOutput(w.config, 0, next.sequence)
	defer out.abort()
	p := newPass(w.config, current, next, nil, out)
	if len(i.Since) == len(w.config.Tiers) {
		p.since = i.Since
		next.begins(bucket.Floor(i.Since[0], w.config.beat()))
	}
	if err := p.place(i.Buckets); err != nil {
		return err
	}
	w.damaged(textsOf(p.lost))
	next.lose(p.lost)
	if err := next.reach(i); err != nil {
		return sourceError{err}
	}
	made, err := w.finish(out, next)
	if err == nil {
		err = w.syncDirectory(made)
	}
	if err != nil {
		return err
	}
	return w.commit(next, made, false)
}

// begins notes that the finest tier is not given anything from before a time. It is as
// if a rule had ended it there (retained).
func (v *version) begins(time int64) {
	time = min(time, v.watermark)
	if time > v.horizons[0] {
		v.retained.shortened = max(v.retained.shortened, time)
		v.retained.partial = max(v.retained.partial, time)
	}
}

// reach enters the position of an import.
func (v *version) reach(i Import) error {
	position, err := i.Through()
	if err != nil {
		return err
	}
	v.imports = slices.Clone(v.imports)
	at := v.imported(i.Source)
	switch {
	case at >= 0 && position.Before(v.imports[at].position):
		return fmt.Errorf("the import is at %v already, and cannot go back to %v", v.imports[at].position, position)
	case at >= 0:
		v.imports[at].position = position
	case len(v.imports) == maxImports:
		return fmt.Errorf("%d sources were imported already, and more are not remembered", maxImports)
	default:
		v.imports = append(v.imports, imported{i.Source, position})
	}
	return nil
}

// place is run for series that come from elsewhere.
func (p *pass) place(pieces iter.Seq2[uint32, []bucket.Bucket]) error {
	resolution, beat := p.resolution(), p.config.beat()
	number, end := int64(-1), int64(0)
	for next, piece := range pieces {
		if len(piece) == 0 {
			continue
		}
		p.loose = append(p.loose[:0], piece...)
		bySegment(p.loose, resolution)
		switch begins := p.loose[0].FirstTime; {
		case int64(next) < number:
			return sourceError{fmt.Errorf("series %d comes after series %d", next, number)}
		case int64(next) == number && begins < end:
			return sourceError{fmt.Errorf("a piece of series %d begins at %s, where the one before has not ended", next, formatTime(begins))}
		}
		number, end = int64(next), bucket.Floor(p.loose[len(p.loose)-1].FirstTime, beat)+beat
		if err := p.looseBuckets(next); err != nil {
			return fmt.Errorf("series %d: %w", next, err)
		}
	}
	return nil
}
