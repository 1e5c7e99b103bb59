//go:build linux && (amd64 || arm64 || riscv64)

package xdp_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/zeebo/xxh3"

	"carillon/cache"
	"carillon/cache/xdp"
)

// stress is keys that writers change, expire and delete, and evict by filling the
// memory, while the program reads them.
//
// The changes of a key are numbered; what change n does follows from n, so that a
// reader who knows which changes were acknowledged before it asked, and which were
// begun before it was answered, knows every answer that is right.
type stress struct {
	*server
	keys   []stressKey
	evicts bool          // the memory is too small for all keys, so any miss is right
	now    atomic.Uint32 // Unix seconds
	gets   atomic.Int64  // left to be done
	turns  chan struct{} // for changes: readers allow one now and then, or writers would take all processors
}

const (
	getsPerTurn = 4
	turnsAhead  = 1024
)

// stressKey is one key. One writer owns it; the numbers are read by readers.
type stressKey struct {
	name         string
	begun, acked atomic.Uint64
	expiry       atomic.Uint32 // of the last change acknowledged, 0 for never
}

type effect int

const (
	deletes effect = iota
	sets
	expires // sets, with an expiry a second or two away
)

func effectOf(change uint64) effect {
	switch {
	case change%7 == 0:
		return deletes
	case change%7 == 3:
		return expires
	default:
		return sets
	}
}

// value is what change n gives a key: its number, the checksum of key and number, and
// bytes that make lengths differ.
func (k *stressKey) value(n uint64) []byte {
	sum := xxh3.HashString(k.name + "#" + strconv.FormatUint(n, 10))
	b := fmt.Appendf(nil, "%d %016x ", n, sum)
	return append(b, bytes.Repeat([]byte{byte('a' + n%26)}, int(sum%400))...)
}

func newStress(t testing.TB, keys int, megabytes int64, gets int64) *stress {
	s := &stress{server: newServer(t, megabytes<<20, config()), turns: make(chan struct{}, turnsAhead)}
	s.keys = make([]stressKey, keys)
	for i := range s.keys {
		s.keys[i].name = fmt.Sprintf("stress-%d-%d", i, i*i)
	}
	s.now.Store(startOfTime)
	s.gets.Store(gets)
	return s
}

// run reads until so many GETs are done or a deadline has come.
func (s *stress) run(t testing.TB, deadline time.Time) {
	stop := make(chan struct{})
	var writers, readers sync.WaitGroup
	const owners = 2
	for w := range owners {
		writers.Go(func() { s.write(t, w, owners, stop) })
	}
	for r := range max(2, runtime.NumCPU()) {
		readers.Go(func() { s.read(t, uint64(r), deadline) })
	}
	readers.Wait()
	close(stop)
	writers.Wait()
}

func (s *stress) write(t testing.TB, owner, owners int, stop <-chan struct{}) {
	random := rand.New(rand.NewPCG(1, uint64(owner)))
	for n := 0; ; n++ {
		select {
		case <-stop:
			return
		case <-s.turns:
		}
		if owner == 0 && n%1000 == 0 {
			s.Tick(s.now.Add(1))
		}
		k := &s.keys[random.IntN(len(s.keys)/owners)*owners+owner]
		change := k.begun.Add(1)
		expiry := uint32(0)
		switch what := effectOf(change); what {
		case deletes:
			s.Delete(cache.Removal{Key: []byte(k.name)})
		default:
			write := cache.Write{Key: []byte(k.name), Value: k.value(change)}
			if what == expires {
				expiry = s.now.Load() + 1 + uint32(change%2)
				write.Expiry = expiry
			}
			if outcome, _ := s.Store(write); outcome != cache.Stored && !s.evicts {
				t.Errorf("change %d of %s: %d", change, k.name, outcome)
				return
			}
		}
		k.expiry.Store(expiry)
		k.acked.Store(change)
	}
}

func (s *stress) read(t testing.TB, reader uint64, deadline time.Time) {
	random := rand.New(rand.NewPCG(2, reader))
	for n := 0; s.gets.Add(-1) >= 0; n++ {
		if n%1024 == 0 && time.Now().After(deadline) {
			return
		}
		if n%getsPerTurn == 0 {
			select {
			case s.turns <- struct{}{}:
			default:
			}
		}
		k := &s.keys[random.IntN(len(s.keys))]
		command := "get "
		if n%4 == 0 {
			command = "gets "
		}
		frame := ways[n%len(ways)].datagram(request(uint16(n), command+k.name+"\r\n")).frame()
		now, acked := s.Now(), k.acked.Load()
		expiry := k.expiry.Load()
		out, answered, err := s.program.Run(frame)
		begun := k.begun.Load()
		ended := acked == begun && expiry != 0 && expiry <= now // when it was asked, and nothing came after
		if err != nil {
			t.Error(err)
			return
		}
		if !answered { // too large, or the index was changing
			continue
		}
		reply, err := parse(out)
		if err == nil {
			err = s.judge(k, reply.payload[8:], acked, begun)
		}
		if err == nil && ended && len(reply.payload) > len("12345678END\r\n") {
			err = fmt.Errorf("an answer at %d, after its end at %d", now, expiry)
		}
		if err != nil {
			t.Errorf("%s%s, changes %d to %d: %v", command, k.name, acked, begun, err)
			return
		}
	}
}

// judge says what is wrong with a reply to a GET during which changes from acked to
// begun may have been the last one.
func (s *stress) judge(k *stressKey, reply []byte, acked, begun uint64) error {
	if string(reply) == "END\r\n" {
		if s.evicts || acked == 0 {
			return nil
		}
		for n := acked; n <= begun; n++ {
			if effectOf(n) != sets {
				return nil
			}
		}
		return fmt.Errorf("a miss of a key that was there all the time")
	}
	line, rest, _ := bytes.Cut(reply, []byte("\r\n"))
	fields := bytes.Fields(line)
	if len(fields) < 4 || string(fields[0]) != "VALUE" || string(fields[1]) != k.name {
		return fmt.Errorf("line %q", line)
	}
	text, _, _ := bytes.Cut(rest, []byte(" "))
	n, err := strconv.ParseUint(string(text), 10, 64)
	if err != nil {
		return fmt.Errorf("value %.40q", rest)
	}
	if want := k.value(n); string(rest) != string(want)+"\r\nEND\r\n" || string(fields[3]) != strconv.Itoa(len(want)) {
		return fmt.Errorf("torn: %q", reply)
	}
	if n < acked || n > begun || effectOf(n) == deletes {
		return fmt.Errorf("the value of change %d", n)
	}
	return nil
}

// TestStress runs a second with room for everything and a second without.
func TestStress(t *testing.T) {
	t.Run("room", func(t *testing.T) {
		s := newStress(t, 2000, 16, 1<<62)
		s.run(t, time.Now().Add(time.Second))
		s.report(t)
	})
	t.Run("evicting", func(t *testing.T) {
		s := newStress(t, 20_000, 2, 1<<62)
		s.evicts = true
		s.run(t, time.Now().Add(time.Second))
		s.report(t)
	})
}

// BenchmarkStress is the same over b.N GETs, which may be 100000000x.
func BenchmarkStress(b *testing.B) {
	for _, evicts := range []bool{false, true} {
		b.Run(map[bool]string{false: "room", true: "evicting"}[evicts], func(b *testing.B) {
			keys, megabytes := 2000, int64(16)
			if evicts {
				keys, megabytes = 20_000, 2
			}
			s := newStress(b, keys, megabytes, int64(b.N))
			s.evicts = evicts
			b.ResetTimer()
			s.run(b, time.Now().Add(time.Hour))
		})
	}
}

func (s *stress) report(t *testing.T) {
	t.Helper()
	c, err := s.program.Counters()
	check(t, err)
	changes := uint64(0)
	for i := range s.keys {
		changes += s.keys[i].acked.Load()
	}
	stats := s.Stats()
	t.Logf("%d hits, %d misses, %d passed on, %d changes, %d evictions", c[xdp.Hit], c[xdp.Miss], c.Passed(), changes, stats.Evicted)
	if c[xdp.Hit] == 0 || c[xdp.Miss] == 0 || changes == 0 {
		t.Error("too little happened")
	}
}
