package journal

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"hash/crc32"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"carillon/bucket"
	"carillon/series"
)

// same compares parts exactly: floats by their bits, nil and empty alike.
var same = cmp.Options{
	cmpopts.EquateEmpty(),
	cmp.Comparer(func(a, b float64) bool { return math.Float64bits(a) == math.Float64bits(b) }),
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

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		parts := rapid.SliceOfN(partOf(20), 0, 4).Draw(t, "parts")
		prefix := []byte("prefix")
		message := Encode(prefix, parts)
		got, err := Decode(message[len(prefix):])
		if err != nil {
			t.Fatal(err)
		}
		want := make([]Part, len(parts))
		for i, p := range parts {
			want[i] = *p
		}
		if diff := cmp.Diff(want, got, same); diff != "" {
			t.Fatalf("want -, got +\n%s", diff)
		}
	})
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
	body := "" +
		"1f" + // has everything
		"aa0000000000000000000000000000bb" + // request hash
		"01" + "01" + "016b" + // one definition: counter, "k"
		"01" + "0166" + "07636f756e746572" + "0168" + "0173" + // one family
		"03" + "0e" + "02" + "f0ffffff1f" + // three points; refs +7, +1, +4294967288
		"d00f01" + "0002" + // times: +1000 once, +0 twice
		"0208" + "4045" + "3fb999999999999a" + // values: lengths 2, 0, 8; their bytes
		"01" + "06" + // one aggregate; ref +3
		"a01f01" + "0001" + "0201" + "0001" + // first times, last times, counts, stale times
		"02" + "3ff0" + "02" + "3ff0" + "02" + "3ff0" + "02" + "3ff0" + "02" + "3ff0" + "00" + "00" // first … resets
	if got := hex.EncodeToString(appendPart(nil, example())); got != body {
		t.Errorf("part:\n got %s\nwant %s", got, body)
	}
	frame := "63726a01" + "00" + "03000000" + "616263" + "c9fe107c"
	if got := hex.EncodeToString(appendFrame(nil, []byte("abc"))); got != frame {
		t.Errorf("frame:\n got %s\nwant %s", got, frame)
	}
}

func TestCompressesWhenItPays(t *testing.T) {
	message := Encode(nil, []*Part{gauges(1000)})
	if message[len(magic)] != bodyS2 {
		t.Error("a repetitive message is not compressed")
	}
	if message = Encode(nil, []*Part{{Request: Hash{1, 2, 3, 4, 5, 6, 7}}}); message[len(magic)] != bodyPlain {
		t.Error("a tiny message is compressed")
	}
}

// Every single bit matters: a message with one flipped, or cut short, is refused.
func TestFlippedAndTruncated(t *testing.T) {
	for name, parts := range map[string][]*Part{"plain": {example()}, "s2": {gauges(100)}} {
		message := Encode(nil, parts)
		for i := range len(message) * 8 {
			message[i/8] ^= 1 << (i % 8)
			if _, err := Decode(message); !errors.Is(err, ErrCorrupt) {
				t.Fatalf("%s: bit %d flipped: %v", name, i, err)
			}
			message[i/8] ^= 1 << (i % 8)
		}
		for n := range message {
			if _, err := Decode(message[:n]); !errors.Is(err, ErrCorrupt) {
				t.Fatalf("%s: cut to %d bytes: %v", name, n, err)
			}
		}
	}
}

// seal is a message whose frame is right around any body.
func seal(compression byte, length int, body string) []byte {
	m := append([]byte(magic), compression)
	m = binary.LittleEndian.AppendUint32(m, uint32(length))
	m = append(m, body...)
	return binary.LittleEndian.AppendUint32(m, crc32.Checksum(m, crc32.MakeTable(crc32.Castagnoli)))
}

// A right checksum proves nothing about the content; errors say what and where.
func TestErrorsSayWhere(t *testing.T) {
	plain := func(body string) []byte { return seal(bodyPlain, len(body), body) }
	otherVersion := plain("")
	otherVersion[3] = 9
	for _, test := range []struct {
		name string
		data []byte
		want string
	}{
		{"empty", nil, "0 bytes, shorter than a header"},
		{"magic", []byte("not a message at all"), "magic is 6e6f74"},
		{"version", otherVersion, "format version 9, but only version 1 is known"},
		{"length", seal(bodyPlain, 3, "ab"), "body has 2 bytes, the header says 3"},
		{"huge", seal(bodyS2, MaxBodyBytes+1, ""), "over the limit"},
		{"s2 length", seal(bodyS2, 5, "\x04\x0cabcd"), "compressed body says 4 bytes"},
		{"s2 content", seal(bodyS2, 4, "\x04\xffabcd"), "decompressing the body"},
		{"compression", seal(7, 0, ""), "compression 7 is not known"},
		{"no flags", plain("\x00"), "part 0: flags at byte 1 of the body"},
		{"unknown flag", plain("\x21"), "part 0: flags at byte 1"},
		{"short hash", plain("\x01abc"), "request hash at byte 1 of the body: wants 16 bytes, 3 are left"},
		{"no definitions", plain("\x02\x00"), "definitions at byte 2 of the body: 0 entries"},
		{"too many definitions", plain("\x02\x09\x00\x01k"), "9 entries in 3 bytes"},
		{"unknown kind", plain("\x02\x01\x03\x01k"), "definition's kind at byte 5"},
		{"long key", plain("\x02\x01\x01\x7fk"), "definition's key at byte 4 of the body: wants 127 bytes, 1 are left"},
		{"endless number", plain("\x02" + strings.Repeat("\xff", 12)), "definitions at byte 1 of the body: number is cut off or has more than 64 bits"},
		{"dangling ref", plain("\x08\x01\x80\x80\x80\x80\x20\x00\x01\x00\x00"), "refs at byte 2 of the body: refers to a definition"},
		{"long run", plain("\x08\x01\x00\x00\x02\x00\x00"), "times at byte 3 of the body: run"},
		{"empty run", plain("\x08\x01\x00\x00\x00\x00\x00"), "times at byte 3 of the body: run"},
		{"endless run", plain("\x08\x01\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x00"), "times at byte 3 of the body: run"},
		{"long value", plain("\x08\x01\x00\x00\x01\x09123456789"), "values at byte 6 of the body"},
		{"cut value", plain("\x08\x01\x00\x00\x01\x081234567"), "values at byte 6 of the body"},
		{"items", plain("\x08\xff\xff\x7f" + strings.Repeat("\x00", 1<<21)), "more than 65536 items"},
		{"second part", plain("\x01" + strings.Repeat("h", 16) + "\x80"), "part 1: flags at byte 18"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := Decode(test.data)
			if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("got %v, want %q", err, test.want)
			}
		})
	}
}

// FuzzDecode takes any body, so that the checksum does not keep the fuzzer out.
func FuzzDecode(f *testing.F) {
	for _, p := range []*Part{example(), gauges(50), {Request: Hash{1}}} {
		f.Add(appendPart(nil, p))
		f.Add(Encode(nil, []*Part{p, p}))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		_, _ = Decode(data)
		parts, err := Decode(seal(bodyPlain, len(data), string(data)))
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Fatal(err)
			}
			return
		}
		again := make([]*Part, len(parts))
		for i := range parts {
			again[i] = &parts[i]
		}
		got, err := Decode(Encode(nil, again))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(parts, got, same); diff != "" {
			t.Fatalf("decoded, encoded and decoded again: want -, got +\n%s", diff)
		}
	})
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
