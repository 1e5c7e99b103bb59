package directory

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"carillon/series"
)

// Every loop defines and describes its partition, while readers ask for all they
// can. An id that was returned is found from then on, and an answer holds only
// series that fit. Run it with -race.
func TestConcurrentUse(t *testing.T) {
	const partitions, batches, batchSize = 4, 40, 25
	d := openMem(t, vfs.NewMem(), partitions)
	all := make([][]series.Key, partitions)
	for i := 0; ; i++ {
		k := key(t, "__name__", fmt.Sprintf("m%d", i%10), "id", fmt.Sprint(i), "even", fmt.Sprint(i%2 == 0))
		p := k.Partition(partitions)
		if len(all[p]) == batches*batchSize {
			break // the others may have fewer
		}
		all[p] = append(all[p], k)
	}

	var loops, readers sync.WaitGroup
	var done atomic.Bool
	for p, keys := range all {
		loops.Go(func() { defineInBatches(t, d, p, keys, batchSize) })
	}
	for range 3 {
		readers.Go(func() {
			for !done.Load() {
				readEverything(t, d)
			}
		})
	}
	loops.Wait()
	done.Store(true)
	readers.Wait()
	ids, err := d.Select()
	if err != nil {
		t.Fatal(err)
	}
	if want := d.Count(0) + d.Count(1) + d.Count(2) + d.Count(3); len(ids) != want {
		t.Errorf("%d series, want %d", len(ids), want)
	}
	if err := d.Verify(); err != nil {
		t.Error(err)
	}
}

func defineInBatches(t *testing.T, d *Directory, partition int, keys []series.Key, size int) {
	for i := 0; i < len(keys); i += size {
		var batch []series.Definition
		for _, k := range keys[i:min(i+size, len(keys))] {
			batch = append(batch, series.Definition{Key: k})
		}
		numbers, err := d.Define(partition, batch)
		if err != nil {
			t.Error(err)
			return
		}
		for j, number := range numbers {
			if id, ok := d.Lookup(batch[j].Key); !ok || id != series.NewID(partition, number) {
				t.Errorf("defined %s as %d, found %d, %v", batch[j].Key.Format(), number, id, ok)
			}
		}
		kind := [...]string{"counter", "gauge"}[i/size%2]
		if _, err := d.Describe(partition, []series.Metadata{{Family: "m1", Type: kind}, {Family: "m2", Type: "counter"}}); err != nil {
			t.Error(err)
		}
		if i%(size*8) == 0 {
			if err := d.Sync(); err != nil {
				t.Error(err)
			}
		}
	}
}

func readEverything(t *testing.T, d *Directory) {
	list := matchers(t, `{__name__=~"m[0-4]",even!="false",id!~"1.*"}`)
	ids, err := d.Select(list...)
	if err != nil {
		t.Error(err)
	}
	for _, id := range ids {
		k, ok := d.Key(id)
		for _, m := range list {
			if !ok || !m.Matches(k.Get(m.Name)) {
				t.Errorf("%s does not fit %s", k.Format(), m)
			}
		}
		if found, ok := d.Lookup(k); !ok || found != id {
			t.Errorf("%s was selected as %d and looked up as %d, %v", k.Format(), id, found, ok)
		}
		d.Kind(id)
	}
	if values, err := d.LabelValues("even", list...); err != nil || len(values) > 1 {
		t.Errorf("values of even: %v, %v", values, err)
	}
	if _, err := d.LabelNames(list...); err != nil {
		t.Error(err)
	}
	if _, err := d.LabelValues("id"); err != nil {
		t.Error(err)
	}
	for _, m := range d.Metadata() {
		d.Known(m)
		d.KindOf(m.Family + "_sum")
	}
	d.Bytes()
}
