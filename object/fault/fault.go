// Package fault hurts a cluster of real processes and counts what is lost. In come the command that starts this build and a
// number of faults; out go how many puts were acknowledged, and how many objects could not be read back as
// they were. Package object/measure and the tests of cmd/carillon call it.
package fault

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"carillon/pause"
)

// Config says what to do to whom.
type Config struct {
	Dir     string   // of the nodes' data
	Command []string // starts this build; a verb and its flags are added to it
	Faults  int      // how many, one after the other, of all kinds in turns
	Seed    uint64
	Tell    func(done int, kind Kind, r Result) // after each fault; may be nil
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

// Kinds are all of them, in the order of their turns.
func Kinds() []Kind { return []Kind{Kill, Away, Stop, Replace, Flip} }

// Result is what came of it.
type Result struct {
	Faults   map[Kind]int
	Acked    int     // puts that were acknowledged
	Refused  int     // puts that were not
	Reads    int     // of acknowledged objects, while a node was hurt
	Repaired int64   // copies that were replaced, since their bits had flipped
	Objects  int     // names that were read back in the end
	Lost     Reports // of these, what is not there any more or is wrong
	Failed   Reports // of Reads, what failed
}

// Reports are what is wrong, one by one.
type Reports struct {
	Count int
	First []string // the first maxReports of them
}

const maxReports = 20

func (r *Reports) add(format string, args ...any) {
	if r.Count++; len(r.First) < maxReports {
		r.First = append(r.First, fmt.Sprintf(format, args...))
	}
}

const (
	around       = 50 * time.Millisecond // writes go on for up to so long before a fault, and so long a node is hurt
	sampledReads = 8                     // in each fault
)

// run is a Run under way, of the goroutine that hurts.
type run struct {
	random  *rand.Rand
	cluster *cluster
	ledger  *ledger
	result  Result
}

// Run starts three nodes, hurts them, and reads everything back. The error says why it could not go on.
func Run(ctx context.Context, c Config) (Result, error) {
	r := &run{random: rand.New(rand.NewPCG(c.Seed, 1)), ledger: newLedger(), result: Result{Faults: make(map[Kind]int)}}
	var err error
	if r.cluster, err = startCluster(ctx, c, r.random.Uint64()); err != nil {
		return r.result, err
	}
	defer r.cluster.end()
	writing, end := context.WithCancel(ctx)
	var group sync.WaitGroup
	for i := range writers {
		group.Go(func() { r.ledger.write(writing, r.cluster.coordinator, c.Seed, i) })
	}
	err = r.faults(ctx, c)
	end()
	group.Wait()
	if err == nil {
		err = r.readBack(ctx)
	}
	return r.now(), err
}

func (r *run) now() Result {
	r.result.Acked, r.result.Refused = r.ledger.counts()
	return r.result
}

func (r *run) faults(ctx context.Context, c Config) error {
	for i := range c.Faults {
		kinds := Kinds()
		kind, p := kinds[i%len(kinds)], r.cluster.nodes[r.random.IntN(len(r.cluster.nodes))]
		err := r.hurt(ctx, kind, p)
		if err == nil {
			err = r.mend(ctx, kind, p)
		}
		if err != nil {
			return fmt.Errorf("fault %d of %d, %s: %w", i+1, c.Faults, kind, err)
		}
		r.result.Faults[kind]++
		if c.Tell != nil {
			c.Tell(i+1, kind, r.now())
		}
	}
	return nil
}

// hurt does one fault to one node and, if it lasts, reads meanwhile.
func (r *run) hurt(ctx context.Context, kind Kind, p *process) (err error) {
	if err := r.pause(ctx); err != nil {
		return err
	}
	switch kind {
	case Kill:
		p.Kill()
		return nil
	case Away, Replace:
		p.Kill()
	case Stop:
		err = p.Signal(syscall.SIGSTOP)
	case Flip:
		err = flip(p.data, r.random)
	}
	if err == nil {
		err = r.pause(ctx)
	}
	if err == nil {
		r.sample(ctx)
	}
	return err
}

// mend does what a good operator would. The next fault may hit the other copies, so it ends when all are there again.
func (r *run) mend(ctx context.Context, kind Kind, p *process) error {
	deep := false
	switch kind {
	case Stop:
		return p.Signal(syscall.SIGCONT) // the copies that it owes are on their way to it
	case Flip:
		deep = true
	case Replace:
		if err := os.RemoveAll(filepath.Join(p.data, objectsName)); err != nil {
			return err
		}
		if err := p.start(ctx); err != nil {
			return err
		}
		return r.cluster.join(ctx, p.name, "--replace")
	case Kill, Away:
		if err := p.start(ctx); err != nil {
			return err
		}
	}
	repaired, err := r.cluster.scrub(ctx, deep)
	r.result.Repaired += repaired
	return err
}

func (r *run) pause(ctx context.Context) error {
	return pause.For(ctx, time.Duration(r.random.Int64N(int64(around))))
}

// sample reads some acknowledged objects while a node is hurt.
func (r *run) sample(ctx context.Context) {
	for _, name := range r.ledger.some(r.random, sampledReads) {
		r.result.Reads++
		if err := r.ledger.read(ctx, r.cluster.coordinator, name); err != nil {
			r.result.Failed.add("%s: %v", name, err)
		}
	}
}

// readBack reads everything that was acknowledged.
func (r *run) readBack(ctx context.Context) error {
	for _, name := range r.ledger.all() {
		err := r.ledger.read(ctx, r.cluster.coordinator, name)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		r.result.Objects++
		if err != nil {
			r.result.Lost.add("%s: %v", name, err)
		}
	}
	return nil
}
