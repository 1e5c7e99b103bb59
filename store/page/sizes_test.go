package page

import (
	"testing"

	"carillon/bucket"
)

// TestSizes makes sure that the parts of a strip are all of it.
func TestSizes(t *testing.T) {
	var e Encoder
	var b Builder
	times, values := make([]int64, 50), make([]float64, 50)
	buckets := make([]bucket.Bucket, 50)
	for i := range times {
		times[i], values[i] = int64(i)*10_000+int64(i%3), float64(i*i)/10
		buckets[i] = bucket.Of(times[i], values[i])
		later := bucket.Of(times[i]+500, -values[i])
		buckets[i].Merge(0, &later)
	}
	b.AddSamples(&e, 1, times, values)
	b.AddBuckets(&e, 2, buckets)
	p, err := Open(b.Finish())
	if err != nil {
		t.Fatal(err)
	}
	var d Decoder
	for {
		s, ok, err := p.Next()
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			break
		}
		sizes, err := d.Sizes(s)
		if err != nil {
			t.Fatal(err)
		}
		sum := 0
		for _, n := range sizes {
			sum += n
		}
		if sum != s.Bytes() || (sizes[PartValues] > 0) == (sizes[PartFloats] > 0) {
			t.Errorf("series %d: %v make %d bytes of %d", s.Number, sizes, sum, s.Bytes())
		}
	}
	if len(PartNames) != len(Sizes{}) {
		t.Errorf("%d names of %d parts", len(PartNames), len(Sizes{}))
	}
}
