// Package slab holds large tables of records: rows without pointers are asked for
// by number, zeroed rows come out, in memory outside the collector's heap. The
// quantizer's state and the store's head lie in such tables, because there they
// neither count when the collector paces itself, which would reserve their size
// once more, nor move or get copied when they grow. It is pure: no clock, no I/O.
package slab

import (
	"runtime"
	"unsafe"
)

// Rows is how many rows a table grows by.
const Rows = 1 << 15

// Table is rows of T, which must not hold pointers: the collector does not look
// into them. The zero Table is empty.
//
// A copy of a Table is a picture of it: it has the rows that were there, and the
// memory lives as long as the Table or any copy of it is reachable, or until Free.
// A row never moves. Who keeps only a pointer to a row, and no table, must expect
// the row to vanish: see runtime.KeepAlive.
type Table[T any] struct {
	slabs []*[Rows]T
	owner *owner // of the slabs' memory; nil while there is none
}

// owner is what the collector watches in place of memory it does not know. All
// copies of a Table share it.
type owner struct {
	mapped *[][]byte
	undo   runtime.Cleanup
}

// At is row n. It panics unless n is below Len.
func (t *Table[T]) At(n uint32) *T { return &t.slabs[n/Rows][n%Rows] }

// Len is how many rows there are, a multiple of Rows.
func (t *Table[T]) Len() int { return len(t.slabs) * Rows }

// RowBytes is the size of a row.
func (t *Table[T]) RowBytes() int64 {
	var row T
	return int64(unsafe.Sizeof(row))
}

// Grow makes the table have at least n rows. The new ones are zero. Only one
// goroutine may grow a table, and not after it was freed; others may use their
// copies meanwhile.
func (t *Table[T]) Grow(n int) {
	for t.Len() < n {
		t.slabs = append(t.slabs, grow[T](t.own()))
	}
}

func (t *Table[T]) own() *owner {
	if t.owner == nil {
		t.owner = &owner{mapped: new([][]byte)}
		t.owner.undo = runtime.AddCleanup(t.owner, unmap, t.owner.mapped)
	}
	return t.owner
}

// grow is the next slab. It does without huge pages: they gained 3 % where a million
// rows are visited in random order, too little for two megabytes a small table.
//
// The memory comes as bytes from the kernel, at least aligned to a page, of exactly
// the size of a slab, and is never seen as bytes again; any bytes are a valid T, for
// it holds no pointers. That is why it may be looked at as rows, for which Go has no
// other way than unsafe.
func grow[T any](o *owner) *[Rows]T {
	memory := allocate(int(unsafe.Sizeof([Rows]T{})), false)
	if memory == nil { // there is no such memory here: the heap has some
		return new([Rows]T)
	}
	*o.mapped = append(*o.mapped, memory)
	return (*[Rows]T)(unsafe.Pointer(unsafe.SliceData(memory)))
}

// Free gives the memory back at once. No copy of the table may be used any more,
// and the table is empty. Without Free the memory is given back when the collector
// finds that nobody has the table.
func (t *Table[T]) Free() {
	if t.owner != nil {
		t.owner.undo.Stop()
		unmap(t.owner.mapped)
	}
	*t = Table[T]{}
}
