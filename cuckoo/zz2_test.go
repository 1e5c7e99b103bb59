package cuckoo
import ("testing";"time";"fmt")
func TestYY(t *testing.T) {
	tb, keys := filled(t, Config{Bits: 21, Slots: 4, Seed: 1}, 2_000_000)
	for _, k := range keys { tb.Get(k) }
	for r := 0; r < 3; r++ {
	bg, bp := time.Hour, time.Hour
	for c := 0; c+200000 <= len(keys); c += 200000 {
		kk := keys[c:c+200000]
		t0 := time.Now()
		for i := range kk { tb.Get(kk[i]) }
		bg = min(bg, time.Since(t0))
		kk = keys[(c+400000)%2000000:][:200000]
		t0 = time.Now()
		for i := range kk { tb.Peek(kk[i]) }
		bp = min(bp, time.Since(t0))
	}
	fmt.Println("get", bg/200000, "peek", bp/200000)
	}
}
