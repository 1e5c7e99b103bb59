//go:build linux && (amd64 || arm64 || riscv64)

package xdp_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"carillon/cache"
	"carillon/cache/xdp"
)

// contents are items of all kinds of lengths, under keys of all kinds.
func contents(t testing.TB, s *server) (keys []string) {
	put := func(key, value string, flags, expiry uint32) {
		s.set(t, key, value, flags, expiry)
		keys = append(keys, key)
	}
	for length := 1; length <= cache.MaxKey; length++ {
		put(strings.Repeat("k", length-1)+"!", fmt.Sprintf("of %d", length), 0, 0)
	}
	for length := 0; length < 1500; length += 1 + length/17 {
		put(fmt.Sprintf("value-%d", length), strings.Repeat("v", length), uint32(length)<<20, 0)
	}
	put("large", strings.Repeat("x", 100_000), 0, 0)
	put("\xff\x80binary", "bytes \x00\r\nEND\r\n", 1<<32-1, 0)
	put("ended", "long ago", 0, startOfTime)
	put("ends", "later", 0, 1<<32-1)
	return keys
}

// TestSameAnswers: what the program answers is what user space would, byte for byte.
func TestSameAnswers(t *testing.T) {
	s := newServer(t, 8<<20, config())
	keys := append(contents(t, s), "absent", strings.Repeat("a", 250))
	user := newUserSpace(t, s)
	var all xdp.Counters
	for i, key := range keys {
		over := ways[i%len(ways)]
		for _, command := range []string{"get ", "gets "} {
			payload := request(uint16(i), command+key+"\r\n")
			answer, as := s.ask(t, over, payload)
			all[as]++
			want := user.ask(t, payload)
			switch one := want[5] == 1; { // datagram
			case answer != nil && !bytes.Equal(answer, want):
				t.Errorf("%s: %s%q: answer %q, user space %q", over.name, command, key, answer, want)
			case answer == nil && one:
				t.Errorf("%s: %s%q is passed on as %v", over.name, command, key, as)
			}
		}
	}
	if all[xdp.PassLarge] < 4 || all[xdp.Miss] != 6 || all[xdp.Hit]+all[xdp.Miss]+all[xdp.PassLarge] != uint64(2*len(keys)) {
		t.Errorf("counters %v", all)
	}
}

// TestChanges: what user space was told to be done is what the next frame finds.
func TestChanges(t *testing.T) {
	s := newServer(t, 2<<20, config())
	get := func(want string) {
		t.Helper()
		answer, _ := s.ask(t, ways[0], request(1, "get k\r\n"))
		if got := string(bytes.TrimSuffix(answer[8:], []byte("END\r\n"))); got != want {
			t.Errorf("%q, not %q", got, want)
		}
	}
	key := []byte("k")
	get("")
	s.set(t, "k", "1", 5, 0)
	get("VALUE k 5 1\r\n1\r\n")
	s.Store(cache.Write{Key: key, Value: []byte("23"), Mode: cache.Append})
	get("VALUE k 5 3\r\n123\r\n")
	s.Touch(key, startOfTime+2)
	s.Tick(startOfTime + 1)
	get("VALUE k 5 3\r\n123\r\n")
	s.Tick(startOfTime + 2)
	get("")
	s.set(t, "k", "2", 0, 0)
	get("VALUE k 0 1\r\n2\r\n")
	s.Flush(0)
	get("")
	s.set(t, "k", "3", 0, 0)
	get("VALUE k 0 1\r\n3\r\n")
	s.Delete(cache.Removal{Key: key})
	get("")
	s.set(t, "k", "4", 0, 0)
	s.close() // the cache is no authority on what is absent any more
	if _, as := s.ask(t, ways[0], request(1, "get none\r\n")); as != xdp.PassAbsent {
		t.Errorf("a miss of a closed cache: %v", as)
	}
}

// TestManyItems fills the index until its pages have split many times, and finds
// every item.
func TestManyItems(t *testing.T) {
	s := newServer(t, 16<<20, config())
	hits := 0
	const items = 60_000
	for i := range items {
		s.set(t, fmt.Sprintf("item-%d", i), fmt.Sprint(i), 0, 0)
	}
	for i := range items {
		payload := request(uint16(i), fmt.Sprintf("get item-%d\r\n", i))
		out, answered, err := s.program.Run(ways[0].datagram(payload).frame())
		check(t, err)
		if !answered {
			continue // the tag of another key
		}
		reply, err := parse(out)
		check(t, err)
		value := fmt.Sprint(i)
		if want := fmt.Sprintf("VALUE item-%d 0 %d\r\n%s\r\nEND\r\n", i, len(value), value); string(reply.payload[8:]) != want {
			t.Fatalf("item %d: %q, not %q", i, reply.payload, want)
		}
		hits++
	}
	if hits < items-10 {
		t.Errorf("%d of %d items were found", hits, items)
	}
}

// TestAllowList: an empty list answers nobody, and others only their prefixes.
func TestAllowList(t *testing.T) {
	s := newCache(t, 2<<20)
	s.set(t, "k", "v", 0, 0)
	payload := request(1, "get k\r\n")
	for _, c := range []struct {
		allow string
		want  [2]xdp.Outcome // IPv4, IPv6
	}{
		{"", [2]xdp.Outcome{xdp.PassSource, xdp.PassSource}},
		{"0.0.0.0/0", [2]xdp.Outcome{xdp.Hit, xdp.PassSource}},
		{"::/0", [2]xdp.Outcome{xdp.PassSource, xdp.Hit}},
		{"2000::/3 10.77.0.1/32", [2]xdp.Outcome{xdp.Hit, xdp.PassSource}},
		{"10.77.0.2/31", [2]xdp.Outcome{xdp.PassSource, xdp.PassSource}},
		{"10.76.0.0/15 fd77::1/128", [2]xdp.Outcome{xdp.Hit, xdp.Hit}},
		{"11.0.0.0/8 fd77::/127 fd00::/16", [2]xdp.Outcome{xdp.PassSource, xdp.Hit}},
	} {
		t.Run(c.allow, func(t *testing.T) {
			with := config()
			with.Allow = prefixes(t, strings.Fields(c.allow))
			s.load(t, with)
			for range 2 { // the second time from what is remembered
				for i, over := range []way{ways[0], ways[2]} {
					if _, as := s.ask(t, over, payload); as != c.want[i] {
						t.Errorf("%s: %v, not %v", over.name, as, c.want[i])
					}
				}
			}
		})
	}
}

func TestSamples(t *testing.T) {
	with := config()
	with.Sample = 4
	s := newServer(t, 2<<20, with)
	s.set(t, "hot", "v", 0, 0)
	const gets = 4000
	for i := range gets {
		key := "hot"
		if i%4 == 3 {
			key = "cold-and-missing"
		}
		s.ask(t, ways[i%4], request(uint16(i), "get "+key+"\r\n"))
	}
	seen := map[string]int{}
	check(t, s.program.Samples(func(key []byte) { seen[string(key)]++ }))
	if n := seen["hot"]; n < gets/4*3/4-100 || n > gets/4*3/4+100 || len(seen) != 2 {
		t.Errorf("sampled %v of %d", seen, gets)
	}
	check(t, s.program.Samples(func(key []byte) { t.Errorf("%q was told twice", key) }))
}
