package store

import (
	"cmp"
	"errors"
	"slices"
	"sync/atomic"

	"carillon/bucket"
	"carillon/series"
	"carillon/store/page"
)

// version is the set of live files at one moment, and what is known of them. It
// never changes; the worker makes the next one and the store swaps them. Who
// holds a reference sees its files until it lets go, whatever is committed
// meanwhile.
//
// Times are milliseconds. Two lines divide it, both on the beat of the coarsest
// tier, with horizons[0] <= watermark:
//
//	horizons[i]  tier i keeps nothing that starts before it; neither ever goes back
//	watermark    what starts before it is in every tier that keeps it; from there
//	             on it is only in the finest one
type version struct {
	sealed    uint64
	watermark int64
	horizons  []int64
	retained  retained
	sequence  uint64     // of the next file
	files     [][]*file  // by tier, in commit order
	graves    []*grave   // none of them ever changes
	buried    listedFile // where the graves stand; sequence 0 without any
	imports   []imported // never written to
	losses    []loss     // likewise

	refs atomic.Int32
}

// next is a copy to be changed and committed.
func (v *version) next() *version {
	n := &version{
		sealed: v.sealed, watermark: v.watermark, horizons: slices.Clone(v.horizons), retained: v.retained,
		sequence: v.sequence, graves: v.graves, buried: v.buried, imports: v.imports, losses: v.losses,
	}
	for _, files := range v.files {
		n.files = append(n.files, slices.Clone(files))
	}
	return n
}

// expire leaves out what the tiers no longer keep.
func (v *version) expire() {
	v.forget()
	for tier, horizon := range v.horizons {
		v.files[tier] = slices.DeleteFunc(v.files[tier], func(f *file) bool { return f.last < horizon })
	}
}

// hold takes the first reference, and through it one of each file.
func (v *version) hold() {
	v.refs.Add(1)
	for _, files := range v.files {
		for _, f := range files {
			f.refs.Add(1)
		}
	}
}

// release gives a reference back; the last one lets go of the files. The error is
// of closing and removing files that are no longer needed.
func (v *version) release() error {
	if v.refs.Add(-1) > 0 {
		return nil
	}
	var errs []error
	for _, files := range v.files {
		for _, f := range files {
			errs = append(errs, f.release())
		}
	}
	return errors.Join(errs...)
}

func (v *version) manifest(tiers []Tier) *manifest {
	m := &manifest{
		sealed: v.sealed, watermark: v.watermark, clock: v.retained.clock, shortened: v.retained.shortened,
		sequence: v.sequence, buried: v.buried, imports: v.imports, losses: v.losses,
	}
	for i, t := range tiers {
		listed := listedTier{resolution: t.Resolution.Milliseconds(), horizon: v.horizons[i]}
		for _, f := range v.files[i] {
			listed.files = append(listed.files, listedPages{
				listedFile{f.sequence, f.size, f.crc}, f.first, f.last, f.high(), f.buckets,
			})
		}
		m.tiers = append(m.tiers, listed)
	}
	return m
}

// reader reads a version's files series by series, cheapest in ascending order.
// Not for concurrent use.
type reader struct {
	files   [][]*file
	graves  []*grave
	cursors map[*file]*cursor
	spare   []*cursor // of versions before, for their scratch memory
	decoder page.Decoder
	scratch []bucket.Bucket
	row     []*file // scratch
	finest  fold    // scratch
}

func newReader(v *version) *reader {
	r := &reader{cursors: make(map[*file]*cursor)}
	r.turn(v)
	return r
}

// turn makes it a reader of another version, nil for none, and keeps its memory.
func (r *reader) turn(v *version) {
	for f, c := range r.cursors {
		c.close()
		r.spare = append(r.spare, c)
		delete(r.cursors, f)
	}
	clear(r.row)
	r.files, r.graves = nil, nil
	if v != nil {
		r.files, r.graves = v.files, v.graves
	}
}

func (r *reader) cursor(tier int, f *file) *cursor {
	c := r.cursors[f]
	if c == nil {
		if n := len(r.spare); n > 0 {
			c, r.spare = r.spare[n-1], r.spare[:n-1]
		} else {
			c = newCursor(nil, &r.decoder)
		}
		c.file, c.tier = f, tier
		for _, g := range r.graves {
			if g.concerns(tier, f) {
				c.graves = append(c.graves, g)
			}
		}
		r.cursors[f] = c
	}
	return c
}

// lay puts what a tier's files have of a series in [from, to) onto out, in commit
// order. With undisturbed, which tells whether nothing is to be laid over a span, a whole
// page may come as one bucket (cursor.summed).
func (r *reader) lay(out *fold, tier int, number uint32, from, to int64, undisturbed func(span) bool) error {
	for _, f := range r.files[tier] {
		if !f.overlaps(from, to) {
			continue
		}
		var alone func(span) bool
		if undisturbed != nil {
			others := func(s span) bool {
				return slices.ContainsFunc(r.files[tier], func(o *file) bool { return o != f && o.overlaps(s.from, s.to) })
			}
			alone = func(s span) bool { return undisturbed(s) && !others(s) }
		}
		var err error
		if r.scratch, err = r.cursor(tier, f).summed(number, from, to, alone, r.scratch[:0]); err != nil {
			return err
		}
		out.add(r.scratch, f.replaces)
	}
	return nil
}

// apart is a tier's files that have segments in [from, to), oldest first, if no two of them are of
// the same time; otherwise it reports false. They are valid until the next call.
func (r *reader) apart(tier int, from, to int64) (_ []*file, ok bool) {
	r.row = r.row[:0]
	for _, f := range r.files[tier] {
		if f.overlaps(from, to) {
			r.row = append(r.row, f)
		}
	}
	slices.SortFunc(r.row, func(a, b *file) int { return cmp.Compare(a.first, b.first) })
	for i := 1; i < len(r.row); i++ {
		if r.row[i].first <= r.row[i-1].last {
			return nil, false
		}
	}
	return r.row, true
}

// each shows what files of a tier, one after the other, have of a series in [from, to).
func (r *reader) each(tier int, files []*file, number uint32, from, to int64, visit func([]bucket.Bucket) error) error {
	for _, f := range files {
		c := r.cursor(tier, f)
		taken := c.deleted(number)
		var refused error
		err := c.each(number, from, to, nil, func(s page.Strip) (_ bool, err error) {
			if r.scratch, err = c.left(s, from, to, taken, r.scratch[:0]); err == nil && len(r.scratch) > 0 {
				refused = visit(r.scratch)
			}
			return refused == nil, err
		})
		if err == nil {
			err = refused // as it is: it is not the file's
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// samples appends what a tier's files have of a series in [from, to), if that is
// samples in order, one a segment: then it does not matter which file replaces and
// which merges. Files of the same time are read in commit order. Otherwise it reports
// false, and nothing is appended.
func (r *reader) samples(tier int, number uint32, from, to int64, dst columns) (_ columns, ok bool, err error) {
	files, ok := r.apart(tier, from, to)
	if !ok {
		files = r.files[tier]
	}
	had := dst.len()
	for _, f := range files {
		if !f.overlaps(from, to) {
			continue
		}
		old := dst.len()
		if dst, ok, err = r.cursor(tier, f).samples(number, from, to, dst); err != nil || !ok {
			return dst.slice(0, had), false, err
		}
		if old > had && old < dst.len() && !dst.slice(old-1, old+1).oneEach(f.resolution) {
			return dst.slice(0, had), false, nil
		}
	}
	return dst, true, nil
}

// fine is what the finest tier has of a series in a span, with loose buckets,
// sorted by segment, merged in. It is valid until the next call.
func (r *reader) fine(number uint32, kind series.Kind, resolution int64, s span, loose []bucket.Bucket) ([]bucket.Bucket, error) {
	r.finest.reset(kind, resolution)
	if err := r.lay(&r.finest, 0, number, s.from, s.to, nil); err != nil {
		return nil, err
	}
	r.finest.add(within(loose, s.from, s.to), false)
	return r.finest.acc, nil
}

// next is the first series from number on that files of a tier with segments in
// [from, to) have.
func (r *reader) next(tier int, number uint32, from, to int64) (next uint32, ok bool, err error) {
	for _, f := range r.files[tier] {
		if !f.overlaps(from, to) {
			continue
		}
		n, found, err := r.cursor(tier, f).following(number)
		if err != nil {
			return 0, false, err
		}
		if found && (!ok || n < next) {
			next, ok = n, true
		}
	}
	return next, ok, nil
}
