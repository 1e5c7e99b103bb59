package memcached

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"strconv"
	"time"

	"carillon/cache"
)

// stat appends a line of a reply to stats.
func (s *session) stat(name string, value any) {
	s.out = fmt.Appendf(s.out, "STAT %s %v\r\n", name, value)
}

// stats is: stats [settings|items|slabs|sizes|conns|hot|reset].
func (s *session) stats() {
	s.leave() // count what this client did before
	part := ""
	if s.n > 1 {
		part = string(s.word(1))
	}
	switch part {
	case "":
		s.generalStats()
	case "settings":
		s.settings()
	case "items":
		s.itemStats(s.cache.Stats())
	case "slabs":
		s.slabStats(s.cache.Stats())
	case "sizes":
		s.sizes()
	case "sizes_enable", "sizes_disable": // they are always counted when asked for
		s.stat("sizes_status", "enabled")
	case "conns":
		s.server.connections.each(func(id uint64, name string, value any) { s.stat(fmt.Sprintf("%d:%s", id, name), value) })
	case "hot":
		for _, key := range s.cache.Hot(hotKeys) {
			s.stat(escaped([]byte(key.Key)), key.Count)
		}
	case "reset":
		s.server.totals.reset()
		s.say("RESET")
		return
	case "cachedump":
		s.say("CLIENT_ERROR stats cachedump not allowed")
		return
	default:
		s.say(errUnknown)
		return
	}
	s.out = append(s.out, "END\r\n"...)
}

// hotKeys is how many keys stats hot shows.
const hotKeys = 100

func (s *session) generalStats() {
	server, now := s.server, s.cache.Now()
	user, system := processTimes()
	s.stat("pid", os.Getpid())
	s.stat("uptime", now-server.started)
	s.stat("time", now)
	s.stat("version", server.config.Version)
	s.stat("pointer_size", strconv.IntSize)
	s.stat("rusage_user", seconds(user))
	s.stat("rusage_system", seconds(system))
	s.stat("max_connections", server.config.Connections)
	s.stat("curr_connections", server.Connections())
	server.Counters(func(name string, value uint64) { s.stat(name, value) })
	c := s.cache.Stats()
	itemBytes := 0
	for i := range c.Classes {
		itemBytes += c.Classes[i].ItemBytes
	}
	s.stat("limit_maxbytes", c.Region)
	s.stat("accepting_conns", 1)
	s.stat("threads", runtime.GOMAXPROCS(0))
	s.stat("hash_bytes", c.Index)
	s.stat("curr_items", c.Items)
	s.stat("total_items", c.Stored)
	s.stat("bytes", itemBytes)
	s.stat("slab_bytes", c.Slabs)
	s.stat("free_bytes", c.Free)
	s.stat("evictions", c.Evicted)
	s.stat("evicted_unfetched", c.EvictedUnread)
	s.stat("reclaimed", c.Expired)
	s.stat("expired_unfetched", c.ExpiredUnread)
	s.stat("buffer_bytes_free", server.budget.left.Load())
	if server.config.Kernel != nil {
		server.config.Kernel(func(name string, value uint64) { s.stat("kernel_"+name, value) })
	}
}

// seconds is a time as rusage has it.
func seconds(d time.Duration) string {
	return fmt.Sprintf("%d.%06d", d/time.Second, d%time.Second/time.Microsecond)
}

func (s *session) settings() {
	c := &s.server.config
	s.stat("maxbytes", s.cache.Stats().Region)
	s.stat("maxconns", c.Connections)
	s.stat("tcpport", portOf(c.TCP))
	s.stat("udpport", portOf(c.UDP))
	s.stat("inter", cmp.Or(c.TCP, "NULL"))
	s.stat("verbosity", 0)
	s.stat("evictions", onOff(!s.cache.Config().Keep, "on", "off"))
	s.stat("domain_socket", cmp.Or(c.Unix, "NULL"))
	s.stat("umask", strconv.FormatUint(uint64(c.UnixMode), 8))
	s.stat("growth_factor", fmt.Sprintf("%.3f", s.cache.Config().Growth))
	s.stat("num_threads", runtime.GOMAXPROCS(0))
	s.stat("cas_enabled", "yes")
	s.stat("binding_protocol", "ascii")
	s.stat("auth_enabled_sasl", "no")
	s.stat("auth_enabled_ascii", onOff(c.Users != nil, "yes", "no"))
	s.stat("item_size_max", s.cache.Config().ItemBytes)
	s.stat("maxconns_fast", "yes")
	s.stat("idle_timeout", int(c.IdleTimeout/time.Second))
	s.stat("buffer_bytes_max", c.BufferBytes)
	s.stat("flush_enabled", "yes")
	s.stat("dump_enabled", "yes")
}

func onOff(b bool, on, off string) string {
	if b {
		return on
	}
	return off
}

func (s *session) itemStats(c cache.Stats) {
	for i := range c.Classes {
		class := &c.Classes[i]
		add := func(name string, value any) { s.stat(fmt.Sprintf("items:%d:%s", class.Class, name), value) }
		add("number", class.Chunks-class.Free-class.Retired)
		add("mem_requested", class.ItemBytes)
		add("evicted", class.Evicted)
		add("evicted_unfetched", class.EvictedUnread)
		add("outofmemory", class.OutOfSpace)
		add("reclaimed", class.Expired)
		add("expired_unfetched", class.ExpiredUnread)
	}
}

func (s *session) slabStats(c cache.Stats) {
	for i := range c.Classes {
		class := &c.Classes[i]
		add := func(name string, value any) { s.stat(fmt.Sprintf("%d:%s", class.Class, name), value) }
		add("chunk_size", class.Chunk)
		add("chunks_per_page", cache.PageBytes/class.Chunk)
		add("total_pages", class.Pages)
		add("total_chunks", class.Chunks)
		add("used_chunks", class.Chunks-class.Free)
		add("free_chunks", class.Free)
		add("free_chunks_end", 0)
		add("mem_requested", class.ItemBytes)
		add("get_hits", class.Hits)
		add("cmd_set", class.Stored)
	}
	s.stat("active_slabs", len(c.Classes))
	s.stat("total_malloced", c.Slabs)
}

// sizeStep is the bytes by which items are told apart in stats sizes.
const sizeStep = 32

// sizes counts the items by their size.
func (s *session) sizes() {
	bySize := make(map[int]int)
	s.cache.Each(func(item cache.Item) bool {
		bySize[(item.Bytes()+sizeStep-1)/sizeStep*sizeStep]++
		return true
	})
	for _, size := range slices.Sorted(maps.Keys(bySize)) {
		s.stat(strconv.Itoa(size), bySize[size])
	}
}
