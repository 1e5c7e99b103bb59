package page

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"testing"

	"carillon/bucket"
	"carillon/series"

	"pgregory.net/rapid"
)

var nastyFloats = []float64{
	0, math.Copysign(0, -1), 1, -1, 0.1, 0.3, 1.005, -2.5, 20.25, 1e-4, 1e-5, 123456.7891,
	1 << 53, 1<<53 + 2, -(1 << 53), 1 << 62, -(1 << 63), 1e22, 1e300, math.Pi,
	math.MaxFloat64, -math.MaxFloat64, math.SmallestNonzeroFloat64, 0x1p-1022,
	math.Inf(1), math.Inf(-1), math.NaN(), math.Float64frombits(bucket.StaleNaN),
	math.Float64frombits(0x7ff0000000000001), math.Float64frombits(0x7ff8000000000000),
	math.Float64frombits(0xfff8000000000123), math.Float64frombits(math.MaxUint64),
}

var nastyTimes = []int64{0, 1, -1, 1_700_000_000_000, math.MinInt64, math.MaxInt64, math.MinInt64 / 2}

// samples are pages of each kind, small and large.
func samples() [][]bucket.Bucket {
	all := [][]bucket.Bucket{
		{bucket.Of(0, 0)},
		{{}},
		{{FirstTime: math.MaxInt64, LastTime: math.MinInt64, Count: math.MaxUint64, StaleTime: math.MinInt64}},
		{bucket.Of(1_700_000_000_000, 1.5), bucket.Of(1_700_000_010_000, math.Float64frombits(bucket.StaleNaN))},
	}
	mix := hostMix(600, 3)
	coarse := rolledUp(mix)
	for _, s := range []int{0, 40, 70, 90} {
		all = append(all, mix[s], mix[s][:10], mix[s][:blockLength], mix[s][:blockLength+1], coarse[s], coarse[s][:5])
	}
	var nasty []bucket.Bucket
	for i, value := range nastyFloats {
		nasty = append(nasty, bucket.Of(nastyTimes[i%len(nastyTimes)], value))
	}
	var full []bucket.Bucket
	for len(full) < MaxBuckets {
		full = append(full, bucket.Of(int64(len(full))*10_000, float64(len(full)/1_000)))
	}
	return append(all, nasty, nasty[:20], append(mix[0][:300:300], nasty...), full)
}

func requireEqual(t rapid.TB, got, want []bucket.Bucket) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d buckets, want %d", len(got), len(want))
	}
	for i := range want {
		for c := firstTime; c <= resets; c++ {
			if c.get(&got[i]) != c.get(&want[i]) {
				t.Fatalf("bucket %d of %d, column %s: %x, want %x", i, len(want), c, c.get(&got[i]), c.get(&want[i]))
			}
		}
	}
}

func TestSamplesComeBack(t *testing.T) {
	for _, buckets := range samples() {
		got, err := Decode(Append(nil, buckets), nil)
		if err != nil {
			t.Fatal(err)
		}
		requireEqual(t, got, buckets)
	}
}

// TestAnythingComesBack makes pages out of runs of alike buckets, as series are,
// but of any contents.
func TestAnythingComesBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		buckets := make([]bucket.Bucket, 0, MaxBuckets)
		time := anyTime.Draw(t, "start")
		for range rapid.IntRange(1, 6).Draw(t, "runs") {
			next := anyRun(t, &time)
			for range rapid.SampledFrom([]int{1, 2, 5, 100, 300}).Draw(t, "length") {
				buckets = append(buckets, next())
			}
		}
		got, err := Decode(Append(nil, buckets), nil)
		if err != nil {
			t.Fatalf("%v", err)
		}
		requireEqual(t, got, buckets)
	})
}

var (
	anyTime  = rapid.OneOf(rapid.SampledFrom(nastyTimes), rapid.Int64())
	anyFloat = rapid.OneOf(
		rapid.SampledFrom(nastyFloats),
		rapid.Map(rapid.Uint64(), math.Float64frombits),
		rapid.Map(rapid.Int64Range(-1_000_000, 1_000_000), func(n int64) float64 { return float64(n) / 100 }),
	)
)

// anyRun is a source of alike buckets: samples, markers, merges of a few samples,
// or a bucket that no merge can make.
func anyRun(t *rapid.T, time *int64) func() bucket.Bucket {
	step := rapid.OneOf(rapid.Just(int64(10_000)), rapid.Int64Range(0, 20), anyTime).Draw(t, "step")
	value, rise := anyFloat.Draw(t, "value"), anyFloat.Draw(t, "rise")
	of := func() bucket.Bucket {
		*time += step
		value += rise
		return bucket.Of(*time, value)
	}
	kind := rapid.SampledFrom([]series.Kind{series.Gauge, series.Counter, series.Event}).Draw(t, "kind")
	merges := rapid.IntRange(0, 4).Draw(t, "merges")
	strange := rapid.Bool().Draw(t, "strange")
	fields := bucket.Bucket{
		FirstTime: anyTime.Draw(t, "first time"), LastTime: anyTime.Draw(t, "last time"),
		First: anyFloat.Draw(t, "first"), Last: anyFloat.Draw(t, "last"),
		Count: rapid.Uint64().Draw(t, "count"), Sum: anyFloat.Draw(t, "sum"),
		Min: anyFloat.Draw(t, "min"), Max: anyFloat.Draw(t, "max"), M2: anyFloat.Draw(t, "m2"),
		Resets: anyFloat.Draw(t, "resets"), StaleTime: anyTime.Draw(t, "stale time"),
	}
	return func() bucket.Bucket {
		b := of()
		for range merges {
			later := of()
			b.Merge(kind, &later)
		}
		if strange {
			b, fields = fields, b
		}
		return b
	}
}

// FuzzDecode: whatever the bytes say, also behind a right checksum, Decode ends,
// adds at most MaxBuckets buckets, and what it accepts is a page like any other.
func FuzzDecode(f *testing.F) {
	for _, buckets := range samples() {
		page := Append(nil, buckets)
		f.Add(page[:len(page)-checksumBytes])
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, data := range [][]byte{body, withChecksum(body)} {
			buckets, err := Decode(data, nil)
			if err != nil {
				if !errors.Is(err, ErrCorrupt) || buckets != nil {
					t.Fatalf("%d buckets and error %v", len(buckets), err)
				}
				continue
			}
			if len(buckets) == 0 || len(buckets) > MaxBuckets {
				t.Fatalf("%d buckets", len(buckets))
			}
			again, err := Decode(Append(nil, buckets), nil)
			if err != nil {
				t.Fatal(err)
			}
			requireEqual(t, again, buckets)
		}
	})
}

// FuzzAppend takes its input as the fields of buckets, 11 of 8 bytes each.
func FuzzAppend(f *testing.F) {
	for _, buckets := range samples() {
		f.Add(fieldsOf(buckets[:min(len(buckets), 40)]))
	}
	f.Fuzz(func(t *testing.T, fields []byte) {
		var buckets []bucket.Bucket
		for fields := bytes.NewReader(fields); len(buckets) < MaxBuckets; {
			var b bucket.Bucket
			if binary.Read(fields, binary.LittleEndian, &b) != nil {
				break
			}
			buckets = append(buckets, b)
		}
		if len(buckets) == 0 {
			return
		}
		got, err := Decode(Append(nil, buckets), nil)
		if err != nil {
			t.Fatal(err)
		}
		requireEqual(t, got, buckets)
	})
}

func fieldsOf(buckets []bucket.Bucket) []byte {
	fields, err := binary.Append(nil, binary.LittleEndian, buckets)
	if err != nil {
		panic(err)
	}
	return fields
}
