package receive

import (
	"context"
	"errors"
	"strings"
	"unicode/utf8"

	"github.com/zeebo/xxh3"

	"carillon/bucket"
	"carillon/journal"
	"carillon/receive/text"
	"carillon/series"
)

// Limits on one request, so that a small body cannot ask for much memory.
const (
	maxRequestPoints   = 4 << 20 // points
	maxRequestSeries   = 1 << 20 // series that are new
	maxRequestMetadata = 1 << 16 // families that are new or changed
	maxMetadataBytes   = 4096    // bytes of a help text; longer ones are cut

	maxPooledPoints = 1 << 16 // a request that was larger than this is not used again
)

// ErrTooLarge says that a request has more points, new series or metadata than
// one request may have. The request is void.
var ErrTooLarge = errors.New("more points, new series or metadata than one request may have; send smaller ones")

// ErrBadMetadata refuses the metadata of one family.
var ErrBadMetadata = errors.New("metadata without a valid family name, or not in UTF-8")

// Request collects points for one Append: Series finds out whose points they
// are, Point and the like add them, Commit sends all of it. One goroutine owns
// it, and gives it back by Release. A Request keeps copies of what it needs, so
// buffers behind the strings it is given are free again when a call returns.
type Request struct {
	writer   *Writer
	protocol Protocol
	points   int // as the sender counts them

	parts    []*journal.Part // one a partition, as the journal wants them
	members  []member
	fresh    map[series.Key]Handle // series that the directory did not know
	arrived  map[owner]int         // to index in waiting
	waiting  []waiting             // points without a time, see Arrived
	metadata []series.Metadata
	key      []byte
}

// Handle is a series inside one Request.
type Handle int

// member is what a Handle stands for.
type member struct {
	owner owner
	kind  series.Kind
	key   series.Key // set until the series is defined: then it is in the part
	hash  uint64
}

// owner says whose a point is: a partition and a reference inside its part.
type owner struct {
	partition int
	ref       journal.Ref
}

// undefined marks a member that is unknown and has had no point yet. A series
// is defined by its first point, so that a refused one leaves no trace.
const undefined = ^journal.Ref(0)

// Begin starts a request.
func (w *Writer) Begin(protocol Protocol) *Request {
	r, ok := w.requests.Get().(*Request)
	if !ok {
		r = &Request{
			writer:  w,
			parts:   make([]*journal.Part, w.directory.Partitions()),
			fresh:   make(map[series.Key]Handle),
			arrived: make(map[owner]int),
		}
		for i := range r.parts {
			r.parts[i] = new(journal.Part)
		}
	}
	r.protocol = protocol
	return r
}

// Series finds the series of labels, which it may sort. A new one gets the kind
// its name suggests. The error is one of package series.
func (r *Request) Series(labels []series.Label) (Handle, error) {
	return r.resolve(labels, func(key series.Key) series.Kind {
		return r.writer.directory.KindOf(key.Get(series.MetricName))
	})
}

// SeriesOf is Series for a protocol that tells the kind. A series that is there
// already keeps its own.
func (r *Request) SeriesOf(kind series.Kind, labels []series.Label) (Handle, error) {
	return r.resolve(labels, func(series.Key) series.Kind { return kind })
}

func (r *Request) resolve(labels []series.Label, kindOf func(series.Key) series.Kind) (Handle, error) {
	var err error
	if r.key, err = series.AppendKey(r.key[:0], labels); err != nil {
		return 0, err
	}
	key := series.Key(text.String(r.key)) // a view: copied before it is kept
	if id, ok := r.writer.directory.Lookup(key); ok {
		return r.join(member{
			owner: owner{id.Partition(), journal.Ref(id.Number())},
			hash:  xxh3.HashString(string(key)),
		}), nil
	}
	if handle, ok := r.fresh[key]; ok {
		return handle, nil
	}
	if len(r.fresh) == maxRequestSeries {
		return 0, ErrTooLarge
	}
	key = series.Key(strings.Clone(string(key)))
	handle := r.join(member{
		owner: owner{key.Partition(len(r.parts)), undefined},
		kind:  kindOf(key),
		key:   key,
		hash:  xxh3.HashString(string(key)),
	})
	r.fresh[key] = handle
	return handle, nil
}

func (r *Request) join(m member) Handle {
	r.members = append(r.members, m)
	return Handle(len(r.members) - 1)
}

// define makes sure that the series of a handle is in the part.
func (r *Request) define(handle Handle) (owner, *journal.Part) {
	m := &r.members[handle]
	part := r.parts[m.owner.partition]
	if m.owner.ref == undefined {
		m.owner.ref = journal.FirstDefinition + journal.Ref(len(part.Definitions))
		part.Definitions = append(part.Definitions, series.Definition{Key: m.key, Kind: m.kind})
	}
	return m.owner, part
}

// Point adds one point; the time is in milliseconds since the epoch.
func (r *Request) Point(handle Handle, milliseconds int64, value float64) {
	owner, part := r.define(handle)
	part.Refs = append(part.Refs, owner.ref)
	part.Times = append(part.Times, milliseconds)
	part.Values = append(part.Values, value)
	r.points++
}

// Aggregate adds points that the sender has already summed up.
func (r *Request) Aggregate(handle Handle, b bucket.Bucket) {
	owner, part := r.define(handle)
	part.AggregateRefs = append(part.AggregateRefs, owner.ref)
	part.Aggregates = append(part.Aggregates, b)
	r.points++
}

// Describe passes metadata on if it is news. The error is ErrBadMetadata or
// ErrTooLarge.
func (r *Request) Describe(m series.Metadata) error {
	if m.Family == "" || len(m.Family) > series.MaxValueBytes || len(m.Unit) > series.MaxNameBytes ||
		!utf8.ValidString(m.Family) || !utf8.ValidString(m.Unit) || !utf8.ValidString(m.Help) {
		return ErrBadMetadata
	}
	if len(m.Help) > maxMetadataBytes {
		m.Help = strings.ToValidUTF8(m.Help[:maxMetadataBytes], "")
	}
	if r.writer.directory.Known(m) {
		return nil
	}
	if len(r.metadata) == maxRequestMetadata {
		return ErrTooLarge
	}
	r.metadata = append(r.metadata, series.Metadata{
		Family: strings.Clone(m.Family),
		Type:   strings.Clone(m.Type),
		Help:   strings.Clone(m.Help),
		Unit:   strings.Clone(m.Unit),
	})
	return nil
}

// full tells that the request has taken all that it may.
func (r *Request) full() bool { return r.points >= maxRequestPoints }

// Commit returns when the journal has acknowledged everything, or an error of
// the journal. It may be called again after an error. The hash recognises the
// request if it is sent again; it must be zero if any point came without a time.
func (r *Request) Commit(ctx context.Context, hash journal.Hash) error {
	r.stampArrivals()
	empty := true
	for _, part := range r.parts {
		part.Request = hash
		part.Metadata = r.metadata
		empty = empty && part.Empty()
	}
	if empty {
		return nil
	}
	if err := r.writer.journal.Append(ctx, r.parts); err != nil {
		return err
	}
	r.writer.received[r.protocol.index()].Add(uint64(r.points))
	return nil
}

// Release gives a request back after a successful Commit, or without one. After
// a failed one the journal may still be reading its parts: let it go instead.
func (r *Request) Release() {
	if r.points > maxPooledPoints || len(r.fresh) > maxPooledPoints || len(r.metadata) > maxPooledPoints {
		return
	}
	r.reset()
	r.writer.requests.Put(r)
}

// reset empties the request, and keeps its memory.
func (r *Request) reset() {
	for _, part := range r.parts {
		clear(part.Definitions)
		*part = journal.Part{
			Definitions:   part.Definitions[:0],
			Refs:          part.Refs[:0],
			Times:         part.Times[:0],
			Values:        part.Values[:0],
			AggregateRefs: part.AggregateRefs[:0],
			Aggregates:    part.Aggregates[:0],
		}
	}
	clear(r.members)
	clear(r.metadata)
	clear(r.fresh)
	clear(r.arrived)
	r.members, r.metadata, r.waiting, r.points = r.members[:0], r.metadata[:0], r.waiting[:0], 0
}
