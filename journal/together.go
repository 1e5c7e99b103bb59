package journal

import (
	"context"
	"sync/atomic"
)

// follow starts a follower for readers that have none, at the smallest sequence that any
// of them is to go on at.
func (j *Journal) follow(readers []*Reader) {
	ctx, cancel := context.WithCancel(j.ended)
	t := new(together)
	next := readers[0].next
	for _, r := range readers {
		next = min(next, r.next)
		t.members = append(t.members, member{r, r.next})
		r.following.Store(true)
		r.work.Add(1)
	}
	unhook := t.whenClosed(cancel)
	f := &follower{streams: j.stream, logger: j.config.Logger, next: next, hand: t.hand, attach: t.attach}
	go func() {
		defer cancel()
		err := f.run(ctx)
		if j.ended.Err() != nil {
			err = ErrClosed
		}
		unhook()
		t.end(err)
	}()
}

// together is the readers of one follower, whose goroutine owns it.
type together struct {
	members []member
}

// member is a reader, and where it began: to its owner alone belongs next.
type member struct {
	*Reader
	from uint64
}

// whenClosed has something called when all members are closed, unless that is unhooked.
func (t *together) whenClosed(call func()) (unhook func()) {
	var open atomic.Int32
	open.Store(int32(len(t.members)))
	closed := func() {
		if open.Add(-1) == 0 {
			call()
		}
	}
	var hooks []func() bool
	for _, m := range t.members {
		hooks = append(hooks, context.AfterFunc(m.ctx, closed))
	}
	return func() {
		for _, unhook := range hooks {
			unhook()
		}
	}
}

// hand gives a message to all that did not begin behind it. Who is closed meanwhile is
// let go.
func (t *together) hand(message Message, opened frame) error {
	left := t.members[:0]
	var last error
	for _, m := range t.members {
		if message.Sequence >= m.from {
			message.encoded = opened.of(m.partition)
			if err := m.replay.Put(m.ctx, message); err != nil {
				last = err
				m.followed()
				continue
			}
		}
		left = append(left, m)
	}
	if t.members = left; len(left) == 0 {
		return last
	}
	return nil
}

func (t *together) attach() {
	for _, m := range t.members {
		m.Reader.attach()
	}
}

func (t *together) end(err error) {
	for _, m := range t.members {
		if err != nil {
			m.fail(err)
		}
		m.followed()
	}
}

// followed is the last thing that a follower has to do with a reader.
func (r *Reader) followed() {
	r.following.Store(false)
	r.bell.Ring()
	r.work.Done()
}
