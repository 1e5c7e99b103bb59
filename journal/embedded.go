package journal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

const (
	// maxPayloadBytes is the largest message the embedded server takes.
	maxPayloadBytes = 8 << 20
	// maxStoreBytes keeps JetStream from setting a limit of its own from the
	// space that happens to be free at start: the disk itself is the limit.
	maxStoreBytes = 1 << 50
	// maxStoreMemoryBytes is for the state of the readers; streams are on disk.
	maxStoreMemoryBytes = 64 << 20

	startFor       = 30 * time.Second
	minRestartWait = 5 * time.Second // between two restarts
	// answerFor is how long an answer may still come after the server logged an
	// error, which need not have been about the message in question.
	answerFor = time.Second
)

// errServer means that the embedded server logged an error and then did not
// answer; it is wrapped with what was logged.
var errServer = errors.New("the embedded journal server failed")

// embedded is a NATS server inside this process, reached over a pipe: it has no
// port. It is the provider of connections for nats.InProcessServer.
type embedded struct {
	dir    string
	logger *serverLogger

	mu         sync.Mutex
	current    *server.Server
	generation int // how often it was started
	started    time.Time
	closed     bool
}

func startEmbedded(dir string, logger *slog.Logger) (*embedded, error) {
	e := &embedded{dir: dir, logger: &serverLogger{logger: logger}}
	e.logger.forget()
	e.mu.Lock()
	defer e.mu.Unlock()
	return e, e.start()
}

// start starts the server; e.mu is held.
func (e *embedded) start() error {
	e.generation++
	e.started = time.Now()
	e.current = nil
	e.logger.forget()
	s, err := server.NewServer(&server.Options{
		ServerName:             "carillon",
		DontListen:             true,
		JetStream:              true,
		StoreDir:               e.dir,
		SyncAlways:             true,
		JetStreamMaxStore:      maxStoreBytes,
		JetStreamMaxMemory:     maxStoreMemoryBytes,
		MaxPayload:             maxPayloadBytes,
		NoSigs:                 true,
		DisableJetStreamBanner: true,
	})
	if err != nil {
		return fmt.Errorf("configuring the embedded journal server: %w", err)
	}
	s.SetLoggerV2(e.logger, false, false, false)
	s.Start()
	// A server that could not start JetStream only logs so, and never gets ready.
	if e.logger.gaveUp() || !s.ReadyForConnections(startFor) {
		s.Shutdown()
		s.WaitForShutdown()
		return fmt.Errorf("starting the embedded journal server in %s: %w", e.dir, e.logger.reason())
	}
	e.current = s
	return nil
}

// InProcessConn connects to the server that runs now.
func (e *embedded) InProcessConn() (net.Conn, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.current == nil {
		return nil, errors.New("embedded journal server is not running")
	}
	return e.current.InProcessConn()
}

// running is the generation of the server that runs now, for restart.
func (e *embedded) running() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.generation
}

// restart starts the server afresh, unless that was done since the given
// generation or only just now.
//
// After a write or sync that failed, JetStream keeps its stream stopped and does
// not answer, and rightly so: what the kernel still holds may never reach the
// disk, and a second sync would claim that it did. A server that starts anew
// reads back what is on the disk and goes on behind it, so a disk that was full
// for a while needs nobody to restart Carillon.
func (e *embedded) restart(generation int) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed || e.generation != generation || time.Since(e.started) < minRestartWait {
		return nil
	}
	e.logger.logger.Warn("restarting the embedded journal server", "reason", e.logger.reason())
	e.stop()
	return e.start()
}

// stop ends the server; e.mu is held.
func (e *embedded) stop() {
	if e.current != nil {
		e.current.Shutdown()
		e.current.WaitForShutdown()
		e.current = nil
	}
}

func (e *embedded) close() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closed = true
	e.stop()
}

// serverLogger hands the server's log lines to slog and remembers the last
// error, which the protocol does not always tell.
type serverLogger struct {
	logger *slog.Logger

	mu     sync.Mutex
	last   error
	fatal  bool
	well   context.Context // ends with the first error since the server was started
	unwell context.CancelFunc
}

func (l *serverLogger) Noticef(format string, v ...any) { l.logger.Debug(fmt.Sprintf(format, v...)) }
func (l *serverLogger) Debugf(format string, v ...any)  { l.logger.Debug(fmt.Sprintf(format, v...)) }
func (l *serverLogger) Tracef(format string, v ...any)  { l.logger.Debug(fmt.Sprintf(format, v...)) }
func (l *serverLogger) Warnf(format string, v ...any)   { l.logger.Warn(fmt.Sprintf(format, v...)) }
func (l *serverLogger) Errorf(format string, v ...any) {
	l.failed(fmt.Sprintf(format, v...), false)
}
func (l *serverLogger) Fatalf(format string, v ...any) { l.failed(fmt.Sprintf(format, v...), true) }

func (l *serverLogger) failed(line string, fatal bool) {
	l.logger.Error(line)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last = errors.New(line)
	l.fatal = l.fatal || fatal
	l.unwell()
}

// gaveUp tells that the server ended its start with an error.
func (l *serverLogger) gaveUp() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fatal
}

// reason is the last error the server logged since it was started.
func (l *serverLogger) reason() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.last == nil {
		return errors.New("the server does not answer")
	}
	return l.last
}

// forget makes the log that of a server that starts anew.
func (l *serverLogger) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last, l.fatal = nil, false
	l.well, l.unwell = context.WithCancel(context.Background())
}

// guard is a context that ends answerFor after the server logged an error:
// JetStream does not answer a message that it could not write.
func (l *serverLogger) guard(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	l.mu.Lock()
	defer l.mu.Unlock()
	unhook := context.AfterFunc(l.well, func() { time.AfterFunc(answerFor, cancel) })
	return ctx, func() { unhook(); cancel() }
}
