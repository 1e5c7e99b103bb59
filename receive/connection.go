package receive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"
)

// reasonUnterminated refuses what follows the last LF of a connection. It may be
// the first half of a line: cut off, "queue 1024" reads as "queue 10".
const reasonUnterminated = "unterminated"

const (
	// A sender in haste fills one buffer after the other; so many points of it, or what
	// comes until it pauses for so long, are journalled together.
	maxGatheredPoints = 16 << 10
	gatherFor         = 2 * time.Millisecond
)

// serveConnection reads one connection to its end, see Listener for how it ends.
func (l *Listener) serveConnection(ctx, journalling context.Context, conn *net.TCPConn) {
	defer context.AfterFunc(ctx, func() {
		conn.SetReadDeadline(time.Unix(1, 0)) // wakes the reader
	})()
	from := &session{address: conn.RemoteAddr().(*net.TCPAddr).AddrPort()}
	logger := l.writer.logger.With("protocol", l.protocol, "from", from.address)
	// From here on the kernel resets the connection if this process is killed: it
	// must not end in order what is not in the journal.
	err := conn.SetLinger(0)
	if err == nil {
		err = l.readConnection(ctx, journalling, conn, from)
	}
	logger = logger.With("hostname", from.hostname, "remarks", from.remarks)
	switch {
	case err == nil:
		conn.SetLinger(-1)
		conn.Close()
		logger.Debug("connection ended")
		return
	case errors.Is(err, errJournal):
		logger.Warn("connection reset: lines could not be journalled", "error", err)
	case errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() == nil:
		logger.Debug("connection reset: idle", "for", l.idleTimeout)
	default:
		logger.Debug("connection reset", "error", err)
	}
	reset(conn)
}

var errJournal = errors.New("journalling lines")

// readConnection returns nil if the sender ended the stream and everything it
// sent is acknowledged.
func (l *Listener) readConnection(ctx, journalling context.Context, conn *net.TCPConn, from *session) error {
	lines := newLines(l.writer, l.protocol, from)
	buffer := lineBuffer{large: &l.writer.buffers}
	defer buffer.release()
	visit := func(line []byte, whole bool) {
		if !whole {
			lines.refuse("line_too_long", line, "")
			return
		}
		lines.add(line)
	}
	for {
		patience, gathering := l.idleTimeout, lines.points() > 0
		if gathering {
			patience = gatherFor
		}
		if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
			return err
		}
		readErr := ctx.Err() // only now: the deadline may have undone the wake-up
		if readErr == nil {
			var n int
			n, readErr = conn.Read(buffer.space())
			buffer.take(n, visit)
			lines.settle()
		}
		if readErr == nil && buffer.hasty && lines.points() < maxGatheredPoints {
			continue
		}
		if readErr == io.EOF && len(buffer.rest()) > 0 {
			lines.refuse(reasonUnterminated, buffer.rest(), "the stream ended without a line feed")
		}
		if err := lines.commit(journalling); err != nil {
			return fmt.Errorf("%w: %w", errJournal, err)
		}
		switch {
		case readErr == io.EOF:
			return nil
		case gathering && errors.Is(readErr, os.ErrDeadlineExceeded) && ctx.Err() == nil:
		case readErr != nil:
			return readErr
		}
	}
}
