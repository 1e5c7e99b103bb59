package receive

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"

	"golang.org/x/sync/errgroup"
)

const (
	socketBufferBytes  = 4 << 20 // asked of the kernel, which may give less
	maxDatagramBytes   = 64 << 10
	maxQueuedBytes     = 8 << 20 // of datagrams between socket and journal
	maxQueuedDatagrams = 64 << 10
)

// datagrams is the queue between the socket's reader, which does nothing but
// fill it, and the parser, which empties it as a whole. Datagrams lie one after
// the other in one block, so that queueing one copies it and nothing else.
type datagrams struct {
	maxBytes, maxCount int
	arrived            chan struct{} // holds one element if the queue may not be empty; closed at the end

	mu    sync.Mutex
	block queued // guarded by mu
}

// queued is a run of datagrams.
type queued struct {
	bytes []byte
	list  []datagram
}

type datagram struct {
	from netip.AddrPort
	end  int // of its bytes; they start at the end of the one before
}

// push is false if the queue is full.
func (q *datagrams) push(from netip.AddrPort, bytes []byte) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.block.bytes)+len(bytes) > q.maxBytes || len(q.block.list) == q.maxCount {
		return false
	}
	q.block.bytes = append(q.block.bytes, bytes...)
	q.block.list = append(q.block.list, datagram{from, len(q.block.bytes)})
	select {
	case q.arrived <- struct{}{}:
	default:
	}
	return true
}

// swap takes all there is and leaves an empty block to be filled.
func (q *datagrams) swap(empty queued) queued {
	q.mu.Lock()
	defer q.mu.Unlock()
	full := q.block
	q.block = queued{empty.bytes[:0], empty.list[:0]}
	return full
}

func (l *Listener) serveDatagrams(ctx, journalling context.Context) error {
	if err := l.udp.SetReadBuffer(socketBufferBytes); err != nil {
		l.writer.logger.Warn("a larger UDP buffer was refused", "protocol", l.protocol, "error", err)
	}
	queue := &datagrams{maxBytes: l.queuedBytes, maxCount: l.queuedMessages, arrived: make(chan struct{}, 1)}
	var group errgroup.Group
	group.Go(func() error {
		defer close(queue.arrived)
		return l.readDatagrams(ctx, queue)
	})
	group.Go(func() error {
		l.journalDatagrams(journalling, queue)
		return nil
	})
	return group.Wait()
}

func (l *Listener) readDatagrams(ctx context.Context, queue *datagrams) error {
	buffer := make([]byte, maxDatagramBytes)
	for {
		n, from, err := l.udp.ReadFromUDPAddrPort(buffer)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("receiving %s datagrams: %w", l.protocol, err)
		case err != nil:
			l.writer.logger.Warn("receiving a datagram failed", "protocol", l.protocol, "error", err)
			continue
		}
		if !queue.push(from, buffer[:n]) {
			l.writer.drop(l.protocol, 1)
		}
	}
}

// journalDatagrams empties the queue until it is closed. Lines of many datagrams
// travel in one request, up to about maxBufferBytes.
func (l *Listener) journalDatagrams(journalling context.Context, queue *datagrams) {
	var block queued
	var from session // of the datagram
	lines := newLines(l.writer, l.protocol, &from)
	for range queue.arrived {
		block = queue.swap(block)
		start, firstByte, first := 0, 0, 0 // of the datagram, and of the request
		for i, d := range block.list {
			from = session{address: d.from}
			lines.addAll(block.bytes[start:d.end])
			start = d.end
			if next := i + 1; next == len(block.list) || d.end-firstByte >= maxBufferBytes {
				l.commitDatagrams(journalling, lines, next-first)
				first, firstByte = next, d.end
			}
		}
	}
}

func (l *Listener) commitDatagrams(journalling context.Context, lines *lines, n int) {
	if err := lines.commit(journalling); err != nil {
		l.writer.drop(l.protocol, n)
		l.writer.logger.Warn("datagrams dropped: they could not be journalled", "protocol", l.protocol, "datagrams", n, "error", err)
	}
}
