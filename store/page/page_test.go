package page

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"carillon/bucket"
	"carillon/series"
)

// TestFormat pins the bytes: pages outlive the program that wrote them. The
// same bytes are explained in docs/format/page.md.
func TestFormat(t *testing.T) {
	merged := bucket.Of(1_700_000_002_000, 1.5)
	later := bucket.Of(1_700_000_007_000, 2)
	merged.Merge(series.Gauge, &later)
	for _, test := range []struct {
		name    string
		buckets []bucket.Bucket
		want    string
	}{
		{"ones", []bucket.Bucket{
			bucket.Of(1_700_000_000_000, 20.5), bucket.Of(1_700_000_010_000, 20.5),
			bucket.Of(1_700_000_020_000, 20.5), bucket.Of(1_700_000_030_001, 21),
		}, "c1010480a0abfef962a09c01000002019a0300010a78c02e02"},
		{"all columns", []bucket.Bucket{
			merged, bucket.Of(1_700_000_012_000, math.Inf(1)),
			bucket.Of(1_700_000_022_000, math.Float64frombits(bucket.StaleNaN)),
		}, "c10003a0bfabfef962a09c010000904e8f4e00000401010001e0f7adfef962" +
			"0562f83f62084062f07f0662f87f00010707070707e493530a"},
	} {
		if got := hex.EncodeToString(Append(nil, test.buckets)); got != test.want {
			t.Errorf("%s:\n got %s\nwant %s", test.name, got, test.want)
		}
		data, err := hex.DecodeString(test.want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Decode(data, nil)
		if err != nil {
			t.Fatalf("%s: %v", test.name, err)
		}
		requireEqual(t, got, test.buckets)
	}
}

// TestAnyByteChanged: no single byte may change, get lost or be added unseen.
func TestAnyByteChanged(t *testing.T) {
	for _, buckets := range samples() {
		if len(buckets) > 20 {
			continue
		}
		page := Append(nil, buckets)
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

// requireCorrupt also checks that a failed Decode leaves dst as it was.
func requireCorrupt(t *testing.T, data []byte) {
	t.Helper()
	before := bucket.Of(1, 2)
	got, err := Decode(data, []bucket.Bucket{before})
	if !errors.Is(err, ErrCorrupt) {
		t.Fatalf("Decode(%x): error %v, want one that wraps ErrCorrupt", data, err)
	}
	requireEqual(t, got, []bucket.Bucket{before})
}

// TestErrorsSayWhere: behind a right checksum, wrong contents are found too.
func TestErrorsSayWhere(t *testing.T) {
	const oneBucket, twoBuckets = "c10101" + "00", "c10102" + "00"
	for _, test := range []struct{ body, want string }{
		{"", "it ends within its header at byte 4"},
		{"c20101", "unknown version 194 at byte 0"},
		{"c10201", "unknown flags 2 at byte 1"},
		{"c10100", "number of buckets is not 1 to 4096 at byte 2"},
		{"c101", "number of buckets is not 1 to 4096 at byte 2"},
		{"c1018120", "number of buckets is not 1 to 4096 at byte 2"},
		{"c10101" + "80", "column first time: a number is malformed at byte 3"},
		{twoBuckets + "0001", "column first time: a run of zeros goes on behind its end at byte 6"},
		{twoBuckets + "00ffff03", "column first time: a run of zeros goes on behind its end at byte 8"},
		{oneBucket, "column sample: it ends early at byte 4"},
		{oneBucket + "09", "column sample: unknown encoding 9 at byte 4"},
		{oneBucket + "06", "column sample: unknown encoding 6 at byte 4"},
		{oneBucket + "05", "column sample: it ends early at byte 5"},
		{oneBucket + "0510", "column sample: a trimmed float is malformed at byte 6"},
		{oneBucket + "057201", "column sample: a trimmed float is malformed at byte 6"},
		{oneBucket + "050301", "column sample: a trimmed float is malformed at byte 6"},
		{oneBucket + "0801020304050607", "column sample: it ends early at byte 5"},
		{oneBucket + "000200", "it goes on behind the last column at byte 6"},
		{"c1000100" + "0000" + "02", "column stale time: a number is malformed at byte 7"},
	} {
		body, err := hex.DecodeString(test.body)
		if err != nil {
			t.Fatal(err)
		}
		_, err = Decode(withChecksum(body), nil)
		if !errors.Is(err, ErrCorrupt) || err.Error() != "page is corrupt: "+test.want {
			t.Errorf("body %s:\n got %v\nwant page is corrupt: %s", test.body, err, test.want)
		}
	}
}

func withChecksum(body []byte) []byte {
	return binary.LittleEndian.AppendUint32(slices.Clone(body), checksum(body))
}

func TestAppendsBehindWhatIsThere(t *testing.T) {
	buckets := samples()[0]
	page := Append([]byte("before"), buckets)
	if !strings.HasPrefix(string(page), "before") {
		t.Fatalf("Append overwrote dst: %q", page)
	}
	before := bucket.Of(1, 2)
	got, err := Decode(page[len("before"):], []bucket.Bucket{before})
	if err != nil {
		t.Fatal(err)
	}
	requireEqual(t, got, append([]bucket.Bucket{before}, buckets...))
}

func TestAppendPanicsOnABadNumberOfBuckets(t *testing.T) {
	for _, n := range []int{0, MaxBuckets + 1} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("Append of %d buckets did not panic", n)
				}
			}()
			Append(nil, make([]bucket.Bucket, n))
		}()
	}
}

// TestOneIsWhatOfMakes: the short form of a bucket of one is bucket.Of, as long
// as that keeps its meaning.
func TestOneIsWhatOfMakes(t *testing.T) {
	for _, value := range nastyFloats {
		of := bucket.Of(-5, value)
		if of.Count == 0 { // a staleness marker
			continue
		}
		one := bucket.Bucket{FirstTime: -5, LastTime: 1, First: 1, Last: 2, Count: 3,
			Sum: 4, Min: 5, Max: 6, M2: 7, Resets: 8, StaleTime: 9}
		setOne(&one, value)
		requireEqual(t, []bucket.Bucket{one}, []bucket.Bucket{of})
		if !isOne(&one) {
			t.Errorf("isOne(%+v) is false", one)
		}
	}
}

// TestPredictMakesNoNaN: which NaN arithmetic makes differs between processors,
// so a page that relied on one could not be read everywhere.
func TestPredictMakesNoNaN(t *testing.T) {
	for _, a := range nastyFloats {
		for _, z := range nastyFloats {
			for _, n := range []uint64{0, 1, 2, 3, math.MaxUint64} {
				b := bucket.Bucket{First: a, Last: z, Count: n}
				for c := last; c <= resets; c++ {
					x := c.predict(&b)
					copied := x == math.Float64bits(a) || x == math.Float64bits(z)
					if math.IsNaN(math.Float64frombits(x)) && !copied {
						t.Errorf("predict %s of %+v is the NaN %x, which neither sample has", c, b, x)
					}
				}
			}
		}
	}
}

func TestNoAllocations(t *testing.T) {
	for i, buckets := range samples() {
		page := Append(nil, buckets)
		bytes := make([]byte, 0, 100*len(buckets)+100)
		decoded := make([]bucket.Bucket, 0, len(buckets))
		if n := testing.AllocsPerRun(10, func() { bytes = Append(bytes[:0], buckets) }); n != 0 {
			t.Errorf("sample %d: Append allocates %v times", i, n)
		}
		if n := testing.AllocsPerRun(10, func() { decoded, _ = Decode(page, decoded[:0]) }); n != 0 {
			t.Errorf("sample %d: Decode allocates %v times", i, n)
		}
	}
}
