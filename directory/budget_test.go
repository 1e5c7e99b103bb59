//go:build !race

package directory

import (
	"runtime"
	"testing"

	"carillon/series"
)

// What is claimed about memory. The race detector allocates on its own account,
// so these are not built with it.

func TestLookupDoesNotAllocate(t *testing.T) {
	d := openDisk(t, t.TempDir(), Caches{Series: 10, Absent: 10})
	defer closeNow(t, d)
	known, unknown := key(t, series.MetricName, "a"), key(t, series.MetricName, "b")
	id := define(t, d, known)[0]
	if n := testing.AllocsPerRun(100, func() {
		d.Lookup(known)
		d.Lookup(unknown)
		d.Kind(id)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if n := testing.AllocsPerRun(100, func() { d.Key(id) }); n != 1 {
		t.Errorf("%v allocations a key, want one: the key", n)
	}
}

// maxHeapBytes is what a series may leave on the heap, where the collector counts it.
const maxHeapBytes = 8

func TestHeapOfASeries(t *testing.T) {
	const n = 100_000
	lists := fleet(t, n)
	d := openDisk(t, t.TempDir(), DefaultCaches())
	defer closeNow(t, d)
	empty := heap() // Pebble and the caches take some, however many series there are
	defineAll(t, d, lists)
	perSeries := (int64(heap()) - int64(empty)) / n
	t.Logf("%d bytes of heap a series", perSeries)
	if perSeries > maxHeapBytes {
		t.Errorf("%d bytes of heap a series, want at most %d", perSeries, maxHeapBytes)
	}
	runtime.KeepAlive(lists) // it was there before, and must be there after
}
