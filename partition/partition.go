// Package partition is the loop that owns everything of one partition: it reads
// what the journal has for the partition in order, numbers new series in the
// directory, aligns points with a quantizer and keeps the buckets in a store. Queries
// ask it for views; completed segments leave it as live buckets. The server opens all
// Partitions and runs them as a Set.
package partition

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"carillon/directory"
	"carillon/journal"
	"carillon/quantize"
	"carillon/rejects"
	"carillon/store"
)

const (
	tickEvery   = time.Second      // completion, sealing and maintenance are looked at this often
	retryWindow = 10 * time.Minute // a request sent again within it counts once
	pressedSeal = 10 * time.Second // everything is sealed at this age while the disk has no room for more of the journal
	sealStrip   = 16               // buckets a series; files of shorter strips take more space, and merging them more work
)

// Config is what a partition is made of.
type Config struct {
	Number    int
	Directory *directory.Directory
	Journal   *journal.Journal
	Store     *store.Store
	Quantize  quantize.Config
	Rejects   *rejects.Ledger
	Logger    *slog.Logger
	Now       func() time.Time

	// Publish is given the completed segments of the partition, in the loop: it
	// must not block. The batch is only valid during the call. While Watched is false
	// nobody wants them.
	Publish func(completed *quantize.Batch)
	Watched func() bool

	SealEvery   time.Duration // everything is sealed when the first message after the last seal is this old,
	SealBuckets int           // or when it holds this many buckets, and sealStrip a series
}

// Partition owns one partition. Its loop's goroutine owns every field below
// loop; other goroutines reach them through the channels, or read stats.
type Partition struct {
	config Config
	id     string // for logs and errors

	views    chan viewRequest
	waits    chan waiter
	sealNow  chan chan<- struct{}
	forgets  chan forgetRequest
	ready    chan struct{} // closed when what the journal held at the start is applied
	stopped  chan struct{} // closed when the loop has ended
	stats    atomic.Pointer[Stats]
	position atomic.Pointer[position] // written by the loop alone
	pressed  atomic.Bool              // see Set.Press
	memories sync.Pool                // of *memory
	target   uint64                   // last sequence of the journal at the start
	replay   uint64                   // how many messages before it there were to read again

	// loop
	decoder   journal.Decoder
	quantizer *quantize.Quantizer
	out       quantize.Output
	advanced  int64    // time of the quantizer's last Advance
	numbers   []uint32 // of the definitions of the part at hand
	batch     []uint32 // series of the points at hand
	retries   *retries
	applied   uint64    // sequence up to which everything is in the quantizer and the store
	headSince time.Time // when the first message came after a seal; zero if none did
	waiting   []waiter
	sealing   []chan<- struct{} // who waits for a seal
	corrupt   uint64            // messages that could not be decoded
	trimmed   uint64            // sequence up to which the journal was told that it is not needed
}

// position is how far the loop has come in the journal.
type position struct {
	sequence uint64    // everything up to it is in the quantizer and the store
	at       time.Time // journal's time of that message
	head     int       // buckets in memory then
}

// Stats is a snapshot of a partition for people.
type Stats struct {
	Number        int
	Series        int
	Applied       uint64 // journal sequence that is readable
	AppliedAt     time.Time
	Sealed        uint64 // journal sequence that is in synced files
	HeadBuckets   int    // buckets in memory that no seal has taken yet
	Counts        quantize.Counts
	RepeatedParts uint64 // parts of requests that were sent again
	Corrupt       uint64 // journal messages that could not be decoded
	Tiers         []store.TierStats
	Written       store.Written
}

// Open prepares a partition: it checks that store and journal belong together
// and knows all series of the directory. Set.Run starts the work.
func Open(ctx context.Context, config Config) (*Partition, error) {
	p := &Partition{
		config:    config,
		id:        fmt.Sprintf("partition %d", config.Number),
		views:     make(chan viewRequest),
		waits:     make(chan waiter),
		sealNow:   make(chan chan<- struct{}),
		forgets:   make(chan forgetRequest),
		ready:     make(chan struct{}),
		stopped:   make(chan struct{}),
		quantizer: quantize.New(config.Quantize),
		retries:   newRetries(retryWindow),
	}
	first, last, err := config.Journal.Bounds(ctx)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.id, err)
	}
	sealed := config.Store.Sealed()
	switch {
	case last < sealed:
		return nil, fmt.Errorf("%s: the store is sealed through journal message %d, but the journal ends at %d: it is not the journal this data was written with",
			p.id, sealed, last)
	case first > sealed+1:
		return nil, fmt.Errorf("%s: the store is sealed through journal message %d, but the journal begins at %d: the messages between are missing",
			p.id, sealed, first)
	}
	p.applied, p.target, p.replay = first-1, last, last+1-first
	p.position.Store(&position{sequence: p.applied})
	p.defineNew()
	p.snapshot()
	return p, nil
}

// run does the partition's work until ctx ends or the disk fails. It returns nil
// at the end of ctx. The reader begins behind what is applied.
func (p *Partition) run(ctx context.Context, reader *journal.Reader) error {
	defer close(p.stopped)
	defer reader.Close()
	if err := p.loop(ctx, reader); err != nil {
		return fmt.Errorf("%s: %w", p.id, err)
	}
	return nil
}

// loop does one thing after the other. Where several wait, select picks one at
// random, so that under load the journal does not keep out the others.
func (p *Partition) loop(ctx context.Context, reader *journal.Reader) error {
	tick := time.NewTicker(tickEvery)
	defer tick.Stop()
	p.reachedTarget()
	for {
		var err error
		select {
		case <-reader.Arrived():
			err = p.next(reader)
		case v := <-p.views:
			p.answer(v)
		case w := <-p.waits:
			p.waiting = append(p.waiting, w)
		case r := <-p.forgets:
			p.forget(r)
		case done := <-p.sealNow:
			p.sealing = append(p.sealing, done)
			err = p.seal()
		case <-p.config.Store.Committed():
			err = p.committed(ctx)
		case <-tick.C:
			err = p.tick()
			p.trim(ctx)
		case <-ctx.Done():
			return nil
		}
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		p.wake()
	}
}

// next takes a message of the journal, if there is one.
func (p *Partition) next(reader *journal.Reader) error {
	m, ok, err := reader.Next()
	if err != nil || !ok {
		return err
	}
	return p.apply(&m)
}

// apply takes one journal message. Of those up to the last seal, which are in the
// store already, only the requests' hashes are needed.
func (p *Partition) apply(m *journal.Message) error {
	now, sealed := m.Time.UnixMilli(), m.Sequence <= p.config.Store.Sealed()
	if m.Err != nil {
		p.damaged(m.Sequence, m.Err)
	}
	for part, err := range m.Parts(&p.decoder) {
		switch {
		case err != nil:
			p.damaged(m.Sequence, err)
		case p.retries.seen(now, part.Request) || sealed:
		default:
			err = p.applyPart(now, part)
			if errors.Is(err, directory.ErrRefused) { // no journal of ours holds it
				p.damaged(m.Sequence, err)
			} else if err != nil {
				return fmt.Errorf("journal message %d: %w", m.Sequence, err)
			}
		}
	}
	if m.Err == nil && !sealed {
		p.advance(now)
	}
	// The journal keeps what any partition has not sealed. So one that gets nothing
	// seals, too, that it has got nothing.
	if p.headSince.IsZero() && !sealed {
		p.headSince = p.config.Now()
	}
	p.applied = m.Sequence
	p.position.Store(&position{m.Sequence, m.Time, p.config.Store.HeadBuckets()})
	p.retries.passed(now, m.Sequence)
	p.reachedTarget()
	return nil
}

// damaged reports what a message of the journal could not give back.
func (p *Partition) damaged(sequence uint64, err error) {
	p.corrupt++
	p.config.Logger.Error("part of the journal is damaged and was left out", "partition", p.config.Number,
		"sequence", sequence, "error", err)
}

// replaying tells whether the loop has not yet applied what the journal held at the
// start. Any goroutine.
func (p *Partition) replaying() bool {
	select {
	case <-p.ready:
		return false
	default:
		return true
	}
}

func (p *Partition) reachedTarget() {
	if p.applied >= p.target && p.replaying() {
		p.snapshot()
		close(p.ready)
	}
}

func (p *Partition) tick() error {
	now := p.config.Now()
	p.advance(now.UnixMilli())
	p.config.Store.Maintain(now.UnixMilli())
	p.snapshot()
	full := p.config.Store.HeadBuckets() >= max(p.config.SealBuckets, sealStrip*p.quantizer.Series())
	every := p.config.SealEvery
	if p.pressed.Load() {
		every = min(every, pressedSeal)
	}
	aged := !p.headSince.IsZero() && now.Sub(p.headSince) >= every
	if full || aged {
		return p.seal()
	}
	return p.config.Store.Err()
}

// seal starts moving everything to synced files, unless that is under way.
func (p *Partition) seal() error {
	if p.config.Store.Sealing() {
		return p.config.Store.Err()
	}
	p.headSince = time.Time{}
	err := p.config.Store.Seal(p.config.Now().UnixMilli(), p.applied, p.quantizer.Seal)
	p.position.Store(&position{p.applied, p.position.Load().at, p.config.Store.HeadBuckets()})
	return err
}

// trim lets the journal go of what is sealed, but for the requests of the retry window.
// That ends by time alone, and so also when nothing is sealed any more.
func (p *Partition) trim(ctx context.Context) {
	through := p.config.Store.Sealed()
	if !p.pressed.Load() {
		through = min(through, p.retries.through(p.config.Now().UnixMilli()))
	}
	if through <= p.trimmed {
		return
	}
	if err := p.config.Journal.Trim(ctx, p.config.Number, through); err == nil {
		p.trimmed = through
	} else if ctx.Err() == nil {
		p.config.Logger.Warn("the journal could not be trimmed; it will be tried again", "partition", p.config.Number, "error", err)
	}
}

// committed follows a finished seal.
func (p *Partition) committed(ctx context.Context) error {
	s := p.config.Store
	if err := s.Err(); err != nil {
		return err
	}
	defer p.snapshot()
	p.trim(ctx)
	if len(p.sealing) == 0 {
		return nil
	}
	if s.Sealed() < p.applied { // asked for while an earlier seal was running
		return p.seal()
	}
	for _, done := range p.sealing {
		close(done)
	}
	p.sealing = nil
	return nil
}

func (p *Partition) snapshot() {
	p.stats.Store(&Stats{
		Number: p.config.Number, Series: p.quantizer.Series(),
		Sealed:        p.config.Store.Sealed(),
		Counts:        p.quantizer.Counts(),
		RepeatedParts: p.retries.repeated, Corrupt: p.corrupt, Tiers: p.config.Store.Stats(), Written: p.config.Store.Written(),
	})
}
