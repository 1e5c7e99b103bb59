package cuckoo

import (
	"fmt"
	"testing"
	"time"
)

func TestZZSpeed(t *testing.T) {
	for _, slots := range []int{4,8} {
		tb, keys := filled(t, Config{Bits: 21, Slots: slots, Seed: 1}, 2_000_000)
		absent := make([]Key, len(keys))
		for i := range absent {
			absent[i] = tb.KeyUint64(uint64(i + len(keys)))
		}
		values, found := make([]uint64, 1024), make([]bool, 1024)
		best := func(f func(k []Key)) time.Duration {
			b := time.Hour
			for r := 0; r < 10; r++ {
				for c := 0; c+204800 <= len(keys); c += 204800 {
					t0 := time.Now()
					f(keys[c : c+204800])
					b = min(b, time.Since(t0))
				}
			}
			return b / 2048
		}
		get := func(k []Key) {
			for i := range k {
				tb.Get(k[i])
			}
		}
		bt := func(k []Key) {
			for ; len(k) > 0; k = k[min(1024, len(k)):] {
				n := min(1024, len(k))
				tb.GetBatch(k[:n], values, found)
			}
		}
		fmt.Println(slots, "hit", best(get), "batch", best(bt))
		keys = absent
		fmt.Println(slots, "miss", best(get), "batch", best(bt))
	}
}
