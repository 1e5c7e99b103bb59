package quantize_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"carillon/bucket"
	"carillon/quantize"
	"carillon/series"
)

// taken is what a Taker was given, one bucket after the other.
type taken []numbered

func (k *taken) AddSamples(numbers []uint32, times []int64, values []float64) {
	for i, number := range numbers {
		*k = append(*k, numbered{number, bucket.Of(times[i], values[i])})
	}
}

func (k *taken) Add(number uint32, b *bucket.Bucket) { *k = append(*k, numbered{number, *b}) }

// TestDeliver: samples and whole buckets reach the store in the order in which the
// journal has them, and All tells the same.
func TestDeliver(t *testing.T) {
	two := bucket.Of(1000, 1)
	one := bucket.Of(2000, 2)
	two.Merge(series.Gauge, &one)
	q := newQuantizer(2)
	var out quantize.Output
	now := int64(1e12)
	send := func(number uint32, at int64) { add(q, now, number, now+at, float64(at), &out) }
	whole := func(number uint32, at int64) {
		b := two
		b.FirstTime, b.LastTime = now+at, now+at+1
		q.AddAggregate(now, number, &b, &out)
	}
	send(0, 20_000) // opens a segment; what is behind it is late
	send(1, 20_000)
	whole(0, -30_000)
	whole(1, -30_000)
	send(0, -25_000)
	send(1, -25_001)
	whole(0, -24_000)
	send(0, -23_000)

	var got taken
	out.Kept.Deliver(&got)
	var order []int64
	for _, n := range got {
		order = append(order, n.bucket.FirstTime-now)
	}
	if diff := cmp.Diff([]int64{-30_000, -30_000, -25_000, -25_001, -24_000, -23_000}, order); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]numbered(got), all(&out.Kept), cmp.AllowUnexported(numbered{})); diff != "" || out.Kept.Len() != len(got) {
		t.Errorf("All is not what Deliver delivers (-Deliver +All):\n%s", diff)
	}
	for range out.Kept.All() {
		break // it may be left
	}
}

// TestAdvanceTakesBreaks: the output of one call is bounded, and nothing is lost.
func TestAdvanceTakesBreaks(t *testing.T) {
	const n = 20_000
	q := newQuantizer(n)
	var out quantize.Output
	now := int64(1e12)
	for number := range uint32(n) {
		add(q, now, number, now, 1, &out)
	}
	completed, calls := 0, 1
	for more := true; more; calls++ {
		more = q.Advance(now+config.Resolution+config.MaxDelay, &out)
		if out.Completed.Len() > 5000 {
			t.Fatalf("%d at once", out.Completed.Len())
		}
		completed += out.Completed.Len()
		out.Reset()
	}
	if completed != n || calls < 4 {
		t.Errorf("%d of %d completed in %d calls", completed, n, calls)
	}
}

func TestUndefinedSeries(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("a point of an undefined series was taken")
		}
	}()
	var out quantize.Output
	add(newQuantizer(3), 1e12, 3, 1e12, 1, &out)
}

// TestUnwanted: completed segments that nobody wants are counted all the same, and come again
// when somebody does.
func TestUnwanted(t *testing.T) {
	q := newQuantizer(1)
	var out quantize.Output
	now := int64(1e12)
	for i := range 10 {
		out.Want(i >= 5)
		add(q, now, 0, now, 1, &out)
		now += config.Resolution + config.MaxDelay
		q.Advance(now, &out)
	}
	if n, counted := out.Completed.Len(), q.Counts().Completed; n != 5 || counted != 10 {
		t.Errorf("%d segments left of %d, want 5 of 10", n, counted)
	}
	if out.Kept.Len() != 9 {
		t.Errorf("%d buckets for the store, want 9", out.Kept.Len())
	}
}
