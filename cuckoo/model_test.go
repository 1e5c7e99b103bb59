package cuckoo

import (
	"errors"
	"maps"
	"testing"

	"pgregory.net/rapid"
)

// model runs a table beside a Go map.
type model struct {
	table *Table
	want  map[Key]uint64
	next  uint64 // values are unique, so that what was evicted can be told
}

func newModel(r *rapid.T, t *testing.T, slots int) *model {
	c := Config{Bits: rapid.IntRange(MinBits, 8).Draw(r, "bits"), Slots: slots, Seed: rapid.Uint64().Draw(r, "seed")}
	return &model{table: newTable(t, c), want: map[Key]uint64{}}
}

// key is one of so many that a table fills up, and is often there already.
func (m *model) key(r *rapid.T) Key {
	return m.table.KeyUint64(uint64(rapid.IntRange(0, 3<<m.table.config.Bits/2).Draw(r, "key")))
}

func (m *model) remove(r *rapid.T) {
	k := m.key(r)
	want, there := m.want[k]
	if v, ok := m.table.Delete(k); v != want || ok != there {
		r.Fatalf("Delete: %d %v, want %d %v", v, ok, want, there)
	}
	delete(m.want, k)
}

func (m *model) clear(*rapid.T) {
	m.table.Clear()
	clear(m.want)
}

func (m *model) get(r *rapid.T) {
	k := m.key(r)
	want, there := m.want[k]
	if v, ok := m.table.Get(k); v != want || ok != there {
		r.Fatalf("Get: %d %v, want %d %v", v, ok, want, there)
	}
}

func (m *model) getBatch(r *rapid.T) {
	keys := make([]Key, rapid.IntRange(0, 3*batch).Draw(r, "keys"))
	for i := range keys {
		keys[i] = m.key(r)
	}
	values, found := make([]uint64, len(keys)+1), make([]bool, len(keys)+1)
	m.table.GetBatch(keys, values, found)
	for i, k := range keys {
		if want, there := m.want[k]; values[i] != want || found[i] != there {
			r.Fatalf("GetBatch[%d]: %d %v, want %d %v", i, values[i], found[i], want, there)
		}
	}
}

func (m *model) check(r *rapid.T) {
	if got := maps.Collect(m.table.All()); !maps.Equal(got, m.want) || m.table.Len() != len(m.want) {
		r.Fatalf("table has %d (%d counted), model %d", len(got), m.table.Len(), len(m.want))
	}
}

func (m *model) insert(r *rapid.T) {
	k := m.key(r)
	m.next++
	err := m.table.Insert(k, m.next)
	if err == nil {
		m.want[k] = m.next
		return
	}
	// So small a table is searched completely: it must be quite full.
	if _, there := m.want[k]; there || !errors.Is(err, ErrFull) || len(m.want) < 1<<m.table.config.Bits/2 {
		r.Fatalf("Insert with %d entries, there %v: %v", len(m.want), there, err)
	}
}

func (m *model) put(r *rapid.T) {
	k := m.key(r)
	m.next++
	old, there := m.want[k]
	evicted, did := m.table.Put(k, m.next)
	if there && (!did || evicted != old) {
		r.Fatalf("Put replaced %d and says %d %v", old, evicted, did)
	}
	if did {
		maps.DeleteFunc(m.want, func(_ Key, v uint64) bool { return v == evicted })
	}
	m.want[k] = m.next
}

func TestMapAgainstModel(t *testing.T) {
	bothWidths(t, func(t *testing.T, slots int) {
		rapid.Check(t, func(r *rapid.T) {
			m := newModel(r, t, slots)
			for i := range uint64(rapid.IntRange(0, 1<<m.table.config.Bits).Draw(r, "filled")) {
				if k := m.table.KeyUint64(i); m.table.Insert(k, ^i) == nil {
					m.want[k] = ^i
				}
			}
			r.Repeat(map[string]func(*rapid.T){
				"": m.check, "insert": m.insert, "insert again": m.insert, "delete": m.remove, "get": m.get, "batch": m.getBatch, "clear": m.clear,
			})
		})
	})
}

func TestCacheAgainstModel(t *testing.T) {
	bothWidths(t, func(t *testing.T, slots int) {
		rapid.Check(t, func(r *rapid.T) {
			m := newModel(r, t, slots)
			for i := range uint64(rapid.IntRange(0, 1<<m.table.config.Bits).Draw(r, "filled")) {
				if k := m.table.KeyUint64(i); m.table.Insert(k, ^i) == nil {
					m.want[k] = ^i
				}
			}
			r.Repeat(map[string]func(*rapid.T){
				"": m.check, "put": m.put, "put again": m.put, "delete": m.remove, "get": m.get, "batch": m.getBatch, "clear": m.clear,
			})
		})
	})
}
