package main

import (
	"sync"

	"github.com/maypok86/otter/v2"
	"github.com/puzpuzpuz/xsync/v4"
)

// peer is one table; open makes it for so many entries. All are told the size, as
// ours is.
type peer struct {
	name string
	open func(entries int) (get func(string) (uint64, bool), set func(string, uint64))
}

func peers() []peer {
	return []peer{{"gomap", goMap}, {"xsync", xsyncMap}, {"otter", otterCache}}
}

func goMap(entries int) (get func(string) (uint64, bool), set func(string, uint64)) {
	m := make(map[string]uint64, entries)
	var lock sync.RWMutex
	get = func(name string) (uint64, bool) {
		lock.RLock()
		defer lock.RUnlock()
		v, ok := m[name]
		return v, ok
	}
	set = func(name string, value uint64) {
		lock.Lock()
		defer lock.Unlock()
		m[name] = value
	}
	return get, set
}

func xsyncMap(entries int) (get func(string) (uint64, bool), set func(string, uint64)) {
	m := xsync.NewMap[string, uint64](xsync.WithPresize(entries))
	return m.Load, m.Store
}

// otterCache may evict shortly before its maximum, which has room to spare for that.
func otterCache(entries int) (get func(string) (uint64, bool), set func(string, uint64)) {
	c := otter.Must(&otter.Options[string, uint64]{MaximumSize: entries * 5 / 4, InitialCapacity: entries})
	return c.GetIfPresent, func(name string, value uint64) { c.Set(name, value) }
}
