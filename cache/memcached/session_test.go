package memcached

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"carillon/cache"
)

// talk is a session without a socket; what it sent is in sent.
type talk struct {
	*session
	sent bytes.Buffer
	rest []byte // that was fed and not used
}

func newTalk(t testing.TB, config Config) *talk {
	return talkWith(newCache(t, 8<<20, cache.Config{}), config)
}

func talkWith(c *cache.Cache, config Config) *talk {
	k := &talk{}
	c.Tick(1_800_000_000)
	k.session = newSession(newServer(c, config), k.deliver)
	k.out = make([]byte, 0, repliesBytes)
	return k
}

func (k *talk) deliver() error {
	k.sent.Write(k.out)
	k.emptied()
	return nil
}

// say feeds bytes as a connection would, and returns the replies.
func (k *talk) say(in string) string {
	k.rest = append(k.rest, in...)
	used := k.feed(k.rest)
	k.rest = append([]byte(nil), k.rest[used:]...) // elsewhere, as buffers move
	k.flush()
	replies := k.sent.String()
	k.sent.Reset()
	return replies
}

// requests are the seeds of the fuzz tests: all that clients of ours and of others send.
func requests(t testing.TB) (all []string) {
	for _, line := range []string{
		"get a", "gets a b c", "gat 0 a", "set a 1 0 3\r\nabc", "add a 0 0 1 noreply\r\nx", "cas a 0 0 1 1\r\ny", "append a 0 0 1\r\nz",
		"incr n 1", "delete a", "touch a 5", "flush_all", "version", "verbosity 1", "stats", "stats items", "stats slabs", "stats sizes",
		"stats settings", "stats conns", "stats hot", "stats reset", "lru_crawler metadump all", "mg a v t f s k c h l Oq", "mg n N30 v q",
		"ms a 2 T0 F1 MS c k\r\nab", "ms YQ== 2 b\r\nab", "md a q I", "md a p", "ma n N0 J5 v", "me a", "mn", "quit", "set a 0 0 99999999",
		"get " + strings.Repeat("k", 251), "\x80\x01", "set a 0 0 -1", strings.Repeat("get a\r\n", 50),
	} {
		all = append(all, line+"\r\n")
	}
	return all
}

// FuzzSession feeds bytes in one piece and in two, and in pieces of one byte: the replies
// are the same.
func FuzzSession(f *testing.F) {
	for _, r := range requests(f) {
		f.Add([]byte("set a 0 0 1\r\nv\r\n"+r+r), uint16(7))
	}
	f.Fuzz(func(t *testing.T, in []byte, split uint16) {
		if len(in) > 8<<10 {
			return
		}
		var caches [3]*cache.Cache
		for i := range caches {
			caches[i] = openCache(t, cache.MinBytes, cache.Config{})
			defer caches[i].Close()
		}
		whole := talkWith(caches[0], Config{})
		want := whole.say(string(in))
		if bytes.Contains(in, []byte("stats")) { // tells of this session only
			return
		}
		at := int(split) % (len(in) + 1)
		halves := talkWith(caches[1], Config{})
		got := halves.say(string(in[:at])) + halves.say(string(in[at:]))
		if got != want {
			t.Fatalf("in two pieces %q, in one %q", got, want)
		}
		single := talkWith(caches[2], Config{})
		got = ""
		for i := range in {
			got += single.say(string(in[i : i+1]))
			if single.closing {
				break
			}
		}
		if got != want {
			t.Fatalf("byte by byte %q, in one %q", got, want)
		}
		if len(single.rest) > maxGetBytes {
			t.Fatalf("%d bytes wait", len(single.rest))
		}
		if !whole.closing && len(whole.rest) == 0 && whole.wants() == 0 && whole.swallow == 0 {
			if got := whole.say("mn\r\n"); got != "MN\r\n" {
				t.Fatalf("then mn said %q", got)
			}
		}
	})
}

// FuzzDatagram answers datagrams of any kind: a reply is in frames that belong to it.
func FuzzDatagram(f *testing.F) {
	for _, r := range requests(f) {
		f.Add(append([]byte{1, 2, 0, 0, 0, 1, 0, 0}, r...))
	}
	s := newSession(newServer(newCache(f, 8<<20, cache.Config{}), Config{}), nil)
	s.out = make([]byte, 0, repliesBytes)
	f.Fuzz(func(t *testing.T, in []byte) {
		before := bytes.Clone(in)
		pieces := s.answer(in, nil)
		for i, p := range pieces {
			reply := s.out[p.from:p.to]
			if len(reply) > replyBytes || len(reply) <= frameBytes {
				t.Fatalf("a datagram of %d bytes", len(reply))
			}
			want := appendFrame(nil, uint16(before[0])<<8|uint16(before[1]), i, len(pieces))
			if !bytes.Equal(reply[:frameBytes], want) {
				t.Fatalf("frame %x, want %x", reply[:frameBytes], want)
			}
		}
		s.leave()
		s.emptied()
		if s.need != 0 || s.swallow != 0 || s.closing {
			t.Fatal("one datagram goes on in the next")
		}
	})
}

// FuzzUsers reads lists of users.
func FuzzUsers(f *testing.F) {
	f.Add("user:password\n\nother:pass word\r\n")
	f.Fuzz(func(t *testing.T, text string) {
		if users, err := ReadUsers(strings.NewReader(text)); err == nil && len(users.hashes) == 0 {
			t.Fatal("nobody")
		}
	})
}

func TestGetDoesNotAllocate(t *testing.T) {
	k := newTalk(t, Config{})
	k.say("set key:1 0 0 20\r\n01234567890123456789\r\nset n 0 0 1\r\n1\r\n")
	k.session.send = func() error { k.emptied(); return nil }
	for _, request := range []string{"get key:1\r\n", "get nothing\r\n", "gets key:1 n\r\n", "mg key:1 v\r\n", "set key:1 0 0 3\r\nabc\r\n", "ms key:1 3\r\nabc\r\n", "incr n 1\r\n", "delete x\r\n"} {
		in := []byte(strings.Repeat(request, 10))
		if n := testing.AllocsPerRun(100, func() {
			k.feed(in)
			k.leave()
			k.emptied()
		}); n > 0 {
			t.Errorf("%q: %.1f allocations for ten", request, n)
		}
	}
}

func TestExpiry(t *testing.T) {
	k := newTalk(t, Config{})
	now := k.cache.Now()
	k.say("set a 0 10 1\r\nx\r\n")
	k.say(fmt.Sprintf("set b 0 %d 1\r\nx\r\n", now+20))
	k.say("set c 0 5000000000 1\r\nx\r\nset d 0 0 1\r\nx\r\nset e 0 2592000 1\r\nx\r\n")
	for _, c := range []struct {
		after uint32
		want  string
	}{
		{0, "HD t10\r\nHD t20\r\nHD t" + fmt.Sprint(1<<32-1-now) + "\r\nHD t-1\r\nHD t2592000\r\n"},
		{9, "HD t1\r\nHD t11\r\nHD t" + fmt.Sprint(1<<32-1-now-9) + "\r\nHD t-1\r\nHD t2591991\r\n"},
		{10, "EN\r\nHD t10\r\nHD t" + fmt.Sprint(1<<32-1-now-10) + "\r\nHD t-1\r\nHD t2591990\r\n"},
		{20, "EN\r\nEN\r\nHD t" + fmt.Sprint(1<<32-1-now-20) + "\r\nHD t-1\r\nHD t2591980\r\n"},
		{2592000, "EN\r\nEN\r\nHD t" + fmt.Sprint(1<<32-1-now-2592000) + "\r\nHD t-1\r\nEN\r\n"},
	} {
		k.cache.Tick(now + c.after)
		if got := k.say("mg a t\r\nmg b t\r\nmg c t\r\nmg d t\r\nmg e t\r\n"); got != c.want {
			t.Errorf("after %d s %q, want %q", c.after, got, c.want)
		}
	}
	k.say("flush_all 5\r\n")
	if got := k.say("get d\r\n"); got != "VALUE d 0 1\r\nx\r\nEND\r\n" {
		t.Errorf("before the flush: %q", got)
	}
	k.cache.Tick(now + 2592005)
	if got := k.say("get d\r\n"); got != "END\r\n" {
		t.Errorf("after the flush: %q", got)
	}
}

func TestAuthentication(t *testing.T) {
	users, err := ReadUsers(strings.NewReader("ann:secret\nbob:hidden\n"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ in, want string }{
		{"get a\r\n", "CLIENT_ERROR unauthenticated\r\n"},
		{"set x 0 0 10\r\nann secret\r\nget a\r\n", "STORED\r\nEND\r\n"},
		{"set x 0 0 10\r\nbob hidden\r\nset a 0 0 1\r\nx\r\n", "STORED\r\nSTORED\r\n"},
		{"set x 0 0 10\r\nann hidden\r\nget a\r\n", "CLIENT_ERROR authentication failure\r\nCLIENT_ERROR unauthenticated\r\n"},
		{"set x 0 0 3\r\nann\r\n", "CLIENT_ERROR bad authentication token format\r\n"},
		{"set x 0 0 3\r\nann secret\r\n", "CLIENT_ERROR bad command line termination\r\nCLIENT_ERROR unauthenticated\r\n"},
		{"set x 0 0 9999\r\n", "CLIENT_ERROR bad authentication token format\r\n"},
		{"set x 0 0 x\r\n", "CLIENT_ERROR unauthenticated\r\n"},
	} {
		if got := newTalk(t, Config{Users: users}).say(c.in); got != c.want {
			t.Errorf("%q: %q, want %q", c.in, got, c.want)
		}
	}
	for _, bad := range []string{"", "ann\n", ":x\n", "ann:\n", strings.Repeat("a:b\n", maxUsers+1)} {
		if _, err := ReadUsers(strings.NewReader(bad)); err == nil {
			t.Errorf("%.20q was taken", bad)
		}
	}
}

func TestNoMemoryForReply(t *testing.T) {
	k := newTalk(t, Config{BufferBytes: 1 << 20})
	value := strings.Repeat("v", 600_000)
	k.say(fmt.Sprintf("set a 0 0 %d\r\n%s\r\n", len(value), value))
	if got := k.say("get a\r\n"); len(got) < len(value) {
		t.Errorf("%.60q", got)
	}
	k.server.budget.take(900_000)
	if got := k.say("get a\r\nmg a v\r\nmn\r\n"); got != errNoReply+"\r\n"+errNoReply+"\r\nMN\r\n" {
		t.Errorf("%.60q", got)
	}
	k.server.budget.give(900_000)
	if left := k.server.budget.left.Load(); left != 1<<20 {
		t.Errorf("%d bytes left of the budget", left)
	}
}
