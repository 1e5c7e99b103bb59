package membership

import (
	"context"
	"fmt"
	"time"

	"carillon/object"
	"carillon/object/placement"
	"carillon/object/replica"
	"carillon/pause"
)

// saveEvery is how many names are settled between two notes of how far a move is. What was settled after
// the last note is looked at again when the move is taken up.
const saveEvery = 256

// Mover moves objects to where a state says they belong. One goroutine uses it.
type Mover struct {
	Client *Client
	// Coordinator works by the state's view.
	Coordinator *replica.Coordinator
	Admit       func(ctx context.Context, node string, epoch uint64) error
	Rate        int64                                 // bytes of copies a second; 0 for as fast as it goes
	Progress    func(names int64, m replica.Scrubbed) // told after each name; may be nil
}

// Plan goes over all names and adds up what would move to another map, without moving anything.
func Plan(ctx context.Context, c *replica.Coordinator, before, after *placement.Map, progress func(names int64)) (*placement.Plan, error) {
	plan := placement.NewPlan(before, after)
	for cursor := ""; ; {
		page, err := c.List(ctx, object.List{After: cursor})
		if err != nil {
			return nil, fmt.Errorf("planning: %w", err)
		}
		for _, info := range page.Objects {
			plan.Add(info.Name, info.Size)
		}
		if progress != nil {
			progress(plan.Totals().Objects)
		}
		if cursor = page.Next; cursor == "" {
			return plan, nil
		}
	}
}

// Run admits newcomers, tells all nodes of the epoch, moves what is behind the name where an earlier
// run ended, and sets the state in which everything has moved. It can be interrupted at any time
// and run again.
func (m *Mover) Run(ctx context.Context, s State, after string) (replica.Scrubbed, error) {
	for _, n := range s.Newcomers() {
		if err := m.Admit(ctx, n.Name, s.Epoch); err != nil {
			return replica.Scrubbed{}, fmt.Errorf("admitting node %s: %w", n.Name, err)
		}
	}
	if err := m.Coordinator.Seal(ctx); err != nil {
		return replica.Scrubbed{}, err
	}
	began, names, bytes, settled := time.Now(), int64(0), int64(0), true
	report := func(name string, mended replica.Mended, _ error) error {
		names++
		bytes += int64(mended.Copied) * mended.Newest.Size
		settled = settled && mended.Settled // behind a name that is not, nothing is noted
		if m.Progress != nil {
			m.Progress(names, replica.Scrubbed{Names: names, Bytes: bytes, Last: name})
		}
		if settled && names%saveEvery == 0 {
			if err := m.Client.SaveMoved(ctx, Moved{Epoch: s.Epoch, After: name}); err != nil {
				return err
			}
		}
		return m.pause(ctx, began, bytes)
	}
	done, err := m.Coordinator.Scrub(ctx, replica.Scrub{After: after, Report: report})
	if err != nil {
		return done, err
	}
	if !done.Settled() {
		return done, fmt.Errorf("%w: %d names are not where they belong, nodes not heard: %v; run it again", ErrMoving, done.Failed, done.Unheard)
	}
	return done, m.Client.Change(ctx, s.Settle())
}

// pause keeps the rate.
func (m *Mover) pause(ctx context.Context, began time.Time, bytes int64) error {
	if m.Rate <= 0 {
		return ctx.Err()
	}
	return pause.For(ctx, time.Duration(float64(bytes)/float64(m.Rate)*float64(time.Second))-time.Since(began))
}
