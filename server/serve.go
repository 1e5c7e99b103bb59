package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"

	"carillon/agent"
	"carillon/directory/httpapi"
	"carillon/receive"
	"carillon/web"
)

// Limits on HTTP connections, so that a slow or silent client holds nothing up.
const (
	headerTimeout  = 10 * time.Second
	bodyTimeout    = 2 * time.Minute // of a remote write
	idleTimeout    = 2 * time.Minute
	maxHeaderBytes = 64 << 10
)

// listeners is where a server listens.
type listeners struct {
	http             net.Listener
	graphite, istatd *receive.Listener // nil where there is none
	notices          []string          // what to know of the start, like a port that was taken
}

func (p *parts) listen(ctx context.Context, c Config) (l *listeners, err error) {
	l = new(listeners)
	notice := func(text string) {
		c.Logger.Warn(text)
		l.notices = append(l.notices, text)
	}
	if l.http, err = listenHTTP(ctx, c.HTTP, notice); err != nil {
		return nil, err
	}
	if l.graphite, err = p.listenLines(ctx, receive.ProtocolGraphite, c.Graphite, notice); err == nil {
		l.istatd, err = p.listenLines(ctx, receive.ProtocolIstatd, c.Istatd, notice)
	}
	if err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

func (l *listeners) lines() []*receive.Listener {
	return slices.DeleteFunc([]*receive.Listener{l.graphite, l.istatd}, func(l *receive.Listener) bool { return l == nil })
}

func (p *parts) bound(l *listeners) Bound {
	b := Bound{URL: "http://" + l.http.Addr().String()}
	if p.cache != nil {
		b.Cache, b.CacheUDP = p.cache.addresses()
	}
	if l.graphite != nil {
		b.Graphite = l.graphite.TCPAddr().String()
	}
	if l.istatd != nil {
		b.Istatd = l.istatd.TCPAddr().String()
	}
	return b
}

// close may be called after they were served, too.
func (l *listeners) close() {
	l.http.Close()
	for _, lines := range l.lines() {
		lines.Close()
	}
}

// serve opens the listeners, answers, replays the journal, takes in what comes, and works
// until ctx ends or something fails. When it returns, nothing comes in any more.
func (p *parts) serve(ctx context.Context, c Config) error {
	l, err := p.listen(ctx, c)
	if err != nil {
		return err
	}
	defer l.close()
	remoteWrite := receive.NewRemoteWrite(p.writer)
	own, err := p.ownAgent(c, remoteWrite)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	status := &status{
		version: c.Version, started: time.Now(), now: time.Now, tiers: c.Tiers, journal: p.journal, directory: p.directory,
		partitions: p.partitions, disk: p.disk, writer: p.writer, rejects: p.rejects, notices: l.notices, cache: p.cache != nil,
	}
	group.Go(func() error { return status.watch(ctx) })
	if p.cache != nil {
		group.Go(func() error { return p.cache.watch(ctx) })
	}
	// Queries need not wait for the replay. Points would only be taken to be refused.
	backups := newBackups(p)
	group.Go(func() error { return p.serveHTTP(ctx, l.http, p.handler(remoteWrite, status, backups)) })
	group.Go(func() error {
		if err := p.replay(ctx, c.Progress); err != nil {
			if ctx.Err() != nil { // stopped before its end
				return nil
			}
			return err
		}
		for _, lines := range l.lines() {
			group.Go(func() error { return lines.Serve(ctx) })
		}
		if own != nil {
			group.Go(func() error { return own.Run(ctx) })
		}
		if c.Archive.URL != "" {
			group.Go(func() error { return backups.archiver(ctx, c.Archive) })
		}
		c.Ready(p.bound(l))
		return nil
	})
	return group.Wait()
}

// listenHTTP opens the HTTP address. If it is taken and nobody asked for it, a
// free port does: a newcomer should see the page all the same.
func listenHTTP(ctx context.Context, a Address, notice func(string)) (net.Listener, error) {
	var config net.ListenConfig
	l, err := config.Listen(ctx, "tcp", a.Addr)
	if err == nil || a.Asked || !errors.Is(err, syscall.EADDRINUSE) {
		return l, wrapListen(err, "listen")
	}
	notice(fmt.Sprintf("%s is taken, so a free port is used; choose one with --listen", a.Addr))
	l, err = config.Listen(ctx, "tcp", "127.0.0.1:0")
	return l, wrapListen(err, "listen")
}

func wrapListen(err error, flag string) error {
	if err != nil {
		return fmt.Errorf("--%s: %w", flag, err)
	}
	return nil
}

// listenLines opens a line protocol's sockets; nil if it has no address, or one
// that is taken and nobody asked for.
func (p *parts) listenLines(ctx context.Context, protocol receive.Protocol, a Address, notice func(string)) (*receive.Listener, error) {
	if a.Addr == "" {
		return nil, nil
	}
	l, err := receive.Listen(ctx, p.writer, protocol, a.Addr, a.Addr)
	if err != nil && !a.Asked && errors.Is(err, syscall.EADDRINUSE) {
		notice(fmt.Sprintf("%s is taken, so %s lines are not received; choose another address with --%s, or none with --%s=", a.Addr, protocol, protocol, protocol))
		return nil, nil
	}
	return l, wrapListen(err, string(protocol))
}

// ownAgent collects this host's numbers and hands them to the receiver of this
// process.
func (p *parts) ownAgent(c Config, remoteWrite *receive.RemoteWrite) (*agent.Agent, error) {
	if !c.Agent {
		return nil, nil
	}
	return agent.New(agent.Config{
		Interval: c.AgentInterval, Host: c.Host,
		Gatherer: p.registry, Registerer: p.registry, Logger: c.Logger,
		Buffer: agent.NewMemory(agentMemoryBytes),
		Sender: agent.Func(func(ctx context.Context, body []byte) error {
			_, err := remoteWrite.WriteRemote(ctx, body)
			if refused := (*receive.RefusedError)(nil); errors.As(err, &refused) {
				return fmt.Errorf("%w: %w", agent.ErrRejected, err)
			}
			return err
		}),
	})
}

// handler routes every path of the server.
func (p *parts) handler(remoteWrite *receive.RemoteWrite, status *status, backups *backups) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("POST /api/v1/write", withBodyDeadline(remoteWrite))
	p.query.Register(mux)
	httpapi.New(httpapi.Config{
		Directory: p.locations.directory, Feed: p.locations, Restore: p.locations.restore, Series: p.directory.CacheStats,
		Now: time.Now, Logger: p.logger, Registerer: p.registry,
	}).Register(mux)
	// Not from another site's page in the browser of somebody on this machine.
	mux.Handle("POST "+BackupPath, http.NewCrossOriginProtection().Handler(backups))
	mux.Handle("GET "+ExportPath, newExporter(p))
	if p.cache != nil {
		mux.Handle("GET /api/v1/cache", p.cache)
	}
	mux.Handle("GET /api/v1/status", status)
	mux.Handle("GET /api/v1/status/rejects", serveRejects(p.rejects))
	mux.Handle("GET /api/v1/status/retention", serveRetention(p.book))
	mux.Handle("GET /metrics", promhttp.HandlerFor(p.registry, promhttp.HandlerOpts{}))
	mux.Handle("GET /-/healthy", wellWithout(p.partitions.Err))
	mux.Handle("GET /-/ready", wellWithout(func() error { return cmp.Or(p.partitions.Err(), p.partitions.Replaying()) }))
	mux.Handle("GET /", web.Handler())
	return mux
}

// wellWithout answers that all is well, unless there is an error.
func wellWithout(fault func() error) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		if err := fault(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		_, _ = io.WriteString(w, "Carillon is ready.\n")
	}
}

// withBodyDeadline bounds how long a body may take to come. It is not set for
// the whole server because its passing would also end long answers.
func withBodyDeadline(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTimeout)); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// serveHTTP serves until ctx ends, then lets the requests at work finish.
func (p *parts) serveHTTP(ctx context.Context, l net.Listener, handler http.Handler) error {
	s := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(p.logger.Handler(), slog.LevelWarn),
	}
	stopped := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() {
		p.live.Close() // ends the streams, which would never finish
		drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownLasts)
		defer cancel()
		stopped <- s.Shutdown(drain)
	})
	defer stop()
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("HTTP: %w", err)
	}
	return <-stopped
}
