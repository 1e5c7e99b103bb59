package fault

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"carillon/object"
	"carillon/object/replica"
)

const (
	writers   = 4
	namesEach = 48                    // of a writer, which it overwrites
	pace      = 10 * time.Millisecond // between two puts of a writer: enough for a few under way at any time

	smallBytes = 20_000 // at most, of most objects
	largeBytes = 1 << 20
	largeEvery = 50 // one of so many has largeBytes to twice that, and so a file of its own
)

// ledger is what was put, and what of it the nodes have said they have. Each name is put by one writer.
type ledger struct {
	mu             sync.Mutex
	contents       map[string]*content // guarded by mu; by name
	names          []string            // guarded by mu; that were acknowledged at least once
	acked, refused int                 // guarded by mu; puts
}

// content is what a name may hold: what was acknowledged last, or what was put since.
type content struct {
	puts  []object.Sum // in their order
	acked int          // index of the last one that was acknowledged, -1 if there is none
}

var errWrong = errors.New("it is none of the contents that it may have")

func newLedger() *ledger { return &ledger{contents: make(map[string]*content)} }

// write puts objects of many sizes, over and over under the same names, until ctx ends.
func (l *ledger) write(ctx context.Context, c *replica.Coordinator, seed uint64, writer int) {
	random := rand.New(rand.NewPCG(seed, uint64(writer)+2))
	bytesOf := rand.NewChaCha8([32]byte{byte(writer), byte(seed)})
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		size := random.IntN(smallBytes)
		if i%largeEvery == largeEvery-1 {
			size = largeBytes + random.IntN(largeBytes)
		}
		text := make([]byte, size)
		_, _ = bytesOf.Read(text) // never fails
		l.put(ctx, c, fmt.Sprintf("fault/%d/%d", writer, i%namesEach), text)
	}
}

func (l *ledger) put(ctx context.Context, c *replica.Coordinator, name string, text []byte) {
	sum := object.SumOf(text)
	number := l.begin(name, sum)
	_, err := c.Put(ctx, name, replica.Source{Size: int64(len(text)), Sum: &sum, Open: func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(text)), nil
	}})
	l.end(name, number, err)
}

func (l *ledger) begin(name string, sum object.Sum) (number int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.contents[name]
	if c == nil {
		c = &content{acked: -1}
		l.contents[name] = c
	}
	c.puts = append(c.puts, sum)
	return len(c.puts) - 1
}

func (l *ledger) end(name string, number int, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.refused++
		return
	}
	l.acked++
	c := l.contents[name]
	if c.acked < 0 {
		l.names = append(l.names, name)
	}
	c.acked = number
}

// read reads an acknowledged object as a whole. What was acknowledged before it began must be there, or what was put later.
func (l *ledger) read(ctx context.Context, c *replica.Coordinator, name string) error {
	oldest := l.oldest(name)
	body, err := c.Get(ctx, name, replica.Newest, object.Get{})
	if err != nil {
		return err
	}
	s := object.NewSummer()
	_, err = io.Copy(s, body)
	if err = errors.Join(err, body.Close()); err != nil {
		return err
	}
	if !l.has(name, oldest, s.Sum()) {
		return errWrong
	}
	return nil
}

// oldest is the number of the put that was acknowledged last.
func (l *ledger) oldest(name string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.contents[name].acked
}

// has tells whether such a content was put, by the put of a number or a later one.
func (l *ledger) has(name string, oldest int, sum object.Sum) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Contains(l.contents[name].puts[oldest:], sum)
}

// all is the names of what was acknowledged.
func (l *ledger) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.names)
}

// some draws so many names of what was acknowledged, none if there is nothing yet.
func (l *ledger) some(random *rand.Rand, n int) (some []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for range n {
		if len(l.names) == 0 {
			return nil
		}
		some = append(some, l.names[random.IntN(len(l.names))])
	}
	return some
}

func (l *ledger) counts() (acked, refused int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.acked, l.refused
}
