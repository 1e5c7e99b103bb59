package partition

import (
	"fmt"
	"sync"
	"testing"
	"time"
)

// TestDelete deletes while points come in: what was acknowledged before is gone, over
// a restart too, and whatever comes afterwards is kept, the same samples again included.
func TestDelete(t *testing.T) {
	dir := t.TempDir()
	now := time.Now().UnixMilli()
	r, err := open(t, dir)
	must(t, err)
	values := map[string]float64{"a": 1, "b": 2, "c": 3}
	r.append(r.request(1, now-3_600_000, values))
	r.append(r.request(2, now, values))
	r.expect(map[string]float64{"a": 2, "b": 4, "c": 6})
	ids, err := r.directory.Select()
	must(t, err)
	must(t, r.set.Delete(t.Context(), ids, now-1000, now))
	r.expect(values)
	r.append(r.request(3, now, values))
	r.expect(map[string]float64{"a": 2, "b": 4, "c": 6})

	var wg sync.WaitGroup
	for i := range byte(4) {
		wg.Go(func() { r.append(r.request(10+i, now+int64(i), map[string]float64{fmt.Sprint("other", i): 1})) })
		wg.Go(func() { must(t, r.set.Delete(t.Context(), ids, 0, now)) })
	}
	wg.Wait()
	want := map[string]float64{"other0": 1, "other1": 1, "other2": 1, "other3": 1}
	r.expect(want)
	r.close()
	r, err = open(t, dir)
	must(t, err)
	defer r.close()
	r.expect(want)
}
