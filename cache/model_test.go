package cache_test

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"carillon/cache"
)

// entry is what the model knows of an item.
type entry struct {
	value  string
	flags  uint32
	expiry uint32
	unique uint64
	stale  bool
}

// model is the cache as a map, without a bound on memory.
type model struct {
	cache *cache.Cache
	items map[string]entry
	now   uint32
	last  uint64 // CAS unique
	flush uint32
}

func (m *model) find(key string) (entry, bool) {
	e, ok := m.items[key]
	if ok && e.expiry != 0 && e.expiry <= m.now {
		delete(m.items, key)
		return entry{}, false
	}
	return e, ok
}

func (m *model) put(key string, e entry, unique uint64) {
	if unique == 0 {
		m.last++
		unique = m.last
	}
	e.unique = unique
	m.items[key] = e
}

// store is Store, by the model.
func (m *model) store(w cache.Write) cache.Outcome {
	key := string(w.Key)
	fresh := entry{value: string(w.Value), flags: w.Flags, expiry: w.Expiry}
	old, found := m.find(key)
	switch {
	case !found && w.Compare != 0 && w.Mode == cache.Set:
		return cache.NotFound
	case !found && (w.Mode == cache.Replace || w.Mode >= cache.Append && !w.Vivify), found && w.Mode == cache.Add:
		return cache.NotStored
	case found && w.Compare != 0 && w.Compare != old.unique:
		if !w.Invalidate || w.Compare > old.unique {
			return cache.Exists
		}
		fresh.stale, fresh.expiry = true, old.expiry
	}
	if found && w.Mode >= cache.Append {
		fresh = old
		if w.Mode == cache.Append {
			fresh.value += string(w.Value)
		} else {
			fresh.value = string(w.Value) + old.value
		}
	}
	m.put(key, fresh, w.CAS)
	return cache.Stored
}

func (m *model) count(n cache.Count) (cache.Outcome, uint64) {
	key := string(n.Key)
	old, found := m.find(key)
	switch {
	case !found && !n.Vivify:
		return cache.NotFound, 0
	case !found:
		m.put(key, entry{value: strconv.FormatUint(n.Initial, 10), expiry: n.Expiry}, n.CAS)
		return cache.Stored, n.Initial
	case n.Compare != 0 && n.Compare != old.unique:
		return cache.Exists, 0
	}
	words := strings.Fields(old.value)
	if len(words) == 0 {
		return cache.NotNumber, 0
	}
	value, err := strconv.ParseUint(words[0], 10, 64)
	if err != nil || len(old.value) > 16000 {
		return cache.NotNumber, 0
	}
	if n.Down {
		value -= min(value, n.Delta)
	} else {
		value += n.Delta
	}
	digits := strconv.FormatUint(value, 10)
	old.value = digits + strings.Repeat(" ", max(0, len(old.value)-len(digits)))
	if n.SetExpiry {
		old.expiry = n.Expiry
	}
	m.put(key, old, n.CAS)
	return cache.Stored, value
}

// compare looks a key up in both.
func (m *model) compare(t *rapid.T, key string) {
	s := m.cache.Read()
	defer s.Done()
	got, ok := s.Get([]byte(key))
	want, found := m.find(key)
	if ok != found {
		t.Fatalf("%q found %v, want %v", key, ok, found)
	}
	if !ok {
		return
	}
	line := fmt.Sprintf("VALUE %s %d %d\r\n", key, want.flags, len(want.value))
	if text := string(got.AppendText(nil)); text != line+want.value+"\r\n" || len(text) != got.TextLen() {
		t.Fatalf("%q is %.100q, want %.100q", key, text, line+want.value)
	}
	if string(got.Line()) != line || string(got.AppendValue(nil)) != want.value || string(got.Key()) != key {
		t.Fatalf("parts of %q do not agree", key)
	}
	if got.Flags() != want.flags || got.Expiry() != want.expiry || got.CAS() != want.unique || got.Len() != len(want.value) || got.Stale() != want.stale {
		t.Fatalf("%q: flags %d, expiry %d, CAS %d, stale %v; want %+v", key, got.Flags(), got.Expiry(), got.CAS(), got.Stale(), want)
	}
}

// checkModel does what is drawn to the cache and the model, and compares them.
func checkModel(t *rapid.T) {
	c, err := cache.New(make([]uint64, 32*cache.PageBytes/8), cache.Config{Seed: rapid.Uint64().Draw(t, "seed")})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	m := &model{cache: c, items: map[string]entry{}, now: 1000}
	c.Tick(m.now)
	t.Repeat(m.actions())
	for _, key := range slices.Sorted(maps.Keys(m.items)) {
		m.compare(t, key)
	}
	c.Quiesce()
	if err := c.Check(); err != nil {
		t.Fatal(err)
	}
	live := 0
	c.Each(func(i cache.Item) bool {
		if _, ok := m.find(string(i.Key())); !ok {
			t.Fatalf("%q should not be there", i.Key())
		}
		live++
		return true
	})
	if live != len(m.items) {
		t.Fatalf("%d items, want %d", live, len(m.items))
	}
}

func TestModel(t *testing.T) { rapid.Check(t, checkModel) }

// FuzzModel: keys and values are bytes from outside.
func FuzzModel(f *testing.F) { f.Fuzz(rapid.MakeFuzz(checkModel)) }

var (
	keys = rapid.Custom(func(t *rapid.T) string {
		prefix := rapid.SampledFrom([]string{"", "cpu.", "disk.usage."}).Draw(t, "prefix")
		return prefix + strings.Repeat("k", rapid.SampledFrom([]int{1, 7, 8, 17, 230}).Draw(t, "length")) +
			strconv.Itoa(rapid.IntRange(0, 3).Draw(t, "number"))
	})
	values = rapid.Custom(func(t *rapid.T) []byte {
		switch rapid.IntRange(0, 3).Draw(t, "kind") {
		case 0:
			return strconv.AppendUint(nil, rapid.Uint64().Draw(t, "n"), 10)
		case 1:
			return bytes.Repeat([]byte("\r\n "), rapid.IntRange(0, 15000).Draw(t, "times"))
		}
		return rapid.SliceOfN(rapid.Byte(), 0, 100).Draw(t, "value")
	})
	expiries = rapid.Custom(func(t *rapid.T) uint32 {
		return rapid.SampledFrom([]uint32{0, 0, 1000, 1003, 1010, 1100}).Draw(t, "expiry")
	})
)

func (m *model) actions() map[string]func(*rapid.T) {
	// unique is the CAS unique of an item, or near it, or none.
	unique := func(t *rapid.T, key string) uint64 {
		if !rapid.Bool().Draw(t, "compare") {
			return 0
		}
		return m.items[key].unique + rapid.Uint64Range(0, 2).Draw(t, "off")
	}
	return map[string]func(*rapid.T){
		"get": func(t *rapid.T) { m.compare(t, keys.Draw(t, "key")) },
		"store": func(t *rapid.T) {
			w := cache.Write{Key: []byte(keys.Draw(t, "key")), Value: values.Draw(t, "value"), Expiry: expiries.Draw(t, "expiry")}
			w.Flags = rapid.Uint32().Draw(t, "flags")
			w.Mode = cache.Mode(rapid.IntRange(0, 4).Draw(t, "mode"))
			w.Vivify, w.Invalidate = rapid.Bool().Draw(t, "vivify"), rapid.Bool().Draw(t, "invalidate")
			w.Compare = unique(t, string(w.Key))
			got, given := m.cache.Store(w)
			if want := m.store(w); got != want {
				t.Fatalf("store %+v: %v, want %v", w, got, want)
			}
			if got == cache.Stored && given != m.items[string(w.Key)].unique {
				t.Fatalf("store: CAS %d, want %d", given, m.items[string(w.Key)].unique)
			}
			m.compare(t, string(w.Key))
		},
		"count": func(t *rapid.T) {
			n := cache.Count{Key: []byte(keys.Draw(t, "key")), Delta: rapid.Uint64().Draw(t, "delta"), Down: rapid.Bool().Draw(t, "down")}
			n.Vivify, n.Initial = rapid.Bool().Draw(t, "vivify"), rapid.Uint64().Draw(t, "initial")
			n.Compare = unique(t, string(n.Key))
			n.SetExpiry, n.Expiry = rapid.Bool().Draw(t, "setexpiry"), expiries.Draw(t, "expiry")
			got, value, _ := m.cache.Count(n)
			if want, wantValue := m.count(n); got != want || value != wantValue {
				t.Fatalf("count %+v: %v %d, want %v %d", n, got, value, want, wantValue)
			}
			m.compare(t, string(n.Key))
		},
		"delete": func(t *rapid.T) {
			r := cache.Removal{Key: []byte(keys.Draw(t, "key"))}
			r.Compare = unique(t, string(r.Key))
			old, found := m.find(string(r.Key))
			want := cache.Stored
			switch {
			case !found:
				want = cache.NotFound
			case r.Compare != 0 && r.Compare != old.unique:
				want = cache.Exists
			default:
				delete(m.items, string(r.Key))
			}
			if got := m.cache.Delete(r); got != want {
				t.Fatalf("delete: %v, want %v", got, want)
			}
		},
		"invalidate": func(t *rapid.T) {
			r := cache.Removal{Key: []byte(keys.Draw(t, "key")), Invalidate: true, Clear: rapid.Bool().Draw(t, "clear")}
			r.SetExpiry, r.Expiry = rapid.Bool().Draw(t, "setexpiry"), expiries.Draw(t, "expiry")
			old, found := m.find(string(r.Key))
			want := cache.NotFound
			if found {
				want = cache.Stored
				old.stale = true
				if r.Clear {
					old.value, old.flags = "", 0
				}
				if r.SetExpiry {
					old.expiry = r.Expiry
				}
				m.put(string(r.Key), old, 0)
			}
			if got := m.cache.Delete(r); got != want {
				t.Fatalf("invalidate: %v, want %v", got, want)
			}
			m.compare(t, string(r.Key))
		},
		"touch": func(t *rapid.T) {
			key, expiry := keys.Draw(t, "key"), expiries.Draw(t, "expiry")
			e, found := m.find(key)
			if got := m.cache.Touch([]byte(key), expiry); (got == cache.Stored) != found {
				t.Fatalf("touch: %v, want found %v", got, found)
			}
			if found {
				e.expiry = expiry
				m.items[key] = e
			}
			m.compare(t, key)
		},
		"delete prefix": func(t *rapid.T) {
			prefix, n := rapid.SampledFrom([]string{"cpu.", "disk.", "kkkk", "none"}).Draw(t, "prefix"), 0
			for key := range maps.Clone(m.items) {
				if _, ok := m.find(key); ok && strings.HasPrefix(key, prefix) {
					delete(m.items, key)
					n++
				}
			}
			if got := m.cache.DeletePrefix([]byte(prefix)); got != n {
				t.Fatalf("delete prefix: %d, want %d", got, n)
			}
		},
		"tick": func(t *rapid.T) {
			m.now += rapid.SampledFrom([]uint32{1, 2, 60}).Draw(t, "seconds")
			if m.flush != 0 && m.flush <= m.now {
				m.items, m.flush = map[string]entry{}, 0
			}
			m.cache.Tick(m.now)
		},
		"flush": func(t *rapid.T) {
			at := m.now + rapid.SampledFrom([]uint32{0, 0, 3}).Draw(t, "delay")
			if m.cache.Flush(at); at > m.now {
				m.flush = at
				return
			}
			m.items, m.flush = map[string]entry{}, 0
		},
	}
}
