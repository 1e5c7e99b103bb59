package cache_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"carillon/cache"
)

func newCache(t testing.TB, bytes int, config cache.Config) *cache.Cache {
	t.Helper()
	c, err := cache.New(make([]uint64, bytes/8), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	c.Tick(1000)
	return c
}

func set(t testing.TB, c *cache.Cache, key, value string) {
	t.Helper()
	if outcome, _ := c.Store(cache.Write{Key: []byte(key), Value: []byte(value)}); outcome != cache.Stored {
		t.Fatalf("set %s: %v", key, outcome)
	}
}

func get(c *cache.Cache, key string) string {
	text, ok := c.Get(nil, []byte(key))
	if !ok {
		return "END\r\n"
	}
	return string(text)
}

func TestSetGetDelete(t *testing.T) {
	c := newCache(t, 1<<20, cache.Config{})
	if got := get(c, "a"); got != "END\r\n" {
		t.Errorf("before: %q", got)
	}
	set(t, c, "a", "one")
	if got := get(c, "a"); got != "VALUE a 0 3\r\none\r\n" {
		t.Errorf("after set: %q", got)
	}
	set(t, c, "a", "three")
	if got := get(c, "a"); got != "VALUE a 0 5\r\nthree\r\n" {
		t.Errorf("after another set: %q", got)
	}
	if o := c.Delete(cache.Removal{Key: []byte("a")}); o != cache.Stored {
		t.Errorf("delete: %v", o)
	}
	if got := get(c, "a"); got != "END\r\n" {
		t.Errorf("after delete: %q", got)
	}
}

func TestConfigErrors(t *testing.T) {
	for name, try := range map[string]struct {
		words  int
		config cache.Config
	}{
		"no multiple of a page": {1<<17 + 1, cache.Config{}},
		"too small":             {cache.PageBytes / 8, cache.Config{}},
		"growth":                {1 << 17, cache.Config{Growth: 1}},
		"too many sizes":        {1 << 17, cache.Config{Growth: 1.01}},
		"large items":           {1 << 17, cache.Config{ItemBytes: 1 << 20}},
		"small items":           {1 << 17, cache.Config{ItemBytes: 1}},
	} {
		if _, err := cache.New(make([]uint64, try.words), try.config); !errors.Is(err, cache.ErrConfig) {
			t.Errorf("%s: %v", name, err)
		}
	}
	used := make([]uint64, 1<<17)
	c, err := cache.New(used, cache.Config{})
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	if _, err := cache.New(used, cache.Config{}); !errors.Is(err, cache.ErrConfig) {
		t.Errorf("a region that is used: %v", err)
	}
}

// TestItemSizes goes over all lengths at which the form of an item changes.
func TestItemSizes(t *testing.T) {
	c := newCache(t, 8<<20, cache.Config{})
	lengths := []int{0, 1, 9, 10, 99, 100, 16_000, 1<<20 - 60}
	for n := 16_300; n < 16_400; n++ {
		lengths = append(lengths, n, n+16_352)
	}
	for _, n := range lengths {
		value := strings.Repeat("0123456", n/7+1)[:n]
		set(t, c, "key", value)
		if want := fmt.Sprintf("VALUE key 0 %d\r\n%s\r\n", n, value); get(c, "key") != want {
			t.Fatalf("a value of %d bytes comes back as another", n)
		}
	}
	for _, w := range []cache.Write{
		{Key: []byte("key"), Value: make([]byte, 1<<20)},
		{Key: nil},
		{Key: make([]byte, cache.MaxKey+1)},
	} {
		if o, _ := c.Store(w); o != cache.TooLarge {
			t.Errorf("a key of %d and a value of %d bytes: %v", len(w.Key), len(w.Value), o)
		}
	}
	if _, ok := c.Get(nil, []byte("key")); ok {
		t.Error("a value that could not be replaced is still there")
	}
	for _, key := range [][]byte{nil, make([]byte, cache.MaxKey+1), make([]byte, 5000)} {
		if _, ok := c.Get(nil, key); ok {
			t.Errorf("a key of %d bytes is found", len(key))
		}
	}
	if o, _ := c.Store(cache.Write{Key: []byte("key"), Value: make([]byte, 1<<19)}); o != cache.Stored {
		t.Error(o)
	}
	if o, _ := c.Store(cache.Write{Key: []byte("key"), Value: make([]byte, 1<<19), Mode: cache.Append}); o != cache.TooLarge {
		t.Errorf("appending beyond the limit: %v", o)
	}
	if text, ok := c.Get(nil, []byte("key")); !ok || len(text) < 1<<19 {
		t.Error("what could not be appended to is gone")
	}
}

// TestKeep: full memory refuses what is new, and keeps what is there.
func TestKeep(t *testing.T) {
	c := newCache(t, 1<<20, cache.Config{Keep: true})
	stored := 0
	for ; ; stored++ {
		o, _ := c.Store(cache.Write{Key: fmt.Append(nil, stored), Value: make([]byte, 500)})
		if o == cache.OutOfSpace {
			break
		}
	}
	for i := range stored {
		if _, ok := c.Get(nil, fmt.Append(nil, i)); !ok {
			t.Fatalf("item %d of %d is gone", i, stored)
		}
	}
	if s := c.Stats(); s.Evicted != 0 || s.OutOfSpace != 1 || stored < 1400 {
		t.Errorf("%d stored, %d evicted, %d refused", stored, s.Evicted, s.OutOfSpace)
	}
	for i := range 10 { // which makes room for others
		c.Delete(cache.Removal{Key: fmt.Append(nil, i)})
	}
	if o, _ := c.Store(cache.Write{Key: []byte("new"), Value: make([]byte, 500)}); o != cache.Stored {
		t.Errorf("after deletes: %v", o)
	}
}

// TestMarks is what meta commands need to know of an item.
func TestMarks(t *testing.T) {
	c := newCache(t, 1<<20, cache.Config{})
	look := func() cache.Item {
		t.Helper()
		s := c.Read()
		defer s.Done()
		i, ok := s.Get([]byte("k"))
		if !ok {
			t.Fatal("not found")
		}
		return i
	}
	c.Store(cache.Write{Key: []byte("k"), Binary: true, CAS: 77})
	if i := look(); i.Fetched() || i.Stale() || i.Won() || !i.Binary() || i.CAS() != 77 || i.Idle() != 0 {
		t.Errorf("a new item: %+v", i)
	}
	if i := look(); !i.Fetched() || !i.Win() || i.Win() {
		t.Error("not fetched, or won by none or two")
	}
	if !look().Won() {
		t.Error("not won")
	}
	c.Delete(cache.Removal{Key: []byte("k"), Invalidate: true})
	if i := look(); !i.Stale() || i.Won() || !i.Binary() {
		t.Error("an item that was invalidated can be won again")
	}
	c.Tick(1000 + 100)
	if i := look(); i.Idle() != 100 {
		t.Errorf("idle for %d s", i.Idle())
	}
	if i := look(); i.Idle() != 0 {
		t.Errorf("idle for %d s after being read", i.Idle())
	}
	c.Touch([]byte("k"), 1100)
	if _, ok := c.Get(nil, []byte("k")); ok {
		t.Error("there at the second at which it expires")
	}
}

func TestHotKeys(t *testing.T) {
	c := newCache(t, 1<<20, cache.Config{})
	set(t, c, "hot", "1")
	for i := range 200_000 {
		c.Get(nil, []byte("hot"))
		if i%2 == 0 {
			c.Get(nil, []byte("warm, but missing"))
		}
		c.Get(nil, fmt.Appendf(nil, "cold %d", i))
	}
	c.Saw([]byte("kernel"), 1_000_000)
	hot := c.Hot(3)
	if len(hot) != 3 || hot[0].Key != "kernel" || hot[1].Key != "hot" || hot[2].Key != "warm, but missing" {
		t.Fatalf("hot keys: %+v", hot)
	}
	if n := hot[1].Count; n < 150_000 || n > 250_000 {
		t.Errorf("200000 look-ups are estimated as %d", n)
	}
}

// TestAllocations: neither look-ups nor stores allocate.
func TestAllocations(t *testing.T) {
	c := newCache(t, 4<<20, cache.Config{})
	key, value, dst := []byte("a key of some bytes"), make([]byte, 300), make([]byte, 0, 1000)
	for name, f := range map[string]func(){
		"store":  func() { c.Store(cache.Write{Key: key, Value: value}) },
		"append": func() { c.Store(cache.Write{Key: key, Mode: cache.Append}) },
		"get":    func() { c.Get(dst, key) },
		"touch":  func() { c.Touch(key, 0) },
		"delete": func() { c.Delete(cache.Removal{Key: key}) },
		"count":  func() { c.Count(cache.Count{Key: []byte("n"), Vivify: true}) },
	} {
		if n := testing.AllocsPerRun(1000, f); n > 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// TestCloseFreesWriters: nobody waits for a recycler that has gone.
func TestCloseFreesWriters(t *testing.T) {
	blocked := make(chan struct{})
	var once sync.Once
	c, err := cache.New(make([]uint64, 1<<17), cache.Config{Grace: graceFunc(func() error {
		once.Do(func() { close(blocked) })
		return errors.New("no answer")
	})})
	if err != nil {
		t.Fatal(err)
	}
	refused := make(chan int)
	go func() {
		for i := 0; ; i++ {
			if o, _ := c.Store(cache.Write{Key: fmt.Append(nil, i), Value: make([]byte, 1000)}); o == cache.OutOfSpace {
				refused <- i
				return
			}
		}
	}()
	<-blocked
	c.Close()
	<-refused
}
