package journal

import (
	"iter"
	"time"

	"carillon/bucket"
	"carillon/series"
)

// Hash recognises a request that is sent again. The zero Hash means that a
// repetition cannot be recognised, and that every one counts.
type Hash [16]byte

// Part is what one request brings to one partition: series it defines, and
// points, in columns. One journal message carries the parts of many requests.
type Part struct {
	Request     Hash
	Definitions []series.Definition
	Metadata    []series.Metadata

	// The points. Refs[i] says whose point i is, see Ref.
	Refs   []Ref
	Times  []int64 // milliseconds since the epoch
	Values []float64

	// Points that were aggregated before they were sent.
	AggregateRefs []Ref
	Aggregates    []bucket.Bucket
}

// Ref names a series inside one part: below FirstDefinition it is the number of
// a series in the partition; from there on, the index of one of the part's own
// definitions, whose number only the journal's order decides.
type Ref uint64

// FirstDefinition is the Ref of a part's first definition.
const FirstDefinition Ref = 1 << 32

// Points is how many points the part carries, aggregates included.
func (p *Part) Points() int { return len(p.Refs) + len(p.AggregateRefs) }

// Empty tells that the part carries nothing at all.
func (p *Part) Empty() bool {
	return p.Points() == 0 && len(p.Definitions) == 0 && len(p.Metadata) == 0
}

// Message is one entry of the journal, as one partition sees it.
type Message struct {
	Sequence uint64 // position in the stream, from 1
	// Time is when the journal stored it, to the millisecond: the clock of everything
	// behind the journal. It stands in the message, so that it is the same whenever
	// and wherever that is read.
	Time time.Time
	Err  error // why the message could not be decoded; it has no parts then

	encoded []byte // the partition's parts
}

// Parts are what the message brings to the partition, one after the other; often
// there are none. Each is valid until the next, and shares the decoder's memory; only
// its strings may be kept. The first error, which wraps ErrCorrupt, ends them.
func (m *Message) Parts(d *Decoder) iter.Seq2[*Part, error] { return d.decode(m.encoded) }
