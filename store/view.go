package store

import (
	"carillon/bucket"
)

// View is what the store held for some series at one moment: files, the head
// that is being sealed, the head and the open segments read as one. It stays as
// it is whatever the store does afterwards, and keeps files alive until it is
// closed. Any goroutine may use it, but only one at a time.
type View struct {
	store   *Store
	version *version
	sealing *head
	base    *head // held for head
	head    arena
	chains  map[uint32]chain // into head, as long as they were
	open    map[uint32]bucket.Bucket

	reader *reader
	ladder *ladder         // nil before it is needed
	out    fold            // scratch, as are the next two
	loose  []bucket.Bucket // what is in no file
	spans  []span
}

// View looks at some series. The function, which may be nil, gives the open
// segment of a series as a finest-tier bucket. Owner only; the cost is a few
// bytes a series, nothing is read yet. The view must be closed.
func (s *Store) View(numbers []uint32, open func(number uint32) (bucket.Bucket, bool)) *View {
	v := &View{store: s, base: s.head.hold(), head: s.head.arena, chains: make(map[uint32]chain), open: make(map[uint32]bucket.Bucket)}
	for _, number := range numbers {
		if c := s.head.chain(number); c.count > 0 {
			v.chains[number] = c
		}
		if open == nil {
			continue
		}
		if b, ok := open(number); ok {
			v.open[number] = b
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	v.version, v.sealing = s.current, s.sealing.hold()
	v.version.refs.Add(1)
	v.reader = newReader(v.version)
	return v
}

// Close lets go of the files and of the memory. It must be called once.
func (v *View) Close() {
	v.base.release()
	v.sealing.release()
	v.store.release(v.version)
}

// Limits of the times that Read works with, far from where they would wrap around.
const (
	minTime = -1 << 60
	maxTime = 1 << 60
)

// Read appends to dst the buckets of a series at a tier whose segments overlap
// [from, to] in milliseconds, both ends included: sorted by time, one a segment,
// those with only a staleness marker too. Nothing older than the tier's retention,
// or the one that a rule gives the series, is returned. The series must be one of those the view was made for. An error
// names the file that could not be read; dst comes back as it was.
func (v *View) Read(number uint32, tier int, from, to int64, dst []bucket.Bucket) ([]bucket.Bucket, error) {
	resolution := v.store.resolution(tier)
	from = max(bucket.Floor(max(from, minTime), resolution), v.version.horizon(&v.store.config, number, tier))
	to = bucket.Floor(min(to, maxTime), resolution) + resolution
	if from >= to {
		return dst, nil
	}
	v.gather(number)
	v.out.reset(v.store.config.Kind(number), resolution)
	if tier == 0 {
		if err := v.reader.lay(&v.out, 0, number, from, to); err != nil {
			return dst, err
		}
		v.out.add(within(v.loose, from, to), false)
		return append(dst, v.out.acc...), nil
	}
	if err := v.coarse(number, tier, from, to); err != nil {
		return dst, err
	}
	return append(dst, v.out.acc...), nil
}

// gather puts into loose what is in no file of the series, sorted by segment.
func (v *View) gather(number uint32) {
	v.loose = v.loose[:0]
	if c := v.sealing.chain(number); c.count > 0 {
		v.loose = v.sealing.read(c, v.loose)
	}
	v.loose = v.head.read(v.chains[number], v.loose)
	if b, ok := v.open[number]; ok {
		v.loose = append(v.loose, b)
	}
	bySegment(v.loose, v.store.resolution(0))
}

// coarse reads a tier that is made from the finest one. Its own files have what
// lies before the watermark. The finest tier has the rest, and is asked too
// where late data are not in files yet: then the answer is the one that the next
// seal will write. What is too old for the finest tier merges right here.
func (v *View) coarse(number uint32, tier int, from, to int64) error {
	watermark, whole := v.version.watermark, v.version.whole(&v.store.config, number)
	if err := v.reader.lay(&v.out, tier, number, from, min(to, watermark)); err != nil {
		return err
	}
	v.spans = touched(v.loose, v.out.resolution, max(from, whole), min(to, watermark), v.spans[:0])
	if to > watermark {
		v.spans = append(v.spans, span{max(from, watermark), to})
	}
	if v.ladder == nil {
		v.ladder = newLadder(v.store.config.Tiers)
	}
	for _, s := range v.spans {
		fine, err := v.reader.fine(number, v.out.kind, v.store.resolution(0), s, v.loose)
		if err != nil {
			return err
		}
		v.ladder.buckets(v.out.kind, fine, tier)
		v.out.add(v.ladder.rungs[tier].acc, true)
	}
	v.ladder.buckets(v.out.kind, within(v.loose, from, min(to, whole)), tier)
	v.out.add(v.ladder.rungs[tier].acc, false)
	return nil
}
