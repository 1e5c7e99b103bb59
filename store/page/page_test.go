package page

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math"
	"slices"
	"testing"

	"carillon/bucket"
	"carillon/series"
)

// TestFormat pins the bytes: pages outlive the program that wrote them. The same bytes
// are explained in docs/format/page.md.
func TestFormat(t *testing.T) {
	merged := bucket.Of(1_700_000_002_000, 1.5)
	later := bucket.Of(1_700_000_007_000, 2)
	merged.Merge(series.Gauge, &later)
	for _, test := range []struct {
		name   string
		strips [][]bucket.Bucket
		want   string
	}{
		{"samples", [][]bucket.Bucket{
			{
				bucket.Of(1_700_000_000_000, 20.5), bucket.Of(1_700_000_010_000, 20.5),
				bucket.Of(1_700_000_020_000, 20.5), bucket.Of(1_700_000_030_000, 21),
			},
			{
				bucket.Of(1_700_000_001_000, 7), bucket.Of(1_700_000_011_000, 8),
				bucket.Of(1_700_000_021_003, 10),
			},
		}, "c480a0abfef962a09c010403" + "000746019a0304000a" + "010e5003d00fa09c01000330000e0322" + "49a388f4"},
		{"whole buckets", [][]bucket.Bucket{{
			merged, bucket.Of(1_700_000_012_000, math.Inf(1)),
			bucket.Of(1_700_000_022_000, math.Float64frombits(bucket.StaleNaN)),
		}}, "c4a0bfabfef962a09c010303" + "002d0702904e0e0f2700000204010303" + "00002ae07bcb9f17030f" +
			"02340c00e87ffd0f" + "02330d0180ffed7f" + "0000000000" + "e122706e"},
	} {
		if got := hex.EncodeToString(encode(test.strips...)); got != test.want {
			t.Errorf("%s:\n got %s\nwant %s", test.name, got, test.want)
		}
		data, err := hex.DecodeString(test.want)
		if err != nil {
			t.Fatal(err)
		}
		got, _, err := decode(data)
		if err != nil {
			t.Fatalf("%s: %v", test.name, err)
		}
		for i, want := range test.strips {
			requireEqual(t, got[i], want)
		}
	}
}

// TestCorrupt: what is wrong behind a right checksum, and where, is in the error. Each
// of the bodies is a page of one strip of series 0, of two buckets if it is not said
// otherwise: the strip is what is listed.
func TestCorrupt(t *testing.T) {
	for _, test := range []struct{ strip, want string }{
		{"", "a strip: it ends early at byte 7"},
		{"04", "a strip: a number is malformed at byte 8"},
		{"0400", "a strip: number of buckets is not 1 to 4096 at byte 9"},
		{"04ffff01", "a strip: number of buckets is not 1 to 4096 at byte 11"},
		{"1e", "a strip: an unknown form of times at byte 8"},
		{"c6", "a strip: an unknown form of values at byte 8"},
		{"06", "a strip: it ends early at byte 8"},
		{"060a00", "a strip: an unknown scale at byte 9"},
		{"46", "a strip: it ends early at byte 8"},
		{"460a", "a strip: an unknown scale at byte 9"},
		{"464000", "a strip: an unknown scale at byte 9"},
		{"46104000", "a strip: an unknown scale at byte 10"},
		{"46000002", "a strip: it ends early at byte 11"},
		{"4600008300", "a strip: it ends early at byte 12"},
		{"4600008201050100", "a strip: an exception lies outside its block at byte 14"},
		{"4620000003", "a strip: more exceptions than values at byte 12"},
		{"4620000001020000000000000000", "a strip: an exception lies outside its column at byte 21"},
		{"860002", "a strip: a run of zeros goes on behind its end at byte 10"},
		{"8672", "a strip: a trimmed float is malformed at byte 9"},
		{"8610", "a strip: a trimmed float is malformed at byte 9"},
		{"a60102030405060708", "a strip: it ends early at byte 16"},
		{"0600020000", "a strip: it goes on behind its last column at byte 10"},
		{"070000000000000a", "a strip: an unknown scale at byte 15"},
		{"07000000000000000508", "a strip: an unknown form of floats at byte 16"},
		{"0704", "a strip: an unknown form of integers at byte 9"},
		{"0708", "a strip: an unknown form of integers at byte 9"},
		{"0709" + "02", "a strip: a number is malformed at byte 10"},
		{"0709" + "020000", "a strip: it ends early at byte 12"},
		{"0709" + "820001", "a strip: it ends early at byte 12"},
		{"07000000000000000f0b", "a strip: an unknown form of floats at byte 16"},
	} {
		strip, err := hex.DecodeString(test.strip)
		if err != nil {
			t.Fatal(err)
		}
		// First time 0, step 0, two buckets, series 0; the strip, of that series, and its length.
		body := append([]byte{magicVersion, 0, 0, 2, 0, 0, byte(len(strip))}, strip...)
		_, _, err = decode(withChecksum(body))
		if !errors.Is(err, ErrCorrupt) || err.Error() != "page is corrupt: "+test.want {
			t.Errorf("strip %s:\n got %v\nwant page is corrupt: %s", test.strip, err, test.want)
		}
	}
}

func withChecksum(body []byte) []byte {
	return binary.LittleEndian.AppendUint32(slices.Clone(body), checksum(body))
}

// TestAnyByteChanged: no single byte may change, get lost or be added unseen.
func TestAnyByteChanged(t *testing.T) {
	for _, buckets := range strips() {
		if len(buckets) > 20 {
			continue
		}
		page := slices.Clone(encode(buckets))
		for at := range page {
			for change := 1; change < 256; change++ {
				mutated := slices.Clone(page)
				mutated[at] ^= byte(change)
				requireCorrupt(t, mutated)
			}
			requireCorrupt(t, page[:at])
		}
		requireCorrupt(t, append(slices.Clone(page), 0))
		requireCorrupt(t, page[1:])
	}
}

func requireCorrupt(t *testing.T, data []byte) {
	t.Helper()
	if _, err := Open(data); !errors.Is(err, ErrCorrupt) {
		t.Fatalf("Open(%x): error %v, want one that wraps ErrCorrupt", data, err)
	}
}

func TestPanicsOnABadNumberOfBuckets(t *testing.T) {
	for _, n := range []int{0, MaxBuckets + 1} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("a strip of %d buckets did not panic", n)
				}
			}()
			encode(make([]bucket.Bucket, n))
		}()
	}
}

// TestOneIsWhatOfMakes: the short form of a bucket of one is bucket.Of, as long as
// that keeps its meaning.
func TestOneIsWhatOfMakes(t *testing.T) {
	for _, value := range nastyFloats {
		of := bucket.Of(-5, value)
		one := bucket.Bucket{FirstTime: 3, LastTime: 1, First: 1, Last: 2, Count: 3,
			Sum: 4, Min: 5, Max: 6, M2: 7, Resets: 8, StaleTime: 9}
		setOne(&one, -5, value)
		requireEqual(t, []bucket.Bucket{one}, []bucket.Bucket{of})
		if !isOne(&one) && !isMarker(&one) {
			t.Errorf("%+v is neither a sample nor a marker", one)
		}
	}
}

// TestPredictMakesNoNaN: which NaN arithmetic makes differs between processors, so a
// page that relied on one could not be read everywhere.
func TestPredictMakesNoNaN(t *testing.T) {
	var r rolled
	r.size(2)
	predicted := make([]uint64, 2)
	for _, a := range nastyFloats {
		for _, z := range nastyFloats {
			for _, n := range []uint64{0, 1, 2, 3, math.MaxUint64} {
				for c := range r.floats {
					r.floats[c][0], r.floats[c][1] = a, a
				}
				r.floats[columnLast][1], r.floats[columnMax][1], r.counts[1] = z, z, n
				for c := range r.floats {
					r.predict(c, predicted)
					x := predicted[1]
					copied := x == math.Float64bits(a) || x == math.Float64bits(z)
					if math.IsNaN(math.Float64frombits(x)) && !copied {
						t.Errorf("column %d of %d samples from %v to %v is predicted as the NaN %x, which neither has", c, n, a, z, x)
					}
				}
			}
		}
	}
}

func TestNoAllocations(t *testing.T) {
	var e Encoder
	var b Builder
	var d Decoder
	for i, buckets := range strips() {
		page := slices.Clone(encode(buckets))
		decoded := make([]bucket.Bucket, 0, len(buckets))
		if n := testing.AllocsPerRun(10, func() { b.AddBuckets(&e, 3, buckets); b.Finish() }); n != 0 {
			t.Errorf("sample %d: encoding allocates %v times", i, n)
		}
		if n := testing.AllocsPerRun(10, func() {
			p, _ := Open(page)
			s, _, _ := p.Next()
			decoded, _ = d.Buckets(s, decoded[:0])
		}); n != 0 {
			t.Errorf("sample %d: decoding allocates %v times", i, n)
		}
	}
}
