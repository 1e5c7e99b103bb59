package partition

import (
	"math"
	"time"

	"carillon/journal"
)

// retries recognises requests that were sent again. It knows the hashes of the
// last ten minutes of the journal, by the journal's own clock; that is why it
// decides the same after a restart and on every node. The hashes are kept
// nowhere but in the journal: messages stay there until they are both sealed and
// out of the window.
type retries struct {
	window   int64 // ms
	times    map[journal.Hash]int64
	marks    []mark // rising; at most one every markEvery
	expired  uint64 // the last sequence known to be out of the window
	purged   int64
	repeated uint64
}

// mark says that the messages up to sequence, and after the mark before, were
// stored between from and to.
type mark struct {
	from, to int64
	sequence uint64
}

// markEvery spaces the marks, in ms; there are at most window/markEvery of them
// and a few.
const markEvery = 10_000

func newRetries(window time.Duration) *retries {
	return &retries{window: window.Milliseconds(), times: make(map[journal.Hash]int64), purged: math.MinInt64 / 2}
}

// seen notes a request and tells whether the same one was noted in the window.
func (r *retries) seen(now int64, request journal.Hash) bool {
	if request == (journal.Hash{}) {
		return false
	}
	if at, ok := r.times[request]; ok && now-at <= r.window {
		r.repeated++
		return true
	}
	r.times[request] = now
	return false
}

// passed notes that the message at sequence, stored at now, has been read.
func (r *retries) passed(now int64, sequence uint64) {
	if n := len(r.marks); n > 0 && now-r.marks[n-1].from < markEvery {
		last := &r.marks[n-1]
		last.sequence, last.to = sequence, max(now, last.to)
	} else {
		r.marks = append(r.marks, mark{from: now, to: now, sequence: sequence})
	}
	if now < r.purged+r.window {
		return
	}
	r.purged = now
	for request, at := range r.times {
		if now-at > r.window {
			delete(r.times, request)
		}
	}
}

// through is the last sequence whose requests are out of the window, 0 if none
// is.
func (r *retries) through(now int64) uint64 {
	n := 0
	for n < len(r.marks) && now-r.marks[n].to > r.window {
		r.expired = r.marks[n].sequence
		n++
	}
	r.marks = append(r.marks[:0], r.marks[n:]...)
	return r.expired
}
