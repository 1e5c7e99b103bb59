package cuckoo

import "testing"

// fill inserts numbers until the first is refused.
func fill(t *testing.T, c Config) (*Table, float64) {
	table := newTable(t, c)
	for i := uint64(0); ; i++ {
		if table.Insert(table.KeyUint64(i), i) != nil {
			return table, table.Stats().Load
		}
	}
}

func TestLoadAtFirstRefusal(t *testing.T) {
	goal := map[int]float64{4: 0.97, 8: 0.99}
	bothWidths(t, func(t *testing.T, slots int) {
		least := 1.0
		for seed := range uint64(10) {
			table, load := fill(t, Config{Bits: 14, Slots: slots, Seed: seed})
			if load < goal[slots] {
				t.Errorf("seed %d: full at %.4f", seed, load)
			}
			least = min(least, load)
			for i := range uint64(table.Len()) {
				if v, ok := table.Get(table.KeyUint64(i)); v != i || !ok {
					t.Fatalf("seed %d: key %d is lost", seed, i)
				}
			}
		}
		t.Logf("the first of the ten was full at %.4f", least)
	})
}

func TestCacheEvictsNothingBelowItsMark(t *testing.T) {
	bothWidths(t, func(t *testing.T, slots int) {
		table := newTable(t, Config{Bits: 14, Slots: slots})
		for i := range uint64(1 << 14 * 30 / 32) {
			if v, evicted := table.Put(table.KeyUint64(i), i); evicted {
				t.Fatalf("%d fell out at load %.4f", v, table.Stats().Load)
			}
		}
		for i := range uint64(4 << 14) {
			table.Put(table.KeyUint64(i), i)
		}
		if s := table.Stats(); s.Load < 0.99 {
			t.Errorf("a cache in use is filled to %.4f only: %+v", s.Load, s)
		}
	})
}

// TestCacheKeepsWhatIsRead: a quarter of the cache is read all the time while a scan
// of twenty times the cache goes through.
func TestCacheKeepsWhatIsRead(t *testing.T) {
	bothWidths(t, func(t *testing.T, slots int) {
		table := newTable(t, Config{Bits: 12, Slots: slots})
		const hot = 1 << 10
		lost := 0
		for scan := range uint64(20 << 12) {
			table.Put(table.KeyUint64(1<<32+scan), scan)
			k := table.KeyUint64(scan % hot)
			if _, ok := table.Get(k); !ok {
				lost++
				table.Put(k, scan)
				table.Get(k)
			}
		}
		if lost > hot*5/4 {
			t.Errorf("keys that are read fell out %d times, %d of them came in", lost-hot, hot)
		}
		t.Logf("%d of %d reads found their key gone; %+v", lost-hot, 20<<12, table.Stats())
	})
}
