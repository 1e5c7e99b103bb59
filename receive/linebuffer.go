package receive

import "bytes"

const (
	maxLineBytes     = 64 << 10  // of one line, without its end
	firstBufferBytes = 16 << 10  // what a connection starts with: most send little at a time
	bufferGrowth     = 4         // by which it grows: what was read is synced before more is
	maxBufferBytes   = 256 << 10 // what is read at most before it is journalled; a power of bufferGrowth times the first
)

// lineBuffer cuts what a connection sends into lines, in bounded memory. The
// reader fills space and tells take how much that was.
type lineBuffer struct {
	data     []byte // lines that were taken, and the start of one that is not complete yet
	taken    int    // data[:taken] was taken, and is given up by space
	scanned  int    // data[:scanned] has no LF
	skipping bool   // inside a line that was too long, up to its LF
	hasty    bool   // the last read filled all space: there was more to read
}

// space is where to read the next bytes to; it is never empty. It grows with the
// sender's haste, so that a busy connection needs few requests and an idle one
// little memory.
func (b *lineBuffer) space() []byte {
	b.data = b.data[:copy(b.data, b.data[b.taken:])]
	b.scanned -= b.taken
	b.taken = 0
	if cap(b.data) == 0 || (b.hasty && cap(b.data) < maxBufferBytes) {
		larger := make([]byte, len(b.data), max(firstBufferBytes, bufferGrowth*cap(b.data)))
		copy(larger, b.data)
		b.data = larger
	}
	return b.data[len(b.data):cap(b.data)]
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
