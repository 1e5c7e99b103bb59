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

// strips are strips of each kind, small and large.
func strips() [][]bucket.Bucket {
	all := [][]bucket.Bucket{
		{bucket.Of(0, 0)},
		{{}},
		{{FirstTime: math.MaxInt64, LastTime: math.MinInt64, Count: math.MaxUint64, StaleTime: math.MinInt64}},
		{bucket.Of(1_700_000_000_000, 1.5), bucket.Of(1_700_000_010_000, math.Float64frombits(bucket.StaleNaN))},
	}
	mix := hostMix(10, 600, 3)
	coarse := rolledUp(mix)
	for _, s := range []int{0, 4, 7, 9} {
		buckets := mix[s].buckets()
		all = append(all, buckets, buckets[:10], buckets[:blockLength], buckets[:blockLength+1], coarse[s], coarse[s][:5])
	}
	var nasty []bucket.Bucket
	for i, value := range nastyFloats {
		nasty = append(nasty, bucket.Of(nastyTimes[i%len(nastyTimes)], value))
	}
	var full []bucket.Bucket
	for len(full) < MaxBuckets {
		full = append(full, bucket.Of(int64(len(full))*10_000, float64(len(full)/1_000)))
	}
	few := mix[0].buckets()[:300]
	return append(all, nasty, nasty[:20], append(few, nasty...), full)
}

// encode makes one page of strips, of series 3, 4, 5 and so on.
func encode(all ...[]bucket.Bucket) []byte {
	var e Encoder
	var b Builder
	for i, buckets := range all {
		b.AddBuckets(&e, uint32(3+i), buckets)
	}
	return b.Finish()
}

// decode reads a page whole, and checks what holds for any page.
func decode(data []byte) (all [][]bucket.Bucket, numbers []uint32, err error) {
	p, err := Open(data)
	if err != nil {
		return nil, nil, err
	}
	var d Decoder
	for {
		s, ok, err := p.Next()
		if !ok {
			return all, numbers, err
		}
		before := bucket.Of(1, 2)
		buckets, err := d.Buckets(s, []bucket.Bucket{before})
		if buckets[0] != before || err != nil && len(buckets) != 1 || len(buckets) > 1+MaxBuckets {
			return nil, nil, errors.New("dst is not as it should be")
		}
		if err != nil {
			return nil, nil, err
		}
		n, err := d.Count(s)
		if err != nil || n != len(buckets)-1 || n == 0 {
			return nil, nil, errors.New("a wrong count")
		}
		all, numbers = append(all, buckets[1:]), append(numbers, s.Number)
	}
}

func words(b *bucket.Bucket) [11]uint64 {
	f := math.Float64bits
	return [...]uint64{uint64(b.FirstTime), uint64(b.LastTime), f(b.First), f(b.Last), b.Count,
		f(b.Sum), f(b.Min), f(b.Max), f(b.M2), f(b.Resets), uint64(b.StaleTime)}
}

func requireEqual(t rapid.TB, got, want []bucket.Bucket) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d buckets, want %d", len(got), len(want))
	}
	for i := range want {
		if words(&got[i]) != words(&want[i]) {
			t.Fatalf("bucket %d of %d:\n got %x\nwant %x", i, len(want), words(&got[i]), words(&want[i]))
		}
	}
}

func requireBack(t rapid.TB, all ...[]bucket.Bucket) {
	t.Helper()
	got, numbers, err := decode(encode(all...))
	if err != nil || len(got) != len(all) {
		t.Fatalf("%d strips, want %d; %v", len(got), len(all), err)
	}
	for i, want := range all {
		if numbers[i] != uint32(3+i) {
			t.Fatalf("strip %d is of series %d", i, numbers[i])
		}
		requireEqual(t, got[i], want)
	}
}

func TestStripsComeBack(t *testing.T) {
	for _, buckets := range strips() {
		requireBack(t, buckets)
	}
	requireBack(t, strips()...)
}

// TestAnythingComesBack makes strips out of runs of alike buckets, as series are, but
// of any contents.
func TestAnythingComesBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := make([][]bucket.Bucket, rapid.IntRange(1, 3).Draw(t, "strips"))
		for i := range all {
			time := anyTime.Draw(t, "start")
			for range rapid.IntRange(1, 6).Draw(t, "runs") {
				next := anyRun(t, &time)
				for range rapid.SampledFrom([]int{1, 2, 5, 100, 300}).Draw(t, "length") {
					all[i] = append(all[i], next())
				}
			}
		}
		requireBack(t, all...)
	})
}

// TestSamplesComeBack does the same with columns, which are never buckets: values of
// one kind with a few others between them.
func TestSamplesComeBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.SampledFrom([]int{1, 2, 3, 7, 8, 9, 127, 128, 129, 500}).Draw(t, "samples")
		c := columns{make([]int64, n), make([]float64, n)}
		scale := math.Pow10(rapid.IntRange(-3, 11).Draw(t, "decimals"))
		most := rapid.SampledFrom([]int64{0, 1, 100, 1 << 20, 1 << 40, math.MaxInt64}).Draw(t, "most")
		rare := rapid.IntRange(1, 200).Draw(t, "rare")
		step := rapid.SampledFrom([]int64{0, 1, 7, 10_000, -3, math.MaxInt64}).Draw(t, "step")
		jitter := rapid.SampledFrom([]int64{0, 3, 6_000, math.MaxInt64}).Draw(t, "jitter")
		seed := rapid.Int64().Draw(t, "seed")
		random := func(below int64) int64 { // cheaper than a draw each
			seed = seed*6364136223846793005 + 1442695040888963407
			return int64(uint64(seed)>>1) % max(below, 1)
		}
		time, number := anyTime.Draw(t, "start"), int64(0)
		add := rapid.Bool().Draw(t, "adds up")
		for i := range n {
			time += step
			c.times[i] = time + random(jitter)
			if !add {
				number = 0
			}
			number += random(most)
			c.values[i] = float64(number) / scale
			if random(int64(rare)) == 0 {
				c.values[i] = anyFloat.Draw(t, "other")
				time += anyTime.Draw(t, "gap")
			}
		}
		var e Encoder
		var b Builder
		b.AddSamples(&e, 7, c.times, c.values)
		p, err := Open(b.Finish())
		if err != nil {
			t.Fatal(err)
		}
		s, ok, err := p.Next()
		if err != nil || !ok || s.Number != 7 {
			t.Fatalf("%v, %v, %v", s, ok, err)
		}
		var d Decoder
		times, values, ok, err := d.Samples(s, []int64{1}, []float64{2})
		if err != nil || !ok || len(times) != n+1 || len(values) != n+1 {
			t.Fatalf("%d times, %d values, %v, %v", len(times), len(values), ok, err)
		}
		for i, want := range c.times {
			if times[i+1] != want || math.Float64bits(values[i+1]) != math.Float64bits(c.values[i]) {
				t.Fatalf("sample %d: %d %x, want %d %x", i, times[i+1], math.Float64bits(values[i+1]), want, math.Float64bits(c.values[i]))
			}
		}
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

// FuzzDecode: whatever the bytes say, also behind a right checksum, reading ends, a
// strip has at most MaxBuckets buckets, and what is accepted is a page like any other.
func FuzzDecode(f *testing.F) {
	for _, buckets := range strips() {
		page := encode(buckets, buckets[:1])
		f.Add(page[:len(page)-checksumBytes])
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, data := range [][]byte{body, withChecksum(body)} {
			all, _, err := decode(data)
			if err != nil {
				if !errors.Is(err, ErrCorrupt) {
					t.Fatal(err)
				}
				continue
			}
			if len(all) > 0 {
				requireBack(t, all...)
			}
		}
	})
}

// FuzzAppend takes its input as the fields of buckets, 11 of 8 bytes each.
func FuzzAppend(f *testing.F) {
	for _, buckets := range strips() {
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
		if len(buckets) > 0 {
			requireBack(t, buckets, buckets[:1])
		}
	})
}

func fieldsOf(buckets []bucket.Bucket) []byte {
	fields, err := binary.Append(nil, binary.LittleEndian, buckets)
	if err != nil {
		panic(err)
	}
	return fields
}
