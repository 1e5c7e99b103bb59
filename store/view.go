package store

import (
	"math"

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
	*workspace
}

// workspace is what a view works with. The store keeps it for the next one: it is
// memory, of which a query over a long range needs much.
type workspace struct {
	reader *reader
	ladder *ladder
	out    fold            // scratch, as are the next two
	loose  []bucket.Bucket // what is in no file
	spans  []span
}

func (s *Store) workspace(v *version) *workspace {
	w, ok := s.workspaces.Get().(*workspace)
	if !ok {
		return &workspace{reader: newReader(v), ladder: newLadder(s.config.Tiers)}
	}
	w.reader.turn(v)
	return w
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
	v.workspace = s.workspace(v.version)
	return v
}

// Close lets go of the files and of the memory. It must be called once.
func (v *View) Close() {
	v.base.release()
	v.sealing.release()
	v.store.release(v.version)
	v.reader.turn(nil)
	v.store.workspaces.Put(v.workspace)
	v.workspace = nil
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
	return v.read(number, tier, from, to, nil, dst)
}

// ReadSums is Read for those who want no more than counts, sums, least and largest of all that
// is in [from, to]: it may put one bucket in the place of many. Of such a one only these
// four are known; its times are the starts of the first and the last segment. So long
// ranges are answered from the index.
func (v *View) ReadSums(number uint32, tier int, from, to int64, dst []bucket.Bucket) ([]bucket.Bucket, error) {
	whole := func(s span) bool { return s.from >= from && s.to-1 <= to && len(within(v.loose, s.from, s.to)) == 0 }
	return v.read(number, tier, from, to, whole, dst)
}

func (v *View) read(number uint32, tier int, from, to int64, undisturbed func(span) bool, dst []bucket.Bucket) ([]bucket.Bucket, error) {
	from, to = v.segments(number, tier, from, to)
	if from >= to {
		return dst, nil
	}
	v.gather(number)
	if err := v.layAll(number, tier, from, to, undisturbed); err != nil {
		return dst, err
	}
	return append(dst, v.out.acc...), nil
}

// layAll puts what there is of a series in [from, to), files and loose buckets, onto out.
func (v *View) layAll(number uint32, tier int, from, to int64, undisturbed func(span) bool) error {
	v.out.reset(v.store.config.Kind(number), v.store.resolution(tier))
	v.out.coarse = tier > 0
	if tier > 0 {
		return v.coarse(number, tier, from, to, undisturbed)
	}
	if err := v.reader.lay(&v.out, 0, number, from, to, undisturbed); err != nil {
		return err
	}
	v.out.add(within(v.loose, from, to), false)
	return nil
}

// Scan is Read for those who keep nothing: it shows the buckets to visit piece by piece, oldest
// first, as the files have them, and puts together only what must be.
func (v *View) Scan(number uint32, tier int, from, to int64, visit func([]bucket.Bucket) error) error {
	from, to = v.segments(number, tier, from, to)
	v.gather(number)
	end := to
	if tier > 0 {
		end = min(to, v.version.watermark)
	}
	if from < end && len(within(v.loose, from, end)) == 0 {
		if files, ok := v.reader.apart(tier, from, end); ok {
			if err := v.reader.each(tier, files, number, from, end, visit); err != nil {
				return err
			}
			from = end
		}
	}
	if from >= to {
		return nil
	}
	if err := v.layAll(number, tier, from, to, nil); err != nil || len(v.out.acc) == 0 {
		return err
	}
	return visit(v.out.acc)
}

// segments is the time of those segments that overlap [from, to] and are kept.
func (v *View) segments(number uint32, tier int, from, to int64) (first, end int64) {
	resolution := v.store.resolution(tier)
	first = max(bucket.Floor(max(from, minTime), resolution), v.version.horizon(&v.store.config, number, tier))
	return first, bucket.Floor(min(to, maxTime), resolution) + resolution
}

// Samples is what Read is for the finest tier, but much faster, of a series that has
// nothing but samples there, at most one a segment: it appends their times and
// values, of which bucket.StaleNaN is a staleness marker. Of other series it reports
// false and appends nothing.
func (v *View) Samples(number uint32, from, to int64, times []int64, values []float64) (_ []int64, _ []float64, ok bool, err error) {
	from, to = v.segments(number, 0, from, to)
	if from >= to {
		return times, values, true, nil
	}
	got, ok, err := v.reader.samples(0, number, from, to, columns{times, values})
	if err != nil || !ok {
		return times, values, false, err
	}
	v.gather(number)
	if got, ok = got.appendLoose(within(v.loose, from, to), len(times), v.store.resolution(0)); !ok {
		return times, values, false, nil
	}
	return got.times, got.values, true, nil
}

// appendLoose appends buckets, if they are samples, and together with those from an index on
// still at most one a segment.
func (c columns) appendLoose(loose []bucket.Bucket, index int, resolution int64) (_ columns, ok bool) {
	before := max(index, c.len()-1)
	for i := range loose {
		b := &loose[i]
		switch {
		case isSample(b):
			c.times, c.values = append(c.times, b.LastTime), append(c.values, b.Last)
		case isMarker(b):
			c.times, c.values = append(c.times, b.StaleTime), append(c.values, math.Float64frombits(bucket.StaleNaN))
		default:
			return c, false
		}
	}
	return c, c.slice(before, c.len()).oneEach(resolution)
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
func (v *View) coarse(number uint32, tier int, from, to int64, undisturbed func(span) bool) error {
	watermark, whole := v.version.watermark, v.version.whole(&v.store.config, number)
	if err := v.reader.lay(&v.out, tier, number, from, min(to, watermark), undisturbed); err != nil {
		return err
	}
	v.spans = touched(v.loose, v.out.resolution, max(from, whole), min(to, watermark), v.spans[:0])
	if to > watermark {
		v.spans = append(v.spans, span{max(from, watermark), to})
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
