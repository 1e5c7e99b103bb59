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

// Request collects points for one Append: a Handle says whose they are, Point and
// the like add them, Commit sends all of it. Handles come from the cache of spellings
// (lookups) or from Series. One goroutine owns a Request, and gives it back by
// Release. It keeps copies of what it needs, so buffers behind the strings it is
// given are free again when a call returns.
type Request struct {
	writer    *Writer
	protocol  Protocol
	announced bool // to the journal
	points    int  // as the sender counts them

	parts    []*journal.Part       // one a partition, as the journal wants them
	fresh    map[series.Key]Handle // series that the directory did not know
	members  []member              // the same, as their Handles number them
	waiting  waiting               // points without a time, see Arrived
	metadata []series.Metadata
	key      []byte // scratch
	kept     []byte // where the keys of members stand; never written again
}

// Handle says whose a point is. That of a series with an id is the id, with
// arrivalSlotBits of the hash of its key in front, and is the same in all requests:
//
//	bit 63: 0 | 62: 0 | 61…48 arrival slot | 47…32 partition | 31…0 number
//
// That of a series without one is freshHandle and an index to the members of the
// one Request.
type Handle uint64

const (
	freshHandle   Handle = 1 << 63
	slotAt               = 48
	maxPartitions        = 1 << 16
)

// handleOf is the handle of a series with an id. Every spelling of a series must
// lead to the same one, so the hash is that of its key.
func handleOf(id series.ID, hash uint64) Handle {
	return Handle(hash%arrivalSlots)<<slotAt | Handle(id)
}

func (h Handle) isFresh() bool { return h&freshHandle != 0 }

// member is a series without an id.
type member struct {
	partition int
	ref       journal.Ref
	kind      series.Kind
	key       series.Key
	hash      uint64
}

// undefined marks a member that has had no point yet. A series is defined by its
// first point, so that a refused one leaves no trace.
const undefined = ^journal.Ref(0)

// Begin starts a request, whose points are at hand: the journal's writer may wait for
// them, not for what has yet to arrive.
func (w *Writer) Begin(protocol Protocol) *Request {
	r, ok := w.requests.Get().(*Request)
	if !ok {
		r = &Request{
			writer: w,
			parts:  make([]*journal.Part, w.directory.Partitions()),
			fresh:  make(map[series.Key]Handle),
		}
		for i := range r.parts {
			r.parts[i] = new(journal.Part)
		}
	}
	r.protocol = protocol
	w.journal.Announce()
	r.announced = true
	return r
}

// withdraw ends the announcement, unless that was done.
func (r *Request) withdraw() {
	if r.announced {
		r.announced = false
		r.writer.journal.Withdraw()
	}
}

// Series finds the series of labels, which it may sort. A new one gets the kind
// its name suggests. The error is one of package series, or of Config.Admit.
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
		return handleOf(id, xxh3.HashString(string(key))), nil
	}
	if handle, ok := r.fresh[key]; ok {
		return handle, nil
	}
	if len(r.members) == maxRequestSeries {
		return 0, ErrTooLarge
	}
	if err := r.writer.admit(key); err != nil {
		return 0, err
	}
	key = r.keep(r.key)
	handle := freshHandle | Handle(len(r.members))
	r.members = append(r.members, member{
		partition: key.Partition(len(r.parts)),
		ref:       undefined,
		kind:      kindOf(key),
		key:       key,
		hash:      xxh3.HashString(string(key)),
	})
	r.fresh[key] = handle
	return handle, nil
}

// keptBytes is how much is allocated at a time for keys of new series.
const keptBytes = 16 << 10

// keep copies a key to where it stays: a block is only ever appended to.
func (r *Request) keep(key []byte) series.Key {
	if len(r.kept)+len(key) > cap(r.kept) {
		r.kept = make([]byte, 0, max(keptBytes, len(key)))
	}
	start := len(r.kept)
	r.kept = append(r.kept, key...)
	return series.Key(text.String(r.kept[start:]))
}

// place is where the points of a handle go, and under which reference.
func (r *Request) place(h Handle) (*journal.Part, journal.Ref) {
	if h.isFresh() {
		return r.define(h)
	}
	return r.parts[h>>32&(maxPartitions-1)], journal.Ref(uint32(h))
}

// define makes sure that a series without an id is in the part.
func (r *Request) define(h Handle) (*journal.Part, journal.Ref) {
	m := &r.members[h&^freshHandle]
	part := r.parts[m.partition]
	if m.ref == undefined {
		m.ref = journal.FirstDefinition + journal.Ref(len(part.Definitions))
		part.Definitions = append(part.Definitions, series.Definition{Key: m.key, Kind: m.kind})
	}
	return part, m.ref
}

// Point adds one point; the time is in milliseconds since the epoch.
func (r *Request) Point(h Handle, milliseconds int64, value float64) {
	part, ref := r.place(h)
	part.Refs = append(part.Refs, ref)
	part.Times = append(part.Times, milliseconds)
	part.Values = append(part.Values, value)
	r.points++
}

// Aggregate adds points that the sender has already summed up.
func (r *Request) Aggregate(h Handle, b *bucket.Bucket) {
	part, ref := r.place(h)
	part.AggregateRefs = append(part.AggregateRefs, ref)
	part.Aggregates = append(part.Aggregates, *b)
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
	r.withdraw()
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
	r.withdraw()
	if r.points > maxPooledPoints || len(r.members) > maxPooledPoints || len(r.metadata) > maxPooledPoints {
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
	r.waiting.reset()
	r.members, r.metadata, r.points = r.members[:0], r.metadata[:0], 0
}
