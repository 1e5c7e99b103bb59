package quantize

import (
	"iter"

	"carillon/bucket"
)

// Output collects what leaves a quantizer. The caller empties it.
type Output struct {
	// Kept is for the store, in journal order: segments that closed because a
	// later one began, and revisions of earlier segments. They merge with what
	// the store already has of the same segment.
	Kept Batch
	// Completed is for whoever wants the newest value: whole segments for which
	// no more points are expected, those of a series in order. Points that come
	// later all the same still count; they are in Kept.
	Completed Batch
	// Refused are the points that were not taken.
	Refused []Refusal
}

// Refusal is a point that was not taken.
type Refusal struct {
	Series  uint32
	Verdict Verdict
	Time    int64
}

// Want says whether anybody wants the completed segments that come from now on. Those that
// nobody wants are counted, and not put into Completed.
func (o *Output) Want(completed bool) { o.Completed.unwanted = !completed }

// Reset empties the output and keeps its memory.
func (o *Output) Reset() {
	o.Kept.reset()
	o.Completed.reset()
	o.Refused = o.Refused[:0]
}

// Batch is buckets of many series in an order that matters. Nearly all of them are
// buckets of one sample or of one staleness marker, as bucket.Of makes them, and
// stand as 20 bytes in columns; the others stand in Wholes, and say where in
// the order they belong.
type Batch struct {
	Numbers []uint32
	Times   []int64
	Values  []float64
	Wholes  []Whole

	unwanted bool // see Output.Want
}

// Whole is a bucket of a series.
type Whole struct {
	Series uint32
	After  uint32 // how many samples of the batch come before it
	bucket.Bucket
}

// Taker takes the buckets of a batch in order; *store.Store is one. The slices
// are only valid during the call.
type Taker interface {
	AddSamples(numbers []uint32, times []int64, values []float64)
	Add(number uint32, b *bucket.Bucket)
}

// Len is how many buckets the batch has.
func (b *Batch) Len() int { return len(b.Numbers) + len(b.Wholes) }

// Deliver gives all buckets to a taker.
func (b *Batch) Deliver(to Taker) {
	from := 0
	for i := range b.Wholes {
		w := &b.Wholes[i]
		if through := int(w.After); through > from {
			to.AddSamples(b.Numbers[from:through], b.Times[from:through], b.Values[from:through])
			from = through
		}
		to.Add(w.Series, &w.Bucket)
	}
	if from < len(b.Numbers) {
		to.AddSamples(b.Numbers[from:], b.Times[from:], b.Values[from:])
	}
}

// All yields every bucket with the number of its series.
func (b *Batch) All() iter.Seq2[uint32, bucket.Bucket] {
	return func(yield func(uint32, bucket.Bucket) bool) {
		wholes := b.Wholes
		for i := 0; i <= len(b.Numbers); i++ {
			for ; len(wholes) > 0 && int(wholes[0].After) == i; wholes = wholes[1:] {
				if !yield(wholes[0].Series, wholes[0].Bucket) {
					return
				}
			}
			if i < len(b.Numbers) && !yield(b.Numbers[i], bucket.Of(b.Times[i], b.Values[i])) {
				return
			}
		}
	}
}

func (b *Batch) sample(number uint32, s sample) {
	if b.unwanted {
		return
	}
	b.Numbers = append(b.Numbers, number)
	b.Times = append(b.Times, s.time)
	b.Values = append(b.Values, s.value)
}

func (b *Batch) whole(number uint32, whole *bucket.Bucket) {
	if b.unwanted {
		return
	}
	b.Wholes = append(b.Wholes, Whole{number, uint32(len(b.Numbers)), *whole})
}

func (b *Batch) reset() {
	b.Numbers, b.Times, b.Values, b.Wholes = b.Numbers[:0], b.Times[:0], b.Values[:0], b.Wholes[:0]
}
