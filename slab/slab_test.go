package slab_test

import (
	"runtime"
	"sync"
	"testing"

	"carillon/slab"
)

type row [5]uint64

func TestTable(t *testing.T) {
	var table slab.Table[row]
	if table.Len() != 0 || table.RowBytes() != 40 {
		t.Fatalf("%d rows of %d bytes", table.Len(), table.RowBytes())
	}
	table.Grow(1)
	table.Grow(slab.Rows)
	if table.Len() != slab.Rows {
		t.Fatalf("%d rows", table.Len())
	}
	first, before := table.At(0), table
	table.Grow(3*slab.Rows - 1)
	for n := range uint32(table.Len()) {
		if *table.At(n) != (row{}) {
			t.Fatalf("row %d is not zero", n)
		}
		table.At(n)[4] = uint64(n)
	}
	for n := range uint32(table.Len()) {
		if table.At(n)[4] != uint64(n) {
			t.Fatalf("row %d holds %d", n, table.At(n)[4])
		}
	}
	if table.At(0) != first || before.At(0) != first || before.Len() != slab.Rows {
		t.Error("a row moved, or a copy grew")
	}
	table.Free()
	if table.Len() != 0 {
		t.Error("a freed table has rows")
	}
	table.Free()
}

// TestCopiesKeepTheMemory: as long as anybody has a copy, collections do not take
// the rows away; when nobody has, many tables in a row do not pile up.
func TestCopiesKeepTheMemory(t *testing.T) {
	var readers sync.WaitGroup
	for i := range 50 {
		var table slab.Table[row]
		table.Grow(1)
		table.At(7)[0] = uint64(i)
		readers.Go(func() {
			copied := table
			for range 5 {
				runtime.GC()
				if copied.At(7)[0] != uint64(i) {
					t.Errorf("table %d lost its rows", i)
				}
			}
			runtime.KeepAlive(&copied)
		})
	}
	readers.Wait()
}
