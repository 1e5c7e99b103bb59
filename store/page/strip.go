package page

import (
	"encoding/binary"
	"math"
	"slices"

	"carillon/bucket"
)

// A strip begins with a byte of flags.
const (
	flagWholes  = 1 << 0 // every column of the buckets, not only times and values
	flagCount   = 1 << 1 // as many as in the page's first strip
	flagFirst   = 1 << 2 // the same first time
	timesShift  = 3      // how times are written
	timesMask   = 3
	valuesShift = 5 // how values are written, of samples
)

// Encoder is the scratch memory of Builders, any number of which may share it. Not
// for concurrent use.
type Encoder struct {
	strip   []byte
	xs, ys  []uint64
	packing []uint64
	decimal decimal
	times   []int64
	values  []float64
	rolled  rolled
}

// scratch is two columns of n numbers, valid until the next call.
func (e *Encoder) scratch(n int) (xs, ys []uint64) {
	e.xs, e.ys = sized(e.xs, n), sized(e.ys, n)
	return e.xs, e.ys
}

// head writes what all strips begin with: flags, of which some are filled in later,
// how many buckets, and the first time.
func (e *Encoder) head(flags byte, s shape, times []int64) []byte {
	dst := append(e.strip[:0], flags)
	if len(times) == s.count {
		dst[0] |= flagCount
	} else {
		dst = binary.AppendUvarint(dst, uint64(len(times)))
	}
	if times[0] == s.first {
		dst[0] |= flagFirst
	} else {
		dst = binary.AppendVarint(dst, times[0]-s.first)
	}
	dst, form := e.appendTimes(dst, times, s.step)
	dst[0] |= form << timesShift
	return dst
}

func (e *Encoder) samples(s shape, times []int64, values []float64) []byte {
	dst, form := e.appendValues(e.head(0, s, times), values)
	dst[0] |= form << valuesShift
	e.strip = dst
	return dst
}

// asSamples turns buckets into samples if they are nothing else.
func (e *Encoder) asSamples(buckets []bucket.Bucket) (times []int64, values []float64, ok bool) {
	times, values = e.times[:0], e.values[:0]
	for i := range buckets {
		b := &buckets[i]
		switch {
		case isOne(b):
			times, values = append(times, b.FirstTime), append(values, b.First)
		case isMarker(b):
			times, values = append(times, b.FirstTime), append(values, math.Float64frombits(bucket.StaleNaN))
		default:
			return nil, nil, false
		}
	}
	e.times, e.values = times, values
	return times, values, true
}

func (e *Encoder) firstTimes(buckets []bucket.Bucket) []int64 {
	e.times = e.times[:0]
	for i := range buckets {
		e.times = append(e.times, buckets[i].FirstTime)
	}
	return e.times
}

// isOne tells whether bucket.Of makes the bucket, to the bit, of its first time and
// value: NaN equals the same NaN, and 0 differs from -0.
func isOne(b *bucket.Bucket) bool {
	x := math.Float64bits(b.First)
	return b.Count == 1 && b.LastTime == b.FirstTime && b.StaleTime == 0 && x != bucket.StaleNaN &&
		math.Float64bits(b.Last) == x && math.Float64bits(b.Sum) == x &&
		math.Float64bits(b.Min) == x && math.Float64bits(b.Max) == x &&
		math.Float64bits(b.M2) == 0 && math.Float64bits(b.Resets) == 0
}

// isMarker tells the same of a staleness marker.
func isMarker(b *bucket.Bucket) bool {
	return b.Count == 0 && b.FirstTime == b.LastTime && b.StaleTime == b.FirstTime &&
		math.Float64bits(b.First)|math.Float64bits(b.Last)|math.Float64bits(b.Sum)|math.Float64bits(b.Min)|
			math.Float64bits(b.Max)|math.Float64bits(b.M2)|math.Float64bits(b.Resets) == 0
}

// setOne is bucket.Of field by field, which is several times as fast as by way of a
// copy.
func setOne(b *bucket.Bucket, time int64, value float64) {
	if math.Float64bits(value) == bucket.StaleNaN {
		*b = bucket.Of(time, value)
		return
	}
	b.FirstTime, b.LastTime = time, time
	b.First, b.Last = value, value
	b.Count = 1
	b.Sum, b.Min, b.Max = value, value, value
	b.M2, b.Resets = 0, 0
	b.StaleTime = 0
}

// Decoder reads strips. It is scratch memory that may be used for strips of any
// number of pages. Not for concurrent use.
type Decoder struct {
	cursor
	numbers      [blockLength]uint64
	long         []uint64
	stale        []uint64
	expected     []uint64
	sampleTimes  []int64
	sampleValues []float64
	rolled       rolled
}

// open reads the head of a strip.
func (d *Decoder) open(s Strip) (flags byte, count int, first int64) {
	d.cursor = cursor{data: s.data}
	flags, count, first = d.byte(), s.shape.count, s.shape.first
	if flags&flagCount == 0 {
		count = d.count()
	}
	if flags&flagFirst == 0 {
		first += int64(d.varint())
	}
	if flags>>timesShift&timesMask >= timeForms {
		d.fail("an unknown form of times")
	}
	return flags, count, first
}

// close is the error of having read a strip.
func (d *Decoder) close(s Strip) error {
	if d.wrong == "" && d.at != len(d.data) {
		d.fail("it goes on behind its last column")
	}
	if d.wrong != "" {
		return &corruption{"a strip: " + d.wrong, s.at + d.at}
	}
	return nil
}

// Samples appends a strip's samples. If it holds other buckets ok is false. A value of
// bucket.StaleNaN is a staleness marker. On an error, which wraps ErrCorrupt, and
// without samples, times and values come back as long as they were; their spare
// capacity may have been written to. It allocates only to grow them.
func (d *Decoder) Samples(s Strip, times []int64, values []float64) (_ []int64, _ []float64, ok bool, err error) {
	flags, n, first := d.open(s)
	if flags&flagWholes != 0 || d.wrong != "" {
		if d.wrong != "" {
			err = d.close(s)
		}
		return times, values, false, err
	}
	t, v := len(times), len(values)
	moreTimes, moreValues := slices.Grow(times, n)[:t+n], slices.Grow(values, n)[:v+n]
	moreTimes[t] = first
	d.times(flags>>timesShift&timesMask, moreTimes[t:], s.shape.step)
	d.values(flags>>valuesShift, moreValues[v:])
	if err := d.close(s); err != nil {
		return times, values, false, err
	}
	return moreTimes, moreValues, true, nil
}

// Buckets appends a strip's buckets, of whichever kind, under the same terms.
func (d *Decoder) Buckets(s Strip, dst []bucket.Bucket) ([]bucket.Bucket, error) {
	var ok bool
	var err error
	d.sampleTimes, d.sampleValues, ok, err = d.Samples(s, d.sampleTimes[:0], d.sampleValues[:0])
	if err != nil {
		return dst, err
	}
	if !ok {
		return d.wholes(s, dst)
	}
	old, n := len(dst), len(d.sampleTimes)
	dst = slices.Grow(dst, n)[:old+n]
	for i, t := range d.sampleTimes {
		setOne(&dst[old+i], t, d.sampleValues[i])
	}
	return dst, nil
}

// Count is how many buckets a strip has.
func (d *Decoder) Count(s Strip) (int, error) {
	_, n, _ := d.open(s)
	if d.wrong != "" {
		return 0, d.close(s)
	}
	return n, nil
}
