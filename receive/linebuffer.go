package receive

import (
	"bytes"
	"sync"
)

const (
	maxLineBytes     = 64 << 10  // of one line, without its end
	firstBufferBytes = 16 << 10  // what a connection starts with: most send little at a time
	maxBufferBytes   = 256 << 10 // what a sender in haste gets
)

// largeBuffer is the memory of a lineBuffer whose sender is in haste.
type largeBuffer [maxBufferBytes]byte

// lineBuffer cuts what a connection sends into lines, in bounded memory. The
// reader fills space and tells take how much that was.
type lineBuffer struct {
	large *sync.Pool // of *largeBuffer

	data     []byte // lines that were taken, and the start of one that is not complete yet
	taken    int    // data[:taken] was taken, and is given up by space
	scanned  int    // data[:scanned] has no LF
	skipping bool   // inside a line that was too long, up to its LF
	hasty    bool   // the last read filled all space: there was more to read
}

// space is where to read the next bytes to; it is never empty. It grows with the
// sender's haste, so that a busy connection needs few reads and an idle one
// little memory.
func (b *lineBuffer) space() []byte {
	b.data = b.data[:copy(b.data, b.data[b.taken:])]
	b.scanned -= b.taken
	b.taken = 0
	switch {
	case cap(b.data) == 0:
		b.data = make([]byte, 0, firstBufferBytes)
	case b.hasty && cap(b.data) < maxBufferBytes:
		b.data = append(b.large.Get().(*largeBuffer)[:0], b.data...)
	}
	return b.data[len(b.data):cap(b.data)]
}

// release gives the memory to the next sender in haste. The buffer is empty.
func (b *lineBuffer) release() {
	if cap(b.data) == maxBufferBytes {
		b.large.Put((*largeBuffer)(b.data[:maxBufferBytes]))
	}
	*b = lineBuffer{large: b.large}
}

// take calls visit for each line that the n bytes in space complete, without its
// LF. A line that is too long is visited once, as not whole, as soon as that is
// clear; the rest of it is skipped. Lines are valid until space is called.
func (b *lineBuffer) take(n int, visit func(line []byte, whole bool)) {
	b.data = b.data[:len(b.data)+n]
	b.hasty = len(b.data) == cap(b.data)
	start := 0
	for {
		i := bytes.IndexByte(b.data[b.scanned:], '\n')
		if i < 0 {
			break
		}
		end := b.scanned + i
		if !b.skipping {
			visit(b.data[start:end], end-start <= maxLineBytes)
		}
		b.skipping = false
		start = end + 1
		b.scanned = start
	}
	b.taken = start
	if rest := b.rest(); !b.skipping && len(rest) > maxLineBytes {
		visit(rest, false)
		b.skipping = true
	}
	if b.skipping {
		b.taken = len(b.data)
	}
	b.scanned = len(b.data)
}

// rest is the start of a line that has no end yet.
func (b *lineBuffer) rest() []byte { return b.data[b.taken:] }
