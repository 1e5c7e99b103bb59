package page

import (
	"math"
	"slices"

	"carillon/bucket"
)

// wholes is the inverse of Encoder.wholes.
func (d *Decoder) wholes(s Strip, dst []bucket.Bucket) ([]bucket.Bucket, error) {
	flags, n, first := d.open(s)
	d.sampleTimes = slices.Grow(d.sampleTimes[:0], n)[:n]
	d.sampleTimes[0] = first
	d.times(flags>>timesShift&timesMask, d.sampleTimes, s.shape.step)
	if flags>>valuesShift != 0 {
		d.fail("unknown flags")
	}
	r := &d.rolled
	r.size(n)
	old := len(dst)
	buckets := slices.Grow(dst, n)[:old+n]
	d.long = sized(d.long, n)
	d.ints(d.long)
	for i := range d.long {
		b := &buckets[old+i]
		b.FirstTime = d.sampleTimes[i]
		b.LastTime = b.FirstTime + int64(d.long[i])
	}
	d.ints(r.counts)
	stale := sized(d.stale, n)
	d.stale = stale
	d.ints(stale)
	scale := int(d.byte())
	if scale > maxScale && scale != scaleRaw {
		d.fail("an unknown scale")
	}
	for c := 0; c < floatColumns && d.wrong == ""; c++ {
		d.floats(c, scale)
	}
	if err := d.close(s); err != nil {
		return dst, err
	}
	for i := range r.counts {
		b := &buckets[old+i]
		b.Count, b.StaleTime = r.counts[i], int64(stale[i])
		b.First, b.Last = r.floats[columnFirst][i], r.floats[columnLast][i]
		b.Min, b.Max = r.floats[columnMin][i], r.floats[columnMax][i]
		b.Sum, b.M2, b.Resets = r.floats[columnSum][i], r.floats[columnM2][i], r.floats[columnResets][i]
	}
	return buckets, nil
}

// ints is the inverse of appendInts.
func (d *Decoder) ints(xs []uint64) {
	form := d.byte()
	if form == intsSame {
		x := d.uvarint()
		for i := range xs {
			xs[i] = x
		}
		return
	}
	inRice := form&coded != 0
	form &^= coded
	order := int(form) - intsPacked
	if order < 0 || form > intsSecond || len(xs) <= order {
		d.fail("an unknown form of integers")
		return
	}
	for i := range order {
		xs[i] = d.varint()
	}
	d.column(xs[order:], inRice)
	for i := order - 1; i >= 0; i-- {
		x := xs[i]
		for j := i + 1; j < len(xs); j++ {
			x += xs[j]
			xs[j] = x
		}
	}
}

// floats is the inverse of appendFloats.
func (d *Decoder) floats(c, scale int) {
	r := &d.rolled
	scaled := scale != scaleRaw && c < scaledColumns
	form := d.byte()
	inRice := form&coded != 0
	if inRice && form != floatsScaled|coded && form != floatsDistance|coded {
		d.fail("an unknown form of floats")
		return
	}
	switch form &^= coded; {
	case form == floatsPredicted:
		d.predicted(c)
		if scaled {
			r.decimals[c].force(r.floats[c], scale)
		}
	case form == floatsScaled && scaled:
		d.guessed(c, scale, inRice)
	case form == floatsDistance && !scaled:
		d.distance(c, inRice)
	case form == floatsXOR && !scaled:
		d.xor(r.floats[c])
	case form == floatsRaw && !scaled:
		d.raw(r.floats[c])
	default:
		d.fail("an unknown form of floats")
	}
}

// guessed is the inverse of appendGuessed.
func (d *Decoder) guessed(c, scale int, inRice bool) {
	r := &d.rolled
	n := len(r.counts)
	r.decimals[c].numbers = sized(r.decimals[c].numbers, n)
	numbers := r.decimals[c].numbers
	if c == columnLast {
		d.ints(numbers)
	} else {
		which := int(d.byte())
		if which >= guesses(c) {
			d.fail("an unknown guess")
			return
		}
		rest := numbers
		if c == columnFirst {
			numbers[0] = d.varint()
			rest = rest[1:]
		}
		d.column(rest, inRice)
		d.long = sized(d.long, n)
		r.guess(c, which, d.long)
		for i, x := range d.long {
			numbers[i] += x
		}
	}
	unfill(r.floats[c], numbers, scale)
	if c != columnSum {
		d.exceptions(r.floats[c])
		return
	}
	d.long = sized(d.long, n)
	d.ints(d.long)
	for i, off := range d.long {
		r.floats[c][i] = math.Float64frombits(math.Float64bits(r.floats[c][i]) + off)
	}
}

// distance is the inverse of appendDistance.
func (d *Decoder) distance(c int, inRice bool) {
	r := &d.rolled
	shift := int(d.byte())
	if shift > 63 {
		d.fail("an unknown shift")
		return
	}
	d.long = sized(d.long, len(r.counts))
	d.column(d.long, inRice)
	if c == columnLast { // each is predicted from the one before
		before := uint64(0)
		for i, x := range d.long {
			before = (x + rounded(before, shift)) << shift
			r.floats[c][i] = math.Float64frombits(before)
		}
		return
	}
	d.expected = sized(d.expected, len(r.counts))
	r.predict(c, d.expected)
	for i, x := range d.long {
		r.floats[c][i] = math.Float64frombits((x + rounded(d.expected[i], shift)) << shift)
	}
}

// predicted fills a column with what it is predicted to be.
func (d *Decoder) predicted(c int) {
	r := &d.rolled
	if c == columnLast {
		clear(r.floats[c]) // 0, and so on from there
		return
	}
	d.long = sized(d.long, len(r.counts))
	r.predict(c, d.long)
	for i, x := range d.long {
		r.floats[c][i] = math.Float64frombits(x)
	}
}

func (d *Decoder) raw(values []float64) {
	for i := range values {
		values[i] = math.Float64frombits(d.u64())
	}
}
