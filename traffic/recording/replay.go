package recording

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"carillon/pause"
)

const (
	maxInFlight   = 64 // requests, and pieces that wait for a connection
	requestLasts  = 2 * time.Minute
	mostErrorText = 1 << 10
)

// Player sends a recording to a server.
type Player struct {
	To       string  // URL of the server
	ToLines  string  // host:port that takes lines
	Speed    float64 // 2 is twice as fast as it was recorded; 0 as fast as the server takes it
	Progress func(at time.Duration)
}

// Played is what a Player sent.
type Played struct {
	Requests, Connections int
	Bytes                 int64
	Refused               int           // requests that were answered by anything but success
	FirstRefusal          string        // what the server said
	Behind                time.Duration // the most that anything was sent after its time
}

func (p Played) String() string {
	text := fmt.Sprintf("sent %d requests and %d connections, %d bytes", p.Requests, p.Connections, p.Bytes)
	if p.Behind > 0 {
		text += fmt.Sprintf("; at most %s late", p.Behind.Round(time.Millisecond))
	}
	return text
}

// Summary is what a recording holds.
type Summary struct {
	Requests, Connections int
	Bytes                 int64
	Lasts                 time.Duration
}

func (s Summary) String() string {
	return fmt.Sprintf("%d requests and %d connections, %d bytes in %s", s.Requests, s.Connections, s.Bytes, s.Lasts.Round(time.Millisecond))
}

// Summarize reads a whole recording and checks it. With an error it is a summary of what
// stands before the damage.
func Summarize(file io.Reader) (s Summary, err error) {
	r, err := NewReader(file)
	if err != nil {
		return s, err
	}
	for {
		e, err := r.Next()
		if err == io.EOF {
			return s, nil
		}
		if err != nil {
			return s, err
		}
		switch e.Kind {
		case Request:
			s.Requests++
		case Open:
			s.Connections++
		}
		s.Bytes += int64(len(e.Body))
		s.Lasts = e.At
	}
}

// player is a Player at work.
type player struct {
	*Player
	client *http.Client
	began  time.Time
	pieces map[uint64]chan []byte // of open connections; closed at their end

	mu     sync.Mutex
	played Played // guarded by mu
}

// Play sends everything at its time. A recording that is cut off is played as far as it
// goes, and the error says so. A refusal ends nothing, a server that is not there does.
func (p *Player) Play(ctx context.Context, file io.Reader) (Played, error) {
	r, err := NewReader(file)
	if err != nil {
		return Played{}, err
	}
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(maxInFlight + maxConnections)
	w := &player{
		Player: p, began: time.Now(), pieces: make(map[uint64]chan []byte),
		client: &http.Client{Timeout: requestLasts, Transport: &http.Transport{MaxIdleConnsPerHost: maxInFlight}},
	}
	err = w.schedule(groupCtx, r, group)
	for _, pieces := range w.pieces { // of a recording that is cut off
		close(pieces)
	}
	if groupErr := group.Wait(); groupErr != nil {
		err = groupErr // the cause: schedule only noticed that all was over
	}
	w.client.CloseIdleConnections()
	return w.played, err
}

// schedule starts what is to be sent when its time has come.
func (p *player) schedule(ctx context.Context, r *Reader, group *errgroup.Group) error {
	inFlight := make(chan struct{}, maxInFlight)
	for {
		e, err := r.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := p.wait(ctx, e.At); err != nil {
			return err
		}
		p.Progress(e.At)
		switch e.Kind {
		case Request:
			select {
			case inFlight <- struct{}{}:
			case <-ctx.Done():
				return ctx.Err()
			}
			group.Go(func() error {
				defer func() { <-inFlight }()
				return p.request(ctx, &e)
			})
		case Open:
			pieces := make(chan []byte, maxInFlight)
			p.pieces[e.Connection] = pieces
			group.Go(func() error { return p.connection(ctx, pieces) })
		case Data:
			select {
			case p.pieces[e.Connection] <- e.Body:
			case <-ctx.Done():
				return ctx.Err()
			}
		case Close:
			close(p.pieces[e.Connection])
			delete(p.pieces, e.Connection)
		}
	}
}

// wait returns when it is time for what was sent at a moment of the recording.
func (p *player) wait(ctx context.Context, at time.Duration) error {
	if p.Speed == 0 {
		return ctx.Err()
	}
	left := time.Duration(float64(at)/p.Speed) - time.Since(p.began)
	if left <= 0 {
		p.note(func(played *Played) { played.Behind = max(played.Behind, -left) })
	}
	return pause.For(ctx, left)
}

func (p *player) note(change func(*Played)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change(&p.played)
}

func (p *player) request(ctx context.Context, e *Event) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(p.To, "/")+writePath, bytes.NewReader(e.Body))
	if err != nil {
		return err
	}
	for _, f := range e.Header {
		request.Header.Set(f.Name, f.Value)
	}
	answer, err := p.client.Do(request)
	if err != nil {
		return fmt.Errorf("send a request: %w", err)
	}
	defer answer.Body.Close()
	said, err := io.ReadAll(io.LimitReader(answer.Body, mostErrorText))
	if err != nil {
		return fmt.Errorf("read an answer: %w", err)
	}
	p.note(func(played *Played) {
		played.Requests++
		played.Bytes += int64(len(e.Body))
		if answer.StatusCode/100 != 2 {
			if played.Refused == 0 {
				played.FirstRefusal = answer.Status + ": " + strings.TrimSpace(string(said))
			}
			played.Refused++
		}
	})
	return nil
}

// connection sends pieces until there are no more, and waits for the server's end.
func (p *player) connection(ctx context.Context, pieces <-chan []byte) error {
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", p.ToLines)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Now()) })
	defer stop()
	sent := int64(0)
	for piece := range pieces {
		n, err := c.Write(piece)
		sent += int64(n)
		if err != nil {
			return fmt.Errorf("send lines: %w", err)
		}
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		return err
	}
	if n, err := c.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		return fmt.Errorf("a line connection had no orderly end: %w", errors.Join(err, ctx.Err()))
	}
	p.note(func(played *Played) {
		played.Connections++
		played.Bytes += sent
	})
	return nil
}
