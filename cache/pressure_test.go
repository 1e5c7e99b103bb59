package cache_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"carillon/cache"
)

// sealed is a value that carries its key, a version, and a checksum of both.
func sealed(buffer []byte, key string, version uint64, length int) []byte {
	b := append(buffer[:0], key...)
	b = binary.LittleEndian.AppendUint64(append(b, '|'), version)
	for len(b) < length {
		b = binary.LittleEndian.AppendUint64(b, version^uint64(len(b)))
	}
	return binary.LittleEndian.AppendUint32(b, crc32.ChecksumIEEE(b))
}

// unseal is the version of a value, if it is whole and the key's.
func unseal(key string, value []byte) (uint64, error) {
	end := len(value) - 4
	if end < len(key)+9 || crc32.ChecksumIEEE(value[:end]) != binary.LittleEndian.Uint32(value[end:]) {
		return 0, fmt.Errorf("the value of %s is torn", key)
	}
	if !bytes.HasPrefix(value, []byte(key+"|")) {
		return 0, fmt.Errorf("the value of %s is another key's: %.40q", key, value)
	}
	return binary.LittleEndian.Uint64(value[len(key)+1:]), nil
}

// lengthOf is a length of value for a key: mostly short, some chained.
func lengthOf(n int) int {
	switch {
	case n%100 == 0:
		return 40_000
	case n%10 == 0:
		return 3000
	}
	return 40 + n%5*40
}

// TestEvictsWhenFull stores many times what fits, and finds what is there to be right.
func TestEvictsWhenFull(t *testing.T) {
	for _, size := range []int{1 << 20, 8 << 20} {
		c := newCache(t, size, cache.Config{})
		n := size / 200
		var buffer []byte
		for i := range n {
			key := fmt.Sprint("key", i)
			buffer = sealed(buffer, key, uint64(i), lengthOf(i))
			if outcome, _ := c.Store(cache.Write{Key: []byte(key), Value: buffer}); outcome != cache.Stored {
				t.Fatalf("%d bytes: store %d: %v; %+v", size, i, outcome, c.Stats())
			}
		}
		c.Quiesce()
		found := 0
		for i := range n {
			key := fmt.Sprint("key", i)
			s := c.Read()
			if item, ok := s.Get([]byte(key)); ok {
				found++
				if _, err := unseal(key, item.AppendValue(nil)); err != nil {
					t.Error(err)
				}
			}
			s.Done()
		}
		if err := c.Check(); err != nil {
			t.Error(err)
		}
		stats := c.Stats()
		if found == 0 || found != stats.Items || uint64(n-found) != stats.Evicted {
			t.Errorf("%d bytes: %d of %d found, %d items, %d evicted", size, found, n, stats.Items, stats.Evicted)
		}
		checkSums(t, stats)
		t.Logf("%d bytes: %d of %d items", size, found, n)
	}
}

// checkSums holds the statistics to the byte.
func checkSums(t *testing.T, s cache.Stats) {
	t.Helper()
	slabs := 0
	for _, class := range s.Classes {
		slabs += class.Pages * cache.PageBytes
		if used := class.Chunks - class.Free; class.ItemBytes > used*class.Chunk || class.Chunks*class.Chunk > class.Pages*cache.PageBytes {
			t.Errorf("class %+v does not add up", class)
		}
	}
	if s.Control+s.Index+s.Free+slabs != s.Region || slabs != s.Slabs {
		t.Errorf("control %d, index %d, free %d, slabs %d are not %d", s.Control, s.Index, s.Free, slabs, s.Region)
	}
}

// TestConcurrent has writers and readers of the same keys in memory that is too small.
func TestConcurrent(t *testing.T) {
	const keys, writers, readers, writes = 6000, 3, 2, 4000
	c := newCache(t, 4<<20, cache.Config{})
	var versions [keys]atomic.Uint64 // acknowledged, one writer a key
	var stop atomic.Bool
	var writing, reading sync.WaitGroup
	for w := range writers {
		writing.Go(func() {
			r := rand.New(rand.NewPCG(uint64(w), 1))
			var buffer []byte
			for i := range writes {
				n := r.IntN(keys/writers)*writers + w
				key := fmt.Sprint("key", n)
				version := versions[n].Load()
				switch r.IntN(20) {
				case 0:
					version++
					c.Delete(cache.Removal{Key: []byte(key)})
				case 1:
					c.Touch([]byte(key), 0)
				default:
					version++
					buffer = sealed(buffer, key, version, lengthOf(r.IntN(1000)))
					expiry := uint32(0)
					if r.IntN(10) == 0 {
						expiry = 1001 + uint32(r.IntN(50))
					}
					if outcome, _ := c.Store(cache.Write{Key: []byte(key), Value: buffer, Expiry: expiry}); outcome != cache.Stored {
						t.Errorf("store: %v", outcome)
					}
				}
				versions[n].Store(version)
				if w == 0 && i%100 == 0 {
					c.Tick(1000 + uint32(i/100))
				}
				if w == 1 && i%2000 == 0 {
					c.Flush(0)
				}
			}
		})
	}
	for range readers {
		reading.Go(func() {
			r := rand.New(rand.NewPCG(rand.Uint64(), 2))
			hits := 0
			for !stop.Load() || hits == 0 { // one hit at least, also if the writers were faster
				n := r.IntN(keys)
				key := fmt.Sprint("key", n)
				acknowledged := versions[n].Load()
				s := c.Read()
				item, ok := s.Get([]byte(key))
				var value []byte
				if ok {
					value = item.AppendValue(nil)
				}
				s.Done()
				if !ok {
					continue
				}
				hits++
				if version, err := unseal(key, value); err != nil {
					t.Error(err)
				} else if version < acknowledged {
					t.Errorf("%s is of version %d, after %d", key, version, acknowledged)
				}
			}
		})
	}
	writing.Wait()
	stop.Store(true)
	reading.Wait()
	c.Quiesce()
	if err := c.Check(); err != nil {
		t.Error(err)
	}
	checkSums(t, c.Stats())
}

type graceFunc func() error

func (f graceFunc) Wait() error { return f() }

// TestGraceThatFails: while the kernel does not answer, nothing that it may read is used
// again, and writers wait; when it does, they go on.
func TestGraceThatFails(t *testing.T) {
	asked, answer, over := make(chan struct{}), make(chan error), make(chan struct{})
	c := newCache(t, 1<<20, cache.Config{Grace: graceFunc(func() error {
		select {
		case asked <- struct{}{}:
			return <-answer
		case <-over:
			return nil
		}
	})})
	t.Cleanup(func() { close(over) }) // before the cache is closed
	var stored atomic.Int64
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 2000 {
			if outcome, _ := c.Store(cache.Write{Key: fmt.Append(nil, i), Value: make([]byte, 1000)}); outcome != cache.Stored {
				t.Errorf("store: %v", outcome)
			}
			stored.Add(1)
		}
	}()
	for range 3 {
		<-asked
		answer <- errors.New("no answer")
	}
	if n := stored.Load(); n > 1<<20/1024 {
		t.Errorf("%d items of 1 KiB in 1 MiB, none of which may be used again", n)
	}
	for {
		select {
		case <-asked:
			answer <- nil
		case <-done:
			return
		}
	}
}
