package journal

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"carillon/bucket"
	"carillon/series"
)

// exactly compares parts: floats by their bits, nil and empty alike.
var exactly = cmp.Options{
	cmpopts.EquateEmpty(),
	cmp.Comparer(func(a, b float64) bool { return same(a, b) }),
}

var anyValue = rapid.OneOf(
	rapid.Float64(),
	rapid.Map(rapid.Uint64(), math.Float64frombits), // NaNs of all kinds
	rapid.Map(rapid.IntRange(-1000, 1000), func(i int) float64 { return float64(i) }),
	rapid.SampledFrom([]float64{0, math.Copysign(0, -1), math.Inf(1), math.Inf(-1), math.Float64frombits(bucket.StaleNaN)}),
)

var anyTime = rapid.OneOf(
	rapid.Int64(),
	rapid.Int64Range(1_700_000_000_000, 1_700_000_060_000),
	rapid.SampledFrom([]int64{0, 1_700_000_000_000, math.MinInt64, math.MaxInt64}),
)

var anyBucket = rapid.Custom(func(t *rapid.T) bucket.Bucket {
	value := func(name string) float64 { return anyValue.Draw(t, name) }
	return bucket.Bucket{
		FirstTime: anyTime.Draw(t, "firstTime"), LastTime: anyTime.Draw(t, "lastTime"),
		First: value("first"), Last: value("last"), Count: rapid.Uint64().Draw(t, "count"), Sum: value("sum"),
		Min: value("min"), Max: value("max"), M2: value("m2"), Resets: value("resets"),
		StaleTime: anyTime.Draw(t, "staleTime"),
	}
})

// partOf draws a part with up to maxRows points and as many aggregates.
func partOf(maxRows int) *rapid.Generator[*Part] {
	return rapid.Custom(func(t *rapid.T) *Part {
		p := &Part{}
		if rapid.Bool().Draw(t, "hashed") {
			copy(p.Request[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "request"))
		}
		for range rapid.IntRange(0, 5).Draw(t, "definitions") {
			p.Definitions = append(p.Definitions, series.Definition{
				Key:  series.Key(rapid.String().Draw(t, "key")),
				Kind: series.Kind(rapid.IntRange(0, 2).Draw(t, "kind")),
			})
		}
		for range rapid.IntRange(0, 3).Draw(t, "metadata") {
			p.Metadata = append(p.Metadata, series.Metadata{
				Family: rapid.String().Draw(t, "family"), Type: rapid.String().Draw(t, "type"),
				Help: rapid.String().Draw(t, "help"), Unit: rapid.String().Draw(t, "unit"),
			})
		}
		ref := rapid.Map(rapid.Uint32(), func(n uint32) Ref { return Ref(n) })
		if n := len(p.Definitions); n > 0 {
			own := rapid.Map(rapid.IntRange(0, n-1), func(i int) Ref { return FirstDefinition + Ref(i) })
			ref = rapid.OneOf(ref, own)
		}
		rows := rapid.IntRange(0, maxRows)
		n := rows.Draw(t, "points")
		p.Refs = rapid.SliceOfN(ref, n, n).Draw(t, "refs")
		p.Times = rapid.SliceOfN(anyTime, n, n).Draw(t, "times")
		p.Values = rapid.SliceOfN(anyValue, n, n).Draw(t, "values")
		n = rows.Draw(t, "aggregates")
		p.AggregateRefs = rapid.SliceOfN(ref, n, n).Draw(t, "aggregateRefs")
		p.Aggregates = rapid.SliceOfN(anyBucket, n, n).Draw(t, "buckets")
		if p.Empty() {
			p.Request = Hash{1}
		}
		return p
	})
}

// encode is a message as the writer makes it: parts[p] are for partition p.
func encode(t interface{ Fatal(...any) }, at time.Time, parts ...[]*Part) []byte {
	b := batch{shares: make([]share, len(parts))}
	b.clear()
	var requests []*request
	for round := 0; ; round++ { // each request has one part of each partition
		all, some := make([]*Part, len(parts)), false
		for partition := range parts {
			if round < len(parts[partition]) {
				all[partition], some = parts[partition][round], true
			}
		}
		if !some {
			break
		}
		r := newRequest()
		for partition, p := range all {
			if p != nil {
				if err := r.add(partition, p, maxSectionsBytes); err != nil {
					t.Fatal(err)
				}
			}
		}
		requests = append(requests, r)
	}
	for _, r := range requests {
		for i := range r.sections {
			if !b.add(r, i, maxSectionsBytes) {
				t.Fatal("the parts do not fit a message")
			}
		}
	}
	message := b.message(at)
	for partition := range parts {
		if opened, err := openMessage(message); err != nil || !bytes.Equal(opened.of(partition), b.of(partition, message)) {
			t.Fatal("readers are offered something else than the message holds", err)
		}
	}
	return message
}

// decode is what a partition finds in a message.
func decode(message []byte, partition int) (at time.Time, parts []Part, err error) {
	opened, err := openMessage(message)
	if err != nil {
		return opened.at, nil, err
	}
	parts, err = decodeParts(opened.of(partition))
	return opened.at, parts, err
}

func decodeParts(encoded []byte) (parts []Part, err error) {
	return collect(&Message{encoded: encoded})
}

// collect is a message's parts in memory of their own.
func collect(m *Message) (parts []Part, err error) {
	var d Decoder
	for part, err := range m.Parts(&d) {
		if err != nil {
			return nil, err
		}
		one := *part
		one.Definitions, one.Metadata = slices.Clone(one.Definitions), slices.Clone(one.Metadata)
		one.Refs, one.Times, one.Values = slices.Clone(one.Refs), slices.Clone(one.Times), slices.Clone(one.Values)
		one.AggregateRefs, one.Aggregates = slices.Clone(one.AggregateRefs), slices.Clone(one.Aggregates)
		parts = append(parts, one)
	}
	return parts, nil
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		parts := make([][]*Part, rapid.IntRange(1, 5).Draw(t, "partitions"))
		for i := range parts {
			parts[i] = rapid.SliceOfN(partOf(20), 0, 4).Draw(t, "parts")
		}
		want := time.UnixMilli(rapid.Int64Range(0, 1<<60).Draw(t, "time"))
		message := encode(t, want, parts...)
		for i := range parts {
			at, got, err := decode(message, i)
			if err != nil || !at.Equal(want) {
				t.Fatalf("time %s, want %s; error %v", at, want, err)
			}
			if diff := cmp.Diff(plain(parts[i]), got, exactly); diff != "" {
				t.Fatalf("partition %d: want -, got +\n%s", i, diff)
			}
		}
	})
}

func plain(parts []*Part) (plain []Part) {
	for _, p := range parts {
		plain = append(plain, *p)
	}
	return plain
}

// A value comes back to the bit, whatever it is, and in whatever form; next to
// each other they do not disturb each other.
func TestValues(t *testing.T) {
	values := []float64{0, 1, -1, 127, 128, -128, -129, 1 << 47, 1<<47 - 1, -1 << 47, 1 << 53, 1 << 62, -1 << 63, 1 << 63, 1 << 64,
		0.1, 0.01, 0.001, 1e-6, 1e-7, -0.5, 99.99, 327.67, 32.768, 1e6 + 0.001, 2147.483647, 2147.483648, 123456789.12,
		math.MaxFloat64, math.SmallestNonzeroFloat64, math.Inf(1), math.Inf(-1), math.NaN(), math.Copysign(0, -1), 1 / 3.0, 0.1 + 0.2}
	for i := range 30 {
		checkValues(t, values[i:])
	}
	values = values[:0]
	for i := range 100_000 {
		values = append(values, float64(i)/100, float64(i*7919)/1000, -float64(i)/1e6)
	}
	checkValues(t, values)
}

func checkValues(t *testing.T, column []float64) {
	t.Helper()
	encoded := appendValues(nil, column)
	c := cursor{data: encoded}
	got := c.values("values", nil, len(column))
	if c.err != nil || c.at != len(encoded) {
		t.Fatalf("read %d of %d bytes: %v", c.at, len(encoded), c.err)
	}
	for i, v := range column {
		if !same(v, got[i]) {
			t.Fatalf("%v (%x) came back as %v (%x)", v, math.Float64bits(v), got[i], math.Float64bits(got[i]))
		}
	}
}

// The budget of mixed host metrics in random order; see BenchmarkEncode.
func TestBytesAPoint(t *testing.T) {
	const points = 625
	if got := float64(len(appendPart(nil, fleet(points)))) / points; got > 6 {
		t.Errorf("%.2f bytes a point", got)
	}
}

// The path of a known point allocates nothing: neither where a request is encoded nor
// where it is decoded.
func TestNothingIsAllocated(t *testing.T) {
	r, part := newRequest(), []*Part{fleet(625)}
	var d Decoder
	if n := testing.AllocsPerRun(10, func() {
		if err := r.encode(part, maxSectionsBytes); err != nil {
			t.Fatal(err)
		}
		for _, err := range d.decode(r.encoded) {
			if err != nil {
				t.Fatal(err)
			}
		}
	}); n > 1 {
		t.Errorf("%g allocations a request", n)
	}
}

// example is a part with something in every column.
func example() *Part {
	return &Part{
		Request:       Hash{0xaa, 15: 0xbb},
		Definitions:   []series.Definition{{Key: "k", Kind: series.Counter}},
		Metadata:      []series.Metadata{{Family: "f", Type: "counter", Help: "h", Unit: "s"}},
		Refs:          []Ref{7, 8, FirstDefinition},
		Times:         []int64{1000, 1000, 1000},
		Values:        []float64{42, 0, 0.1},
		AggregateRefs: []Ref{3},
		Aggregates:    []bucket.Bucket{bucket.Of(2000, 1)},
	}
}

// The format page shows these bytes; a change of them is a new version.
func TestLayout(t *testing.T) {
	part := "" +
		"1f" + // has everything
		"aa0000000000000000000000000000bb" + // request hash
		"01" + "0101" + "6b" + // one definition: counter, 1 byte; "k"
		"01" + "0166" + "07636f756e746572" + "0168" + "0173" + // one family
		"03" + "0400" + "9800" + // three points; refs in 4 bits above 0: 8, 9, 0
		"81" + "d00f01" + "0002" + // times as runs: +1000 once, +0 twice
		"0107" + "2a" + "0a" + // values: forms 1, 0, 7; 42, 10 hundredths
		"01" + "0004" + // one aggregate; its ref in 0 bits above 4
		"81a01f01" + "810001" + "810201" + "810001" + // first times, last times, counts, stale times
		"0101" + "0101" + "0101" + "0101" + "0101" + "00" + "00" // first … resets
	if got := hex.EncodeToString(appendPart(nil, example())); got != part {
		t.Errorf("part:\n got %s\nwant %s", got, part)
	}
	message := "63726a02" + "0068e5cf8b010000" + "0100" + "0100" + "17000000" + // time, one entry: partition 1, 23 bytes
		"05" + "01000000000000000000000000000000" + "01" + "0166" + "00" + "00" + "00" + // a hash, and family "f"
		"e2e7faa4"
	family := &Part{Request: Hash{1}, Metadata: []series.Metadata{{Family: "f"}}}
	if got := hex.EncodeToString(encode(t, time.UnixMilli(1_700_000_000_000), nil, []*Part{family})); got != message {
		t.Errorf("message:\n got %s\nwant %s", got, message)
	}
}

// Every single bit matters: a message with one flipped, or cut short, is refused.
func TestFlippedAndTruncated(t *testing.T) {
	message := encode(t, time.UnixMilli(1), []*Part{example()}, []*Part{gauges(10)})
	for i := range len(message) * 8 {
		message[i/8] ^= 1 << (i % 8)
		if _, _, err := decode(message, 0); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("bit %d flipped: %v", i, err)
		}
		message[i/8] ^= 1 << (i % 8)
	}
	for n := range message {
		if _, _, err := decode(message[:n], 0); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("cut to %d bytes: %v", n, err)
		}
	}
}

// gauges is a part as a scrape brings it: n known series, one time.
func gauges(n int) *Part {
	p := &Part{Request: Hash{1}}
	for i := range n {
		p.Refs = append(p.Refs, Ref(i))
		p.Times = append(p.Times, 1_700_000_000_000)
		p.Values = append(p.Values, float64(i%10))
	}
	return p
}
