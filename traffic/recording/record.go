package recording

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"
	"time"
)

const (
	maxConnections  = 1024 // of lines at once
	maxRequests     = 64   // at once; more wait
	maxAnswer       = 1 << 20
	pieceBytes      = 64 << 10 // read from a connection at once
	forwardLasts    = 2 * time.Minute
	shutdownLasts   = 5 * time.Second
	flushEvery      = time.Second
	headerReadLasts = 10 * time.Second
)

// writePath is where remote write goes; other requests are passed on and not recorded.
const writePath = "/api/v1/write"

// keptHeader is what a server may decide on. Nothing else of a header is recorded, least
// of all credentials, though all of it is forwarded.
func keptHeader() []string {
	return []string{"Content-Type", "Content-Encoding", "X-Prometheus-Remote-Write-Version", "Idempotency-Key"}
}

// Recorder passes on what it gets, and records it.
type Recorder struct {
	Forward      *url.URL // of the server that requests go to
	ForwardLines string   // host:port that line connections go to
	Logger       *slog.Logger

	began time.Time

	mu          sync.Mutex
	out         *Writer // guarded by mu
	err         error   // of the first write that failed; guarded by mu
	connections uint64  // guarded by mu

	failed chan struct{} // closed with err
}

// Run records until the context ends, and then the connections that there are. A
// nil listener is none.
func (r *Recorder) Run(ctx context.Context, requests, lines net.Listener, out io.Writer) error {
	writer, err := NewWriter(out)
	if err != nil {
		return err
	}
	r.out, r.began, r.failed = writer, time.Now(), make(chan struct{})
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var work sync.WaitGroup
	if requests != nil {
		work.Go(func() { r.serveRequests(ctx, requests) })
	}
	if lines != nil {
		work.Go(func() { r.serveLines(ctx, lines) })
	}
	flush := time.NewTicker(flushEvery)
	defer flush.Stop()
	for running := true; running; {
		select {
		case <-ctx.Done():
			running = false
		case <-r.failed:
			running = false
		case <-flush.C:
			r.change(func(w *Writer) error { return w.Flush() })
		}
	}
	cancel()
	work.Wait()
	r.change(func(w *Writer) error { return w.Close() })
	return r.err
}

// change does something with the writer, unless that has failed before.
func (r *Recorder) change(with func(*Writer) error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil {
		return
	}
	if r.err = with(r.out); r.err != nil {
		close(r.failed)
	}
}

// record adds an event that happens now.
func (r *Recorder) record(e Event) {
	r.change(func(w *Writer) error {
		e.At = time.Since(r.began).Truncate(time.Microsecond)
		return w.Write(&e)
	})
}

func (r *Recorder) serveRequests(ctx context.Context, l net.Listener) {
	forward := &httputil.ReverseProxy{
		Rewrite:  func(p *httputil.ProxyRequest) { p.SetURL(r.Forward) },
		ErrorLog: slog.NewLogLogger(r.Logger.Handler(), slog.LevelWarn),
	}
	server := &http.Server{Handler: r.recorded(forward), ReadHeaderTimeout: headerReadLasts}
	stop := context.AfterFunc(ctx, func() {
		late, cancel := context.WithTimeout(context.Background(), shutdownLasts)
		defer cancel()
		if server.Shutdown(late) != nil {
			_ = server.Close()
		}
	})
	defer stop()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		r.change(func(*Writer) error { return err })
	}
}

// recorded is what records requests on their way to the server.
func (r *Recorder) recorded(server http.Handler) http.Handler {
	free := make(chan struct{}, maxRequests)
	return http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		free <- struct{}{} // until one of the others is done, which forwardLasts sees to
		defer func() { <-free }()
		ctx, cancel := context.WithTimeout(request.Context(), forwardLasts)
		defer cancel()
		if request.Method != http.MethodPost || request.URL.Path != writePath {
			server.ServeHTTP(w, request.WithContext(ctx))
			return
		}
		body, err := io.ReadAll(http.MaxBytesReader(w, request.Body, MaxBody))
		if err != nil {
			http.Error(w, err.Error(), http.StatusRequestEntityTooLarge)
			return
		}
		e := Event{Kind: Request, Body: body}
		for _, name := range keptHeader() {
			if value := request.Header.Get(name); value != "" && len(value) <= maxFieldBytes {
				e.Header = append(e.Header, Field{name, value})
			}
		}
		r.record(e)
		request.Body = io.NopCloser(bytes.NewReader(body))
		server.ServeHTTP(w, request.WithContext(ctx))
	})
}

func (r *Recorder) serveLines(ctx context.Context, l net.Listener) {
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	var work sync.WaitGroup
	defer work.Wait()
	free := make(chan struct{}, maxConnections)
	for {
		free <- struct{}{}
		c, err := l.Accept()
		if err != nil {
			if ctx.Err() == nil {
				r.change(func(*Writer) error { return fmt.Errorf("accept: %w", err) })
			}
			return
		}
		work.Go(func() {
			defer func() { <-free }()
			if err := r.pipe(ctx, c.(*net.TCPConn)); err != nil {
				r.Logger.Warn("a line connection failed", "from", c.RemoteAddr().String(), "error", err)
			}
		})
	}
}

// pipe passes a connection's bytes on, and the server's end back: an orderly one as
// such, since that is the acknowledgement, and all else as a reset.
func (r *Recorder) pipe(ctx context.Context, from *net.TCPConn) (err error) {
	defer from.Close()
	defer func() {
		if err != nil {
			_ = from.SetLinger(0)
		}
	}()
	dialled, err := (&net.Dialer{}).DialContext(ctx, "tcp", r.ForwardLines)
	if err != nil {
		return err
	}
	to := dialled.(*net.TCPConn)
	defer to.Close()
	stop := context.AfterFunc(ctx, func() { _ = from.SetReadDeadline(time.Now()) }) // what is there is passed on
	defer stop()
	number := r.opened()
	defer r.record(Event{Kind: Close, Connection: number})
	piece := make([]byte, pieceBytes)
	for {
		n, err := from.Read(piece)
		if n > 0 {
			r.record(Event{Kind: Data, Connection: number, Body: piece[:n]})
			if _, err := to.Write(piece[:n]); err != nil {
				return err
			}
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
	}
	if err := to.CloseWrite(); err != nil {
		return err
	}
	_, err = io.Copy(from, io.LimitReader(to, maxAnswer))
	return err
}

// opened numbers a connection.
func (r *Recorder) opened() (number uint64) {
	r.change(func(w *Writer) error {
		r.connections++
		number = r.connections
		return w.Write(&Event{Kind: Open, At: time.Since(r.began).Truncate(time.Microsecond), Connection: number})
	})
	return number
}
