package cuckoo
import ("testing";"time";"fmt";"syscall";"unsafe";"math/rand/v2")
func TestXX(t *testing.T) {
	for _, huge := range []bool{false,true,false,true} {
	c := Config{Bits: 21, Slots: 4, Seed: 1}
	w,_ := Words(c)
	raw, err := syscall.Mmap(-1,0,w*8+(4<<20),3,0x22)
	if err != nil { t.Fatal(err) }
	off := uintptr(unsafe.Pointer(&raw[0])); off = (off + 2<<20-1)&^(2<<20-1) - off
	raw = raw[off:]
	if huge { syscall.Madvise(raw[:len(raw)&^4095], 14) } else {syscall.Madvise(raw[:len(raw)&^4095], 15)}
	tb,err := New(unsafe.Slice((*uint64)(unsafe.Pointer(&raw[0])), w), c)
	if err != nil { t.Fatal(err) }
	keys := make([]Key, 2000000)
	for i := range keys { keys[i]=tb.KeyUint64(uint64(i)); tb.Insert(keys[i], 1) }
	rand.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
	for _, k := range keys { tb.Get(k) }
	bg, bp, bb := time.Hour, time.Hour, time.Hour
	v, f := make([]uint64, 200000), make([]bool, 200000)
	for r := 0; r < 5; r++ {
	for c := 0; c+200000 <= len(keys); c += 200000 {
		kk := keys[c:c+200000]
		t0 := time.Now()
		for i := range kk { tb.Get(kk[i]) }
		bg = min(bg, time.Since(t0))
		kk = keys[(c+400000)%2000000:][:200000]
		t0 = time.Now()
		for i := range kk { tb.Peek(kk[i]) }
		bp = min(bp, time.Since(t0))
		kk = keys[(c+800000)%2000000:][:200000]
		t0 = time.Now()
		tb.GetBatch(kk, v, f)
		bb = min(bb, time.Since(t0))
	}
	}
	fmt.Println(huge, "get", bg/200000, "peek", bp/200000, "batch", bb/200000)
	}
}
