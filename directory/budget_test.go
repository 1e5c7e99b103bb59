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
	d := openDisk(t, t.TempDir())
	defer closeNow(t, d)
	known, unknown := key(t, series.MetricName, "a"), key(t, series.MetricName, "b")
	id := define(t, d, known)[0]
	if n := testing.AllocsPerRun(100, func() {
		d.Lookup(known)
		d.Lookup(unknown)
		d.Kind(id)
		d.Key(id)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// maxHeapBytes is the budget of one series with five labels.
const maxHeapBytes = 600

// The key, its place in the table and the postings of its labels. Pebble adds
// some 20 MB however many series there are, which may lie on the heap as well.
func TestHeapOfASeries(t *testing.T) {
	lists := fleet(t, benchSeries)
	before := heap()
	d := openDisk(t, t.TempDir())
	defer closeNow(t, d)
	defineAll(t, d, lists)
	perSeries := int64(heap()-before) / benchSeries
	t.Logf("%d bytes of heap a series", perSeries)
	if perSeries > maxHeapBytes {
		t.Errorf("%d bytes of heap a series, want at most %d", perSeries, maxHeapBytes)
	}
	runtime.KeepAlive(lists) // it was there before, and must be there after
}
