// Package fault hurts a cluster of real processes and counts what is lost. In come a command that runs nodes and a
// number of faults; out go how many objects were acknowledged, and how many of these could not be read back as
// they were. The tests of cmd/carillon and carillon bench object call it.
package fault

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"carillon/object"
	"carillon/object/clock"
	"carillon/object/membership"
	"carillon/object/node"
	"carillon/object/replica"
)

// Config says what to do to whom.
type Config struct {
	Command func(args ...string) *exec.Cmd // runs carillon
	Dir     string                         // of the nodes' data
	Faults  int                            // how many, one after the other
	Seed    uint64
	Kinds   []Kind                                   // nil for all
	Around  time.Duration                            // writes go on for so long before, in and after each fault; 0 means 50 ms
	Tell    func(done, of int, kind Kind, r *Result) // may be nil
}

// Kind is a kind of fault.
type Kind string

// What happens to one node of three, while objects are written and read.
const (
	Kill    Kind = "kill"    // SIGKILL in whatever it is doing; it comes back at once
	Away    Kind = "away"    // SIGKILL, and it comes back after a while
	Stop    Kind = "stop"    // SIGSTOP and, after a while, SIGCONT
	Replace Kind = "replace" // SIGKILL, and it comes back without its objects
	Flip    Kind = "flip"    // bits flip in its files
)

// Kinds are all of them.
func Kinds() []Kind { return []Kind{Kill, Away, Stop, Replace, Flip} }

// Result is what came of it.
type Result struct {
	Faults  int
	Acked   int      // puts that were acknowledged
	Refused int      // puts that were not
	Reads   int      // of acknowledged objects, while a node was hurt
	Lost    []string // acknowledged objects that are not there any more, or are wrong
	Failed  []string // reads of acknowledged objects that failed while a node was hurt, and why
}

const (
	writers      = 4
	namesEach    = 48                   // of a writer, which it overwrites
	pace         = 5 * time.Millisecond // between two puts of a writer: enough for a few under way at any time
	names        = "abc"                // of the nodes, a letter each
	timeout      = 2 * time.Second
	maxReports   = 20 // of lost objects and failed reads each
	sampledReads = 8  // in each fault
	bitsFlipped  = 8
)

// run is a Run under way. One goroutine hurts; the writers share what is under mu.
type run struct {
	config      Config
	random      *rand.Rand // the hurting goroutine's
	nodes       []*process
	members     *membership.Client
	peers       *node.Peers
	coordinator *replica.Coordinator

	mu     sync.Mutex
	known  map[string]*content // guarded by mu; by name, once a put was acknowledged
	order  []string            // guarded by mu; keys of known
	result Result              // guarded by mu
}

// content is what a name may hold: what was acknowledged last, or what was put since and not acknowledged.
type content struct {
	acked object.Sum
	since []object.Sum
}

func (c *content) all() []object.Sum { return append([]object.Sum{c.acked}, c.since...) }

// Run starts three nodes, hurts them, and reads everything back. The error says why it could not go on.
func Run(ctx context.Context, c Config) (Result, error) {
	if c.Around == 0 {
		c.Around = 50 * time.Millisecond
	}
	if len(c.Kinds) == 0 {
		c.Kinds = Kinds()
	}
	r := &run{config: c, random: rand.New(rand.NewPCG(c.Seed, 1)), known: make(map[string]*content)}
	defer r.stop()
	if err := r.start(ctx); err != nil {
		return r.result, err
	}
	writing, end := context.WithCancel(ctx)
	var group sync.WaitGroup
	for i := range writers {
		group.Go(func() { r.write(writing, i) })
	}
	var err error
	for i := range c.Faults {
		kind := c.Kinds[i%len(c.Kinds)]
		if err = r.hurt(ctx, kind); err != nil {
			err = fmt.Errorf("fault %d of %d, %s: %w", i+1, c.Faults, kind, err)
			break
		}
		r.mu.Lock()
		r.result.Faults++
		if c.Tell != nil {
			c.Tell(i+1, c.Faults, kind, &r.result)
		}
		r.mu.Unlock()
	}
	end()
	group.Wait()
	if err != nil {
		return r.result, err
	}
	return r.result, r.readBack(ctx)
}

func (r *run) start(ctx context.Context) error {
	nats, err := freeAddress()
	if err != nil {
		return err
	}
	var urls []string
	for i, name := range names {
		args := []string{"--nats", "nats://" + nats}
		if i == 0 {
			args = []string{"--new", "--nats-listen", nats}
		}
		p := &process{command: r.config.Command, name: string(name), data: filepath.Join(r.config.Dir, string(name)), args: args}
		r.nodes = append(r.nodes, p)
		if err := p.start(ctx); err != nil {
			return err
		}
		urls = append(urls, "http://"+p.address)
	}
	r.members = &membership.Client{Addresses: urls, HTTP: &http.Client{Timeout: timeout}}
	r.peers = node.NewPeers(node.Dial{}, nil)
	if err := r.verb(ctx, "join", "b", "c"); err != nil {
		return err
	}
	return r.look(ctx)
}

// stop ends all processes.
func (r *run) stop() {
	if r.coordinator != nil {
		r.coordinator.Close()
	}
	for _, p := range r.nodes {
		p.kill()
	}
	if r.peers != nil {
		r.peers.Close()
		r.members.HTTP.CloseIdleConnections()
	}
}

// look works by the cluster's state as it is now.
func (r *run) look(ctx context.Context) error {
	status, err := r.members.Status(ctx)
	if err != nil {
		return err
	}
	view, err := status.State.View()
	if err != nil {
		return err
	}
	if err := r.peers.Set(status.State.Addresses()); err != nil {
		return err
	}
	if r.coordinator != nil {
		return r.coordinator.SetView(view)
	}
	r.coordinator, err = replica.New(replica.Config{
		Node: r.peers.Node, Clock: clock.New(r.random.Uint64(), time.Now, 0), Timeout: timeout, Grace: time.Hour, Log: slog.New(slog.DiscardHandler),
	}, view)
	return err
}

// verb runs one as an operator would.
func (r *run) verb(ctx context.Context, verb string, args ...string) error {
	cmd := r.config.Command(append([]string{"object", verb, "--timeout", timeout.String(), "--node", "http://" + r.nodes[0].address}, args...)...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("carillon object %s %v: %w: %s", verb, args, err, out.Bytes())
	}
	return ctx.Err()
}

// write puts objects of many sizes, over and over under the same names, until ctx ends.
func (r *run) write(ctx context.Context, writer int) {
	random := rand.New(rand.NewPCG(r.config.Seed, uint64(writer)+2))
	bytesOf := rand.NewChaCha8([32]byte{byte(writer), byte(r.config.Seed)})
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		size := random.IntN(20_000)
		if i%50 == 49 {
			size = 1<<20 + random.IntN(1<<20) // these have files of their own
		}
		text := make([]byte, size)
		_, _ = bytesOf.Read(text) // never fails
		r.put(ctx, fmt.Sprintf("fault/%d/%d", writer, i%namesEach), text)
	}
}

func (r *run) put(ctx context.Context, name string, text []byte) {
	sum := object.SumOf(text)
	r.mu.Lock()
	now := r.known[name]
	if now == nil {
		now = &content{}
	}
	now.since = append(now.since, sum)
	r.mu.Unlock()
	_, err := r.coordinator.Put(ctx, name, replica.Source{Size: int64(len(text)), Sum: &sum, Open: func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(text)), nil
	}})
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		r.result.Refused++
		return
	}
	r.result.Acked++
	now.acked, now.since = sum, nil
	if r.known[name] == nil {
		r.known[name] = now
		r.order = append(r.order, name)
	}
}

// read reads an acknowledged object as a whole.
func (r *run) read(ctx context.Context, name string) error {
	r.mu.Lock()
	may := r.known[name].all()
	r.mu.Unlock()
	body, err := r.coordinator.Get(ctx, name, replica.Newest, object.Get{})
	if err != nil {
		return err
	}
	s := object.NewSummer()
	_, err = io.Copy(s, body)
	if err = errors.Join(err, body.Close()); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if may = append(may, r.known[name].all()...); !slices.Contains(may, s.Sum()) {
		return errors.New("it is none of the contents that it may have")
	}
	return nil
}

// sample reads some acknowledged objects while a node is hurt.
func (r *run) sample(ctx context.Context) {
	for range sampledReads {
		r.mu.Lock()
		name := ""
		if len(r.order) > 0 {
			name = r.order[r.random.IntN(len(r.order))]
		}
		r.mu.Unlock()
		if name == "" {
			return
		}
		err := r.read(ctx, name)
		r.mu.Lock()
		r.result.Reads++
		if err != nil && len(r.result.Failed) < maxReports {
			r.result.Failed = append(r.result.Failed, fmt.Sprintf("%s: %v", name, err))
		}
		r.mu.Unlock()
	}
}

// readBack reads everything that was acknowledged.
func (r *run) readBack(ctx context.Context) error {
	for _, name := range r.order {
		if err := r.read(ctx, name); err != nil {
			r.result.Lost = append(r.result.Lost, fmt.Sprintf("%s: %v", name, err))
			if len(r.result.Lost) >= maxReports {
				return nil
			}
		}
	}
	return ctx.Err()
}

// hurt does one fault to one node and mends what a good operator would.
func (r *run) hurt(ctx context.Context, kind Kind) error {
	p := r.nodes[r.random.IntN(len(r.nodes))]
	wait := func() { time.Sleep(time.Duration(r.random.Int64N(int64(r.config.Around)))) }
	wait()
	switch kind {
	case Kill, Away, Replace:
		p.kill()
	case Stop:
		p.pause()
	case Flip:
		if err := flip(p.data, r.random); err != nil {
			return err
		}
	}
	if kind != Kill {
		wait()
		r.sample(ctx)
	}
	switch kind {
	case Kill, Away:
		if err := p.start(ctx); err != nil {
			return err
		}
	case Stop:
		p.resume()
		return nil
	case Replace:
		return r.replace(ctx, p)
	}
	// The next fault may hit the other copies.
	return r.verb(ctx, "scrub", "--deep", "--rate", "0")
}

// replace starts a node without its objects and has it taken in again.
func (r *run) replace(ctx context.Context, p *process) error {
	if err := os.RemoveAll(filepath.Join(p.data, "objects")); err != nil {
		return err
	}
	if err := p.start(ctx); err != nil {
		return err
	}
	for { // until its heartbeat is heard
		err := r.verb(ctx, "join", p.name, "--replace", "--rate", "0")
		if err == nil {
			return r.look(ctx)
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-time.After(retryAfter):
		}
	}
}
