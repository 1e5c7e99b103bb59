package page

import "slices"

// Parts of a strip, as Sizes counts them.
const (
	PartHead   = iota // flags, number, first time
	PartTimes         // of the first samples
	PartValues        // of buckets that are samples
	PartSpan          // and all below: of other buckets
	PartCount
	PartStale
	PartFloats // the first of the columns of floats, each of which is a part
)

// PartNames are the names of all parts, by number.
var PartNames = [...]string{"head", "times", "values", "span", "count", "stale", "last", "first", "min", "max", "sum", "m2", "resets"}

// Sizes is the bytes of a strip by part.
type Sizes [PartFloats + floatColumns]int

// Bytes is how long the strip is, and Offset where in the page it starts.
func (s Strip) Bytes() int  { return len(s.data) }
func (s Strip) Offset() int { return s.at }

// Sizes decodes a strip to see how many bytes each of its parts takes.
func (d *Decoder) Sizes(s Strip) (sizes Sizes, err error) {
	flags, n, first := d.open(s)
	at := 0
	end := func(part int) { sizes[part], at = d.at-at, d.at }
	end(PartHead)
	d.sampleTimes = slices.Grow(d.sampleTimes[:0], n)[:n]
	d.sampleTimes[0] = first
	d.times(flags>>timesShift&timesMask, d.sampleTimes, s.shape.step)
	end(PartTimes)
	if flags&flagWholes == 0 {
		d.sampleValues = slices.Grow(d.sampleValues[:0], n)[:n]
		d.values(flags>>valuesShift, d.sampleValues)
		end(PartValues)
		return sizes, d.close(s)
	}
	d.rolled.size(n)
	d.long = sized(d.long, n)
	d.ints(d.long)
	end(PartSpan)
	d.ints(d.rolled.counts)
	end(PartCount)
	d.stale = sized(d.stale, n)
	d.ints(d.stale)
	end(PartStale)
	scale := int(d.byte())
	if scale > maxScale && scale != scaleRaw {
		d.fail("an unknown scale")
	}
	for c := 0; c < floatColumns && d.wrong == ""; c++ {
		d.floats(c, scale)
		end(PartFloats + c)
	}
	return sizes, d.close(s)
}
