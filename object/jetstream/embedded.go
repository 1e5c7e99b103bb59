package jetstream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"carillon/object"
	"carillon/object/backend"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

const (
	startFor        = 30 * time.Second
	maxPayloadBytes = 1 << 20
	maxStoreBytes   = 1 << 50 // the disk itself is the limit
	neverSync       = 24 * 365 * time.Hour
)

// OpenEmbedded is Open with a server inside this process that keeps its streams in a folder and has no port.
// The store ends it when it is closed. Of the config, Conn is not used.
func OpenEmbedded(ctx context.Context, dir string, policy backend.Sync, config Config) (object.Store, error) {
	own, err := start(dir, policy, config.Logger)
	if err != nil {
		return nil, fmt.Errorf("start a jetstream server in %s: %w", dir, err)
	}
	if config.Conn, err = connect(own); err != nil {
		own.Shutdown()
		own.WaitForShutdown()
		return nil, fmt.Errorf("connect to the jetstream server in %s: %w", dir, err)
	}
	return open(ctx, config, own)
}

func start(dir string, policy backend.Sync, log *slog.Logger) (*server.Server, error) {
	interval, enabled := policy.Interval()
	if !enabled {
		interval = neverSync
	}
	s, err := server.NewServer(&server.Options{
		ServerName:             "carillon-objects",
		DontListen:             true,
		JetStream:              true,
		StoreDir:               dir,
		SyncAlways:             policy == backend.SyncAlways,
		SyncInterval:           interval,
		JetStreamMaxStore:      maxStoreBytes,
		MaxPayload:             maxPayloadBytes,
		NoSigs:                 true,
		DisableJetStreamBanner: true,
	})
	if err != nil {
		return nil, err
	}
	l := &logger{log: log, fatal: make(chan string, 1)}
	s.SetLoggerV2(l, false, false, false)
	s.Start()
	if s.ReadyForConnections(startFor) {
		select {
		case line := <-l.fatal: // JetStream did not start
			err = errors.New(line)
		default:
			return s, nil
		}
	} else {
		err = fmt.Errorf("not ready after %s", startFor)
	}
	s.Shutdown()
	s.WaitForShutdown()
	return nil, err
}

func connect(s *server.Server) (*nats.Conn, error) {
	return nats.Connect("", nats.InProcessServer(s), nats.MaxReconnects(-1))
}

// logger brings what the server says to the log.
type logger struct {
	log   *slog.Logger
	fatal chan string // the first
}

func (l *logger) Noticef(format string, v ...any) { l.log.Debug(fmt.Sprintf(format, v...)) }
func (l *logger) Debugf(format string, v ...any)  { l.log.Debug(fmt.Sprintf(format, v...)) }
func (l *logger) Tracef(format string, v ...any)  { l.log.Debug(fmt.Sprintf(format, v...)) }
func (l *logger) Warnf(format string, v ...any)   { l.log.Warn(fmt.Sprintf(format, v...)) }
func (l *logger) Errorf(format string, v ...any)  { l.log.Error(fmt.Sprintf(format, v...)) }

func (l *logger) Fatalf(format string, v ...any) {
	l.log.Error(fmt.Sprintf(format, v...))
	select {
	case l.fatal <- fmt.Sprintf(format, v...):
	default:
	}
}
