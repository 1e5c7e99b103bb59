package cache_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"runtime"
	"syscall"
	"testing"

	"carillon/cache"
	"carillon/slab"
)

// keyOf is a key of 20 bytes.
func keyOf(buffer []byte, n uint64) []byte { return fmt.Appendf(buffer[:0], "key:%016x", n) }

func filled(b *testing.B, items int) (*cache.Cache, [][]byte) {
	bytes := items * 140 / cache.PageBytes * cache.PageBytes
	region := slab.NewRegion(max(bytes, 4<<20) / 8)
	c, err := cache.New(region.Words, cache.Config{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		c.Close()
		runtime.KeepAlive(region)
	})
	c.Tick(1000)
	keys := make([][]byte, items)
	value := make([]byte, 20)
	for i := range keys {
		keys[i] = keyOf(nil, uint64(i))
		c.Store(cache.Write{Key: keys[i], Value: value})
	}
	rand.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
	return c, keys
}

// cpu reports the CPU time of an operation, which other work on the machine does not change as
// much as it changes the time that passes.
func cpu(b *testing.B) {
	var before, after syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &before)
	b.Cleanup(func() {
		_ = syscall.Getrusage(syscall.RUSAGE_SELF, &after)
		spent := after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano()
		b.ReportMetric(float64(spent)/float64(b.N), "cpu-ns/op")
	})
}

var sizesOfBench = []int{10_000, 1_000_000}

func BenchmarkGet(b *testing.B) {
	for _, items := range sizesOfBench {
		b.Run(fmt.Sprintf("hit/%d", items), func(b *testing.B) {
			c, keys := filled(b, items)
			dst := make([]byte, 0, 256)
			cpu(b)
			for i := 0; b.Loop(); i++ {
				if _, ok := c.Get(dst, keys[i%len(keys)]); !ok {
					b.Fatal("miss")
				}
			}
		})
		b.Run(fmt.Sprintf("miss/%d", items), func(b *testing.B) {
			c, keys := filled(b, items)
			for i := range keys {
				binary.BigEndian.PutUint32(keys[i][16:], uint32(i)|1<<31)
			}
			cpu(b)
			for i := 0; b.Loop(); i++ {
				if _, ok := c.Get(nil, keys[i%len(keys)]); ok {
					b.Fatal("hit")
				}
			}
		})
		b.Run(fmt.Sprintf("hit-in-one-section/%d", items), func(b *testing.B) {
			c, keys := filled(b, items)
			dst := make([]byte, 0, 256)
			s := c.Read()
			cpu(b)
			for i := 0; b.Loop(); i++ {
				if item, ok := s.Get(keys[i%len(keys)]); ok {
					dst = item.AppendText(dst[:0])
				}
			}
			s.Done()
		})
	}
}

func BenchmarkSet(b *testing.B) {
	for _, items := range sizesOfBench {
		b.Run(fmt.Sprintf("replace/%d", items), func(b *testing.B) {
			c, keys := filled(b, items)
			value := make([]byte, 20)
			cpu(b)
			for i := 0; b.Loop(); i++ {
				c.Store(cache.Write{Key: keys[i%len(keys)], Value: value})
			}
		})
		b.Run(fmt.Sprintf("evict/%d", items), func(b *testing.B) {
			c, _ := filled(b, items)
			value, key := make([]byte, 20), make([]byte, 20)
			cpu(b)
			for i := 0; b.Loop(); i++ {
				c.Store(cache.Write{Key: keyOf(key, uint64(i)+1<<40), Value: value})
			}
		})
	}
}

func BenchmarkParallel(b *testing.B) {
	for _, writes := range []int{0, 10, 100} {
		b.Run(fmt.Sprintf("%d%%set", writes), func(b *testing.B) {
			c, keys := filled(b, 100_000)
			cpu(b)
			b.RunParallel(func(p *testing.PB) {
				r := rand.New(rand.NewPCG(rand.Uint64(), 1))
				dst, value := make([]byte, 0, 256), make([]byte, 20)
				for p.Next() {
					n := r.Uint64()
					key := keys[n%uint64(len(keys))]
					if int(n>>40%100) < writes {
						c.Store(cache.Write{Key: key, Value: value})
					} else {
						c.Get(dst, key)
					}
				}
			})
		})
	}
}
