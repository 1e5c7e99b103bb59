package server

import (
	"fmt"
	"math"
	"sync"
	"syscall"
)

// room grants what may be written to the data directory's disk. It is what keeps
// --disk-max at every moment, and what stops acceptance before a disk is really full.
// The page files of the stores and the messages of the journal are reserved in it
// before they are written; for what the databases and the manifests write some
// headroom is left.
//
// It does not know what is deleted, and what was written only by adding up, so somebody
// looks at the directory time and again (begin, looked). Whatever is written while
// that goes on may or may not be seen, and counts on top until the next time: what
// room believes is never less than what is there.
type room struct {
	mu       sync.Mutex
	limit    int64 // of what is there
	measured int64 // there, as last seen
	written  int64 // since that look began
	reserved int64 // and not yet written
	headroom int64
	sealing  int64 // what sealing will need: left free by what can wait
	full     error // why nothing is accepted; nil if it is
	capped   bool  // limit is --disk-max, not the end of the disk
	journal  int64 // of measured
	accepted int64 // bytes to the journal since the last look
	share    int64 // most for the journal and for sealing what it holds, so that it does not push out all that is sealed

	wake chan struct{} // capacity 1: somebody was refused
}

// minRoomBytes is what must be free for acceptance to go on after it was stopped.
const minRoomBytes = 1 << 20

// noRoom says that there is no room, and why.
type noRoom struct {
	capped bool
	shared bool  // it is the journal's share that is taken
	taken  int64 // bytes, with those set aside; without a cap only those
	most   int64 // the cap, or the share; without one, what is free
}

func (e *noRoom) Error() string {
	switch {
	case e.shared:
		return fmt.Sprintf("no room for more points until what the journal has is sealed: %s of its share of %s in --disk-max are taken", formatBytes(e.taken), formatBytes(e.most))
	case e.capped:
		return fmt.Sprintf("no room in the data directory: %s of --disk-max %s are taken or set aside", formatBytes(e.taken), formatBytes(e.most))
	}
	return fmt.Sprintf("the disk is full: %s are free, and %s must stay free", formatBytes(e.most), formatBytes(e.taken))
}

// Unwrap makes it an error of a full disk for those who only ask for that.
func (e *noRoom) Unwrap() error { return syscall.ENOSPC }

// Reserve implements store.Room.
func (r *room) Reserve(bytes int64) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.reserve(bytes, 0)
}

// ReserveSpare implements store.Room.
func (r *room) ReserveSpare(bytes int64) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.reserve(bytes, r.sealing+sealedShare*r.accepted)
}

func (r *room) reserve(bytes, spare int64) error {
	if taken := r.taken() + spare; bytes > r.limit-taken {
		r.call()
		return r.none(taken)
	}
	r.reserved += bytes
	return nil
}

// call wakes whoever looks.
func (r *room) call() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

func (r *room) none(taken int64) error {
	if r.capped {
		return &noRoom{capped: true, taken: taken, most: r.limit}
	}
	return &noRoom{taken: taken - r.measured, most: r.limit - r.measured}
}

// taken is what may be there, with what is to be left free.
func (r *room) taken() int64 { return r.measured + r.written + r.reserved + r.headroom }

// Settle implements store.Room.
func (r *room) Settle(reserved, written int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reserved -= reserved
	r.written += written
}

// sealedShare is what a byte of the journal may become in page files of all tiers.
const sealedShare = 2

// acceptance is the room of what comes in: each byte of it will have to be sealed, too.
type acceptance struct{ *room }

// Reserve refuses, too, as long as nothing is accepted.
func (a acceptance) Reserve(bytes int64) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.full != nil {
		return a.full
	}
	if err := a.overShare(bytes); err != nil {
		a.call()
		return err
	}
	if err := a.reserve(bytes, a.sealing+sealedShare*(a.accepted+bytes)); err != nil {
		return err
	}
	a.accepted += bytes
	return nil
}

// overShare is an error if the journal would get more than its share.
func (r *room) overShare(bytes int64) error {
	taken := r.journal + r.sealing + (1+sealedShare)*(r.accepted+bytes)
	if !r.capped || taken <= r.share {
		return nil
	}
	return &noRoom{shared: true, taken: taken, most: r.share}
}

// refused is why nothing is accepted at the moment.
func (r *room) refused() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.full
}

// begin is called before the directory is looked at.
func (r *room) begin() (written int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.written
}

// outlook is what a look at the directory and the stores brought.
type outlook struct {
	limit, measured   int64
	capped            bool
	journal, share    int64
	headroom, sealing int64
}

func newRoom() *room { return &room{limit: math.MaxInt64 / 2, wake: make(chan struct{}, 1)} }

// looked ends a look; written is what begin returned. It decides afresh whether there
// is room for what comes in.
func (r *room) looked(written int64, o outlook) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.written -= written
	r.limit, r.measured, r.capped = o.limit, o.measured, o.capped
	r.headroom, r.sealing, r.accepted = o.headroom, o.sealing, 0
	r.journal, r.share = o.journal, o.share
	r.full = r.overShare(minRoomBytes)
	if taken := r.taken() + r.sealing; taken+minRoomBytes > r.limit {
		r.full = r.none(taken)
	}
}

// short is how many bytes are missing for acceptance to go on with some to spare.
func (r *room) short(spare int64) int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.taken() + r.sealing + spare - r.limit
}

func formatBytes(bytes int64) string {
	const units = "KMGTPE"
	if bytes < 1<<10 {
		return fmt.Sprintf("%d B", bytes)
	}
	value, unit := float64(bytes)/(1<<10), 0
	for value >= 1<<10 && unit < len(units)-1 {
		value /= 1 << 10
		unit++
	}
	return fmt.Sprintf("%.1f %ciB", value, units[unit])
}
