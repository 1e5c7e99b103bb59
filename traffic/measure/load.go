package measure

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"carillon/pause"
	"carillon/peer"
	"carillon/traffic"
)

const (
	connections   = 8
	perRequest    = 5000                   // points
	askAgainAfter = 100 * time.Millisecond // what a server says is busy
	patience      = 2 * time.Minute        // with a server that takes nothing
)

// load sends the steps of a generator to a server over several connections. A step
// is acknowledged before the next begins, so that a series' points come in order.
type load struct {
	generator *traffic.Generator
	format    traffic.Format
	senders   [connections]sender
	client    *http.Client
	again     atomic.Int64 // requests that had to be sent again
}

// sender is what one connection needs. One goroutine a step uses it.
type sender struct {
	encoder *traffic.Encoder
	points  traffic.Points
	body    []byte
}

func newLoad(c traffic.Config, format traffic.Format) (*load, error) {
	g, err := traffic.New(c)
	if err != nil {
		return nil, err
	}
	l := &load{generator: g, format: format, client: &http.Client{Transport: &http.Transport{
		MaxIdleConnsPerHost: connections, DisableCompression: true,
	}}}
	for i := range l.senders {
		l.senders[i].encoder = traffic.NewEncoder(format)
	}
	return l, nil
}

// step sends a step to where the target is when it is asked, and returns what was acknowledged. Its
// requests are spread evenly until a time; if that is over, they go at full speed.
func (l *load) step(ctx context.Context, target func() *peer.Process, until time.Time) (traffic.Sum, error) {
	l.generator.NextStep()
	var (
		next  atomic.Int64 // request
		mu    sync.Mutex
		total traffic.Sum // guarded by mu
	)
	requests := (l.generator.Series() + perRequest - 1) / perRequest
	began := time.Now()
	over := max(0, until.Sub(began))
	group, ctx := errgroup.WithContext(ctx)
	for i := range l.senders {
		group.Go(func() error {
			var sum traffic.Sum
			for {
				k := int(next.Add(1)) - 1
				if k >= requests {
					break
				}
				if err := pause.For(ctx, time.Until(began.Add(over*time.Duration(k)/time.Duration(requests)))); err != nil {
					return err
				}
				from := k * perRequest
				accepted, err := l.request(ctx, &l.senders[i], target, from, min(from+perRequest, l.generator.Series()))
				if err != nil {
					return err
				}
				sum.Add(accepted)
			}
			mu.Lock()
			defer mu.Unlock()
			total.Add(sum)
			return nil
		})
	}
	return total, group.Wait()
}

// request sends points until the server has acknowledged them.
func (l *load) request(ctx context.Context, s *sender, target func() *peer.Process, from, to int) (traffic.Sum, error) {
	sum := l.generator.Fill(&s.points, from, to)
	s.body = s.encoder.Append(s.body[:0], &s.points)
	for began := time.Now(); ; l.again.Add(1) {
		send := l.lines
		if l.format == traffic.RemoteWrite {
			send = l.post
		}
		err := send(ctx, target(), s.body)
		switch {
		case err == nil:
			return sum, nil
		case errors.Is(err, peer.ErrRefused), time.Since(began) > patience:
			return traffic.Sum{}, err
		}
		if err := pause.For(ctx, askAgainAfter); err != nil {
			return traffic.Sum{}, err
		}
	}
}

func (l *load) post(ctx context.Context, to *peer.Process, body []byte) error {
	return to.Write(ctx, l.client, body)
}

// lines sends lines over a connection of their own and waits until the server ends
// its side too, which ours does when the journal has them.
func (l *load) lines(ctx context.Context, to *peer.Process, lines []byte) error {
	address := to.Ports.Graphite
	if l.format == traffic.Istatd {
		address = to.Ports.Istatd
	}
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := c.Write(lines); err != nil {
		return err
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		return err
	}
	if n, err := c.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		return errors.Join(errors.New("no clean end"), err)
	}
	return nil
}
