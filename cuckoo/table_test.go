package cuckoo

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
)

// newTable is a table over zeroed memory of its own.
func newTable(t testing.TB, c Config) *Table {
	t.Helper()
	table, err := New(newMemory(t, c), c)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func newMemory(t testing.TB, c Config) []uint64 {
	t.Helper()
	words, err := Words(c)
	if err != nil {
		t.Fatal(err)
	}
	return make([]uint64, words)
}

// bothWidths runs a test with buckets of 4 and of 8 slots.
func bothWidths(t *testing.T, run func(t *testing.T, slots int)) {
	for _, slots := range []int{4, 8} {
		t.Run(fmt.Sprintf("slots=%d", slots), func(t *testing.T) { run(t, slots) })
	}
}

func TestBadConfigurations(t *testing.T) {
	for _, c := range []Config{{Bits: 3, Slots: 4}, {Bits: 33, Slots: 4}, {Bits: 10, Slots: 5}, {Bits: 10}, {}} {
		if _, err := Words(c); !errors.Is(err, ErrConfig) {
			t.Errorf("Words(%+v): %v", c, err)
		}
		if _, err := New(nil, c); !errors.Is(err, ErrConfig) {
			t.Errorf("New(%+v): %v", c, err)
		}
	}
	c := Config{Bits: 10, Slots: 4}
	if _, err := New(newMemory(t, c)[1:], c); !errors.Is(err, ErrConfig) {
		t.Errorf("too little memory: %v", err)
	}
}

func TestMemoryIsTwentySixBytesASlot(t *testing.T) {
	bothWidths(t, func(t *testing.T, slots int) {
		words, err := Words(Config{Bits: 20, Slots: slots})
		if err != nil || words*8 != 26<<20+64 {
			t.Errorf("%d bytes, %v", words*8, err)
		}
	})
}

func TestKeysDependOnBytesAndSeed(t *testing.T) {
	one := newTable(t, Config{Bits: 4, Slots: 4, Seed: 1})
	two := newTable(t, Config{Bits: 4, Slots: 4, Seed: 2})
	if one.Key([]byte("root.cell")) != one.KeyString("root.cell") {
		t.Error("bytes and string of the same name have different keys")
	}
	if one.KeyUint64(0x0102) != one.KeyString("\x02\x01\x00\x00\x00\x00\x00\x00") {
		t.Error("a number's key is not that of its little-endian bytes")
	}
	if one.KeyString("root.cell") == two.KeyString("root.cell") {
		t.Error("the seed does not matter")
	}
}

func TestMemoryOfAnEqualTableIsTakenOver(t *testing.T) {
	bothWidths(t, func(t *testing.T, slots int) {
		c := Config{Bits: 10, Slots: slots, Seed: 7}
		memory := newMemory(t, c)
		first, err := New(memory, c)
		if err != nil {
			t.Fatal(err)
		}
		for i := range uint64(900) {
			if err := first.Insert(first.KeyUint64(i), i); err != nil {
				t.Fatal(err)
			}
		}
		second, err := New(memory, c)
		if err != nil {
			t.Fatal(err)
		}
		if second.Len() != 900 || !maps.Equal(maps.Collect(first.All()), maps.Collect(second.All())) {
			t.Errorf("%d entries of 900", second.Len())
		}
		for _, other := range []Config{{Bits: 10, Slots: slots, Seed: 8}, {Bits: 9, Slots: slots, Seed: 7}, {Bits: 10, Slots: 12 - slots, Seed: 7}} {
			if _, err := New(memory, other); !errors.Is(err, ErrForeign) {
				t.Errorf("as %+v: %v", other, err)
			}
		}
	})
}

func TestKilledWriterLeavesNoEntryTwice(t *testing.T) {
	c := Config{Bits: 10, Slots: 4}
	memory := newMemory(t, c)
	table, err := New(memory, c)
	if err != nil {
		t.Fatal(err)
	}
	k := table.KeyUint64(1)
	if err := table.Insert(k, 5); err != nil {
		t.Fatal(err)
	}
	// A move stopped halfway: the copy is shown, the original not yet taken away.
	at, _ := table.locate(k)
	to, _ := table.emptySlot(table.otherBucket(at))
	table.show(to, k, 5, 0)
	// Damage: an entry where nobody looks for it.
	first, second := table.buckets(table.KeyUint64(2))
	stray, _ := table.emptySlot((first + 1) & table.mask)
	if stray.group() == second {
		t.Fatal("the stray entry is at home")
	}
	table.show(stray, table.KeyUint64(2), 6, 0)

	again, err := New(memory, c)
	if err != nil {
		t.Fatal(err)
	}
	if v, ok := again.Get(k); again.Len() != 1 || v != 5 || !ok {
		t.Errorf("%d entries, %d %v", again.Len(), v, ok)
	}
	again.Delete(k)
	if n := len(slices.Collect(maps.Keys(maps.Collect(again.All())))); n != 0 || again.Len() != 0 {
		t.Errorf("%d entries left", n)
	}
}

// TestKeysAreComparedInFull: no bit of a key is spared, however it is asked for.
func TestKeysAreComparedInFull(t *testing.T) {
	for _, slots := range []int{4, 8} {
		table := newTable(t, Config{Bits: 4, Slots: slots})
		k := table.KeyUint64(1)
		if err := table.Insert(k, 7); err != nil {
			t.Fatal(err)
		}
		var near []Key
		for i := range 64 {
			near = append(near, Key{k.Hi ^ 1<<i, k.Lo}, Key{k.Hi, k.Lo ^ 1<<i}, Key{k.Hi ^ 1<<i, k.Lo ^ 1<<i})
		}
		values, found := make([]uint64, len(near)), make([]bool, len(near))
		table.GetBatch(near, values, found)
		for i, other := range near {
			if _, ok := table.Get(other); ok || found[i] {
				t.Errorf("%d slots: %x is taken for %x", slots, other, k)
			}
		}
	}
}

func TestUnchanged(t *testing.T) {
	const h = 5<<versionAt | 3<<referencedAt | 0x11223344
	for other, want := range map[uint64]bool{h: true, h ^ referenced: true, h + oneVersion: false, h ^ 1<<63: false} {
		if got := unchanged(h, other); got != want {
			t.Errorf("unchanged(%x, %x) is %v", uint64(h), other, got)
		}
	}
}

func TestVersionComesAround(t *testing.T) {
	table := newTable(t, Config{Bits: 4, Slots: 4})
	k := table.KeyUint64(1)
	p, _ := table.emptySlot(k.Hi & table.mask)
	table.headers[p.group()] = versions | referenced
	if err := table.Insert(k, 3); err != nil {
		t.Fatal(err)
	}
	if h := table.header(p.group()); h&versions != 0 || h&referenced&^p.refBit() != referenced&^p.refBit() {
		t.Errorf("header is %x", h)
	}
	if v, ok := table.Get(k); v != 3 || !ok {
		t.Errorf("%d %v", v, ok)
	}
}

func TestNothingIsAllocated(t *testing.T) {
	table := newTable(t, Config{Bits: 10, Slots: 4})
	keys, values, found := make([]Key, 100), make([]uint64, 100), make([]bool, 100)
	n := uint64(0)
	for name, f := range map[string]func(){
		"Get":      func() { table.Get(table.KeyString("some name")) },
		"GetBatch": func() { table.GetBatch(keys, values, found) },
		"Put":      func() { n++; table.Put(table.KeyUint64(n), n) },
		"Insert":   func() { n++; _ = table.Insert(table.KeyUint64(n), n) },
		"Delete":   func() { table.Delete(table.KeyUint64(n)) },
	} {
		if allocs := testing.AllocsPerRun(3000, f); allocs != 0 {
			t.Errorf("%s allocates %v times", name, allocs)
		}
	}
}

func TestStats(t *testing.T) {
	table := newTable(t, Config{Bits: 4, Slots: 4})
	n := uint64(0)
	for ; table.Insert(table.KeyUint64(n), n) == nil; n++ {
	}
	table.Get(table.KeyUint64(0))
	table.GetBatch([]Key{table.KeyUint64(0), table.KeyUint64(99)}, make([]uint64, 2), make([]bool, 2))
	table.Peek(table.KeyUint64(0))
	table.Put(table.KeyUint64(100), 0)
	table.Put(table.KeyUint64(100), 1)
	table.Delete(table.KeyUint64(100))
	s := table.Stats()
	if s.Lookups != 3 || s.Hits != 2 || s.Misses != 1 {
		t.Errorf("look-ups: %+v", s)
	}
	if s.Inserts != n+1 || s.Refused != 1 || s.Replaced != 1 || s.Invalidations != 1 || s.Inserts-s.Evictions-s.Invalidations != uint64(s.Entries) {
		t.Errorf("changes: %+v", s)
	}
	kicks := uint64(0)
	for i, c := range s.Chains {
		kicks += uint64(i) * c
	}
	if kicks != s.Kicks || s.Slots != 16 || s.Load != float64(s.Entries)/16 || s.Bytes != 16*26+64 {
		t.Errorf("shape: %+v", s)
	}
	table.Clear()
	if s := table.Stats(); s.Entries != 0 || s.Invalidations != s.Inserts-s.Evictions {
		t.Errorf("cleared: %+v", s)
	}
}

// FuzzMemory takes any bytes for a table that was damaged: all operations end, and
// what is in the table afterwards is consistent.
func FuzzMemory(f *testing.F) {
	f.Add([]byte{1, 2, 3, 255, 255, 255, 255, 7}, uint64(1))
	f.Add([]byte{}, uint64(2))
	f.Fuzz(func(t *testing.T, damage []byte, at uint64) {
		c := Config{Bits: 5, Slots: 4 + 4*int(at&1)}
		memory := newMemory(t, c)
		table, err := New(memory, c)
		if err != nil {
			t.Fatal(err)
		}
		for i := range uint64(25) {
			table.Put(table.KeyUint64(i), i)
		}
		body := memory[preambleWords:]
		for i, b := range damage {
			body[(at+uint64(i)/8)%uint64(len(body))] ^= uint64(b) << (i % 8 * 8)
		}
		if table, err = New(memory, c); err != nil {
			t.Fatal(err)
		}
		for i := range uint64(40) {
			table.Put(table.KeyUint64(i), i)
			if v, ok := table.Get(table.KeyUint64(i)); v != i || !ok {
				t.Fatalf("key %d just put: %d %v", i, v, ok)
			}
		}
		n := 0
		for k := range table.All() {
			if n++; n > table.Len() {
				break
			}
			if _, ok := table.Get(k); !ok {
				t.Fatalf("%x is in the dump and not found", k)
			}
		}
		if n != table.Len() {
			t.Fatalf("%d entries in the dump of %d", n, table.Len())
		}
	})
}

// TestEmptiedSlotIsNotFound: the words of a slot stay when it is emptied, so that
// its tag alone says so. The lowest tags are the ones nearest to that of "empty".
func TestEmptiedSlotIsNotFound(t *testing.T) {
	bothWidths(t, func(t *testing.T, slots int) {
		for top := range uint64(4) {
			table := newTable(t, Config{Bits: 6, Slots: slots})
			stays, goes := Key{Hi: top << 56, Lo: 1 << 32}, Key{Hi: top << 56, Lo: 2 << 32}
			for _, k := range []Key{stays, goes} {
				if err := table.Insert(k, k.Lo); err != nil {
					t.Fatal(err)
				}
			}
			table.Delete(goes)
			if v, ok := table.Get(goes); ok {
				t.Errorf("top byte %d: found %d after Delete", top, v)
			}
			if v, ok := table.Delete(goes); ok {
				t.Errorf("top byte %d: deleted %d twice", top, v)
			}
			if v, ok := table.Get(stays); !ok || v != stays.Lo {
				t.Errorf("top byte %d: its neighbour is %d, %v", top, v, ok)
			}
		}
	})
}
