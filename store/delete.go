package store

import (
	"errors"
	"fmt"
	"slices"

	"carillon/bucket"
)

// Deletion says what shall go: the samples of some series with times in [From, To],
// milliseconds, both included.
type Deletion struct {
	Numbers  []uint32
	From, To int64
}

// grave is a tombstone: it hides what a deletion took from the files there were, and
// has them rewritten without it.
//
// The rule is that a deletion covers what stands in files when the worker comes to
// it, and nothing else. The owner seals first, so that is everything acknowledged
// before; whatever is acknowledged after the deletion was is kept, late points of
// the very range too. No clock and no journal position is compared for that: files are
// numbered in the order in which they are made, and a grave is of those with a
// smaller number. A file that merging makes of such files has a larger one, and has
// been made without what is deleted; one that a later seal makes was never concerned.
// The journal is replayed from behind the seal, so nothing deleted comes back from it.
//
// A bucket goes when all its samples lie in its tier's span:
//
//   - in the finest tier the span is the deletion's own. So a sample that is alone in
//     its segment goes or stays by its exact time, while a bucket of several through
//     which the range begins or ends stays whole: it cannot be taken apart.
//   - in coarser tiers the span is of whole segments. Those inside the range go. A
//     segment on the border is made anew from the finest tier, if that still has it
//     whole: then the span takes it in, and the new bucket stands in a newer file.
//     Else it stays as it is.
//
// Since every file's bucket of a coarse segment goes or none does, nothing that was
// replaced can come to light again. That would break if a coarse span cut through a
// segment, or if a grave were forgotten while a file that it is of is still live.
type grave struct {
	sequence uint64 // of the files it is of: those below
	spans    []span // by tier; empty where it takes nothing
	numbers  []uint32
}

const (
	maxGraves       = 1024     // that wait for files to be rewritten, and
	maxGraveNumbers = 16 << 20 // series of them, 4 bytes each
)

// ErrDeletesWait says that too many deletions wait for files to be rewritten.
var ErrDeletesWait = errors.New("too many earlier deletes wait for files to be rewritten")

// deleting is what Delete asks of the worker.
type deleting struct {
	Deletion
	done chan<- error // capacity 1
}

// Delete takes from the files what the deletion says. When it returns without an
// error this is hidden from every View made from then on, and durable; the bytes
// go as files are merged. What is in the head, or in a head that is being sealed when
// the worker begins, is not concerned: who wants it gone seals, and waits for that,
// first. An error of ErrDeletesWait passes by itself. Any goroutine.
func (s *Store) Delete(d Deletion) error {
	d.Numbers = slices.Clone(d.Numbers)
	slices.Sort(d.Numbers)
	d.Numbers = slices.Compact(d.Numbers)
	if len(d.Numbers) == 0 || d.From > d.To {
		return nil
	}
	done := make(chan error, 1)
	select {
	case s.deletes <- deleting{d, done}:
	case <-s.stopped:
		return s.errStopped()
	}
	return s.answer(done)
}

// answer is what the worker says to what it was asked.
func (s *Store) answer(done <-chan error) error {
	select {
	case err := <-done:
		return err
	case <-s.stopped: // it may have answered before
		select {
		case err := <-done:
			return err
		default:
			return s.errStopped()
		}
	}
}

func (s *Store) errStopped() error {
	if err := s.Err(); err != nil {
		return fmt.Errorf("the store has stopped: %w", err)
	}
	return errors.New("the store is closed")
}

// delete commits graves together with the segments on their borders, made anew.
func (w *worker) delete(d Deletion) error {
	current := w.store.current
	if err := roomFor(current.graves, len(d.Numbers)); err != nil {
		return err
	}
	next := current.next()
	m := mending{config: w.config, ladder: newLadder(w.config.Tiers), next: next, plain: newReader(current)}
	m.from, m.to = max(d.From, minTime), min(d.To, maxTime)+1
	if err := m.dig(d.Numbers); err != nil {
		return err
	}
	out := newOutput(w.config, 0, next.sequence)
	defer out.abort()
	if err := m.mend(d.Numbers, out); err != nil {
		return err
	}
	made, err := w.finish(out, next)
	if err != nil {
		return err
	}
	return w.commit(next, made, false)
}

func roomFor(graves []*grave, numbers int) error {
	for _, g := range graves {
		numbers += len(g.numbers)
	}
	// One deletion becomes up to four graves.
	if len(graves)+4 > maxGraves || numbers > maxGraveNumbers {
		return fmt.Errorf("%w (at most %d, of %d series)", ErrDeletesWait, maxGraves, maxGraveNumbers)
	}
	return nil
}

// mending digs the graves of one deletion, and makes the coarse segments that it
// cuts through anew.
type mending struct {
	config   Config
	next     *version
	from, to int64   // of the deletion, to excluded
	plain    *reader // of everything that is there
	ladder   *ladder
	sides    map[uint32]sides

	samples columns         // scratch, as is the next
	buckets []bucket.Bucket // valid until the next read
}

// sides tells which of the two segments of the coarsest tier that a range begins and
// ends in are made anew.
type sides struct{ low, high bool }

// low and high are those two segments; they may be the same one.
func (m *mending) low() span  { return segmentOf(m.from, m.config.beat()) }
func (m *mending) high() span { return segmentOf(m.to-1, m.config.beat()) }

func segmentOf(time, resolution int64) span {
	start := bucket.Floor(time, resolution)
	return span{start, start + resolution}
}

// dig puts the graves into the next version, one for all series with the same spans.
func (m *mending) dig(numbers []uint32) error {
	m.sides = make(map[uint32]sides)
	groups := make(map[sides][]uint32)
	for _, number := range numbers {
		var s sides
		var err error
		if m.from > m.low().from {
			s.low, err = m.whole(number, m.low())
		}
		if err == nil && m.to < m.high().to {
			s.high, err = m.whole(number, m.high())
		}
		if err != nil {
			return err
		}
		groups[s] = append(groups[s], number)
		if s != (sides{}) {
			m.sides[number] = s
		}
	}
	m.next.graves = slices.Clone(m.next.graves)
	for s, numbers := range groups {
		m.next.graves = append(m.next.graves, &grave{sequence: m.next.sequence, spans: m.spans(s), numbers: numbers})
	}
	return nil
}

// whole tells whether coarser buckets of a span can be made from the finest tier, and
// are in files at all. Where it has nothing, coarser buckets have another origin.
func (m *mending) whole(number uint32, s span) (bool, error) {
	if len(m.config.Tiers) == 1 || s.from >= m.next.watermark || s.from < m.next.whole(&m.config, number) {
		return false, nil
	}
	fine, err := m.read(m.plain, number, s)
	return fine || m.samples.len() > 0, err
}

// spans is what goes from each tier.
func (m *mending) spans(s sides) []span {
	spans := []span{{m.from, m.to}}
	for _, t := range m.config.Tiers[1:] {
		resolution := t.Resolution.Milliseconds()
		inside := span{-bucket.Floor(-m.from, resolution), bucket.Floor(m.to, resolution)}
		if s.low {
			inside.from = m.low().from
		}
		if s.high {
			inside.to = m.high().to
		}
		inside.to = max(inside.from, inside.to)
		spans = append(spans, inside)
	}
	return spans
}

// mend writes the segments on the borders without what is deleted.
func (m *mending) mend(numbers []uint32, out *output) error {
	left := newReader(m.next)
	for _, number := range numbers {
		s := m.sides[number]
		if s.low {
			if err := m.rebuild(left, number, m.low(), out); err != nil {
				return err
			}
		}
		if s.high && !(s.low && m.low() == m.high()) {
			if err := m.rebuild(left, number, m.high(), out); err != nil {
				return err
			}
		}
	}
	return nil
}

// read fetches what the finest tier has of a series in a span: into samples, if that is
// all there is, else into buckets, which it reports if there are any.
func (m *mending) read(r *reader, number uint32, s span) (buckets bool, err error) {
	var ok bool
	if m.samples, ok, err = r.samples(0, number, s.from, s.to, m.samples.slice(0, 0)); ok || err != nil {
		return false, err
	}
	m.buckets, err = r.fine(number, m.config.Kind(number), m.config.Tiers[0].Resolution.Milliseconds(), s, nil)
	return len(m.buckets) > 0, err
}

func (m *mending) rebuild(left *reader, number uint32, s span, out *output) error {
	buckets, err := m.read(left, number, s)
	if err != nil {
		return err
	}
	kind, top := m.config.Kind(number), len(m.config.Tiers)-1
	if buckets {
		m.ladder.buckets(kind, m.buckets, top)
	} else {
		m.ladder.samples(kind, m.samples)
	}
	for tier := 1; tier <= top; tier++ {
		made := m.ladder.rungs[tier].acc
		if err := out.addBuckets(tier, true, number, made[from(made, m.next.horizon(&m.config, number, tier)):]); err != nil {
			return err
		}
	}
	return nil
}

// concerns tells whether the grave is of a file, by its number and its times.
func (g *grave) concerns(tier int, f *file) bool {
	s := g.spans[tier]
	return f.sequence < g.sequence && s.from < s.to && f.first < s.to && f.last+f.resolution > s.from
}

func (g *grave) holds(number uint32) bool {
	_, ok := slices.BinarySearch(g.numbers, number)
	return ok
}

// encloses tells whether all of a bucket lies in the span.
func (s span) encloses(b *bucket.Bucket) bool {
	return b.FirstTime >= s.from && max(b.LastTime, b.StaleTime) < s.to
}
