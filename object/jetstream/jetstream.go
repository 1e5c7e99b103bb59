// Package jetstream keeps objects in streams of a NATS server or cluster, or of a server inside this process. In come the
// calls of object/bucket, which makes an object.Store of them; out go messages, spread over a number of
// streams so that a cluster shares the load. Whoever opens a store by its URL calls it.
//
// A server of its own syncs as it is told to. One that runs elsewhere must be configured to sync before it answers (sync_interval:
// always): no client can ask whether it does, and by default it syncs every two minutes.
package jetstream

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"regexp"
	"strings"
	"sync"

	"carillon/object"
	"carillon/object/bucket"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
)

// Config is of a store.
type Config struct {
	Conn     *nats.Conn // the store's, which closes it
	Bucket   string     // letters, digits, - and _; different ones do not see each other
	Shards   int        // streams that the bucket is made of; 0 means 4. It must stay the same.
	Replicas int        // of each stream; 0 means 1
	Keep     int        // versions of a name
	Spool    string     // folder for bodies too large for memory; empty for the system's
	Logger   *slog.Logger
}

const (
	maxShards   = 256
	chunkBytes  = 128 << 10 // of a file in a message
	maxInFlight = 16        // chunks sent and not yet answered
)

// headers of the message of a key
const (
	keyHeader     = "Carillon-Key"
	uploadHeader  = "Carillon-Upload"  // the file is in chunks
	removedHeader = "Carillon-Removed" // the key is gone
)

var bucketName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// Open makes the streams if they are not there, and reads the keys. The connection is closed if it fails.
func Open(ctx context.Context, config Config) (object.Store, error) {
	return open(ctx, config, nil)
}

func open(ctx context.Context, config Config, own *server.Server) (object.Store, error) {
	s := &service{conn: config.Conn, server: own, bucket: config.Bucket, uploads: map[string]string{}, reading: map[string]int{}, doomed: map[string]bool{}}
	if err := s.makeStreams(ctx, config); err != nil {
		return nil, errors.Join(fmt.Errorf("open jetstream bucket %q: %w", config.Bucket, err), s.Close())
	}
	store, err := bucket.Open(ctx, bucket.Config{Service: s, Keep: config.Keep, Spool: config.Spool, Logger: config.Logger})
	if err != nil {
		return nil, fmt.Errorf("open jetstream bucket %q: %w", config.Bucket, err)
	}
	return store, nil
}

// service is a bucket.Service.
type service struct {
	conn   *nats.Conn
	server *server.Server // nil if it runs elsewhere
	js     jetstream.JetStream
	bucket string
	shards []jetstream.Stream

	mu      sync.Mutex
	uploads map[string]string // of keys whose files are in chunks
	reading map[string]int    // uploads that are being read, by how many
	doomed  map[string]bool   // of those, the ones to remove when nobody reads them any more
}

func (s *service) makeStreams(ctx context.Context, config Config) (err error) {
	if config.Shards == 0 {
		config.Shards = 4
	}
	if !bucketName.MatchString(config.Bucket) || config.Shards < 1 || config.Shards > maxShards {
		return fmt.Errorf("want a name of up to 64 letters, digits, - and _, and 1 to %d shards, not %d", maxShards, config.Shards)
	}
	if s.js, err = jetstream.New(s.conn, jetstream.WithPublishAsyncMaxPending(maxInFlight)); err != nil {
		return err
	}
	for i := range config.Shards {
		stream, err := s.js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
			Name:              fmt.Sprintf("OBJECTS-%s-%d", config.Bucket, i),
			Subjects:          []string{fmt.Sprintf("objects.%s.%d.>", config.Bucket, i)},
			MaxMsgsPerSubject: 1,
			Replicas:          max(1, config.Replicas),
		})
		if err != nil {
			return fmt.Errorf("make stream %d: %w", i, err)
		}
		s.shards = append(s.shards, stream)
	}
	return nil
}

// place is where a key's messages are. Its subject is a hash: keys have characters that subjects cannot have.
func (s *service) place(key string) (stream jetstream.Stream, shard int, subject string) {
	sum := object.SumOf([]byte(key))
	shard = int(binary.BigEndian.Uint64(sum[:8]) % uint64(len(s.shards)))
	return s.shards[shard], shard, fmt.Sprintf("objects.%s.%d.key.%s", s.bucket, shard, sum)
}

func (s *service) chunkSubject(shard int, upload, chunk string) string {
	return fmt.Sprintf("objects.%s.%d.chunk.%s.%s", s.bucket, shard, upload, chunk)
}

// Put implements bucket.Service.
func (s *service) Put(ctx context.Context, key string, body io.ReadSeeker, size int64) error {
	if _, err := body.Seek(0, io.SeekStart); err != nil {
		return err
	}
	stream, shard, subject := s.place(key)
	m := nats.NewMsg(subject)
	m.Header.Set(keyHeader, key)
	upload := ""
	if size <= chunkBytes {
		m.Data = make([]byte, size)
		if _, err := io.ReadFull(body, m.Data); err != nil {
			return err
		}
	} else {
		upload = nuid.Next()
		m.Header.Set(uploadHeader, upload)
		if err := s.send(ctx, shard, upload, body); err != nil {
			return errors.Join(err, s.purge(context.WithoutCancel(ctx), stream, s.chunkSubject(shard, upload, "*")))
		}
	}
	if _, err := s.js.PublishMsg(ctx, m); err != nil {
		return err // the chunks, if the message did not arrive after all, go at the next start
	}
	return s.replace(ctx, key, upload)
}

// send publishes a file in chunks.
func (s *service) send(ctx context.Context, shard int, upload string, body io.Reader) error {
	var waiting []jetstream.PubAckFuture
	await := func(most int) error {
		for ; len(waiting) > most; waiting = waiting[1:] {
			select {
			case <-waiting[0].Ok():
			case err := <-waiting[0].Err():
				return err
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	}
	for chunk := 0; ; chunk++ {
		b := make([]byte, chunkBytes)
		n, err := io.ReadFull(body, b)
		if err == io.EOF { //nolint:errorlint // of ReadFull itself
			return await(0)
		}
		if err != nil && err != io.ErrUnexpectedEOF { //nolint:errorlint // of ReadFull itself
			return err
		}
		future, err := s.js.PublishAsync(s.chunkSubject(shard, upload, fmt.Sprint(chunk)), b[:n])
		if err != nil {
			return err
		}
		waiting = append(waiting, future)
		if err := await(maxInFlight / 2); err != nil {
			return err
		}
	}
}

// replace notes where a key's file is now, and removes the chunks of what was there before. Without an upload it is
// in the key's message, or nowhere.
func (s *service) replace(ctx context.Context, key, upload string) error {
	stream, shard, _ := s.place(key)
	s.mu.Lock()
	old := s.uploads[key]
	delete(s.uploads, key)
	if upload != "" {
		s.uploads[key] = upload
	}
	read := s.reading[old] > 0
	if read {
		s.doomed[old] = true
	}
	s.mu.Unlock()
	if old == "" || read {
		return nil
	}
	return s.purge(ctx, stream, s.chunkSubject(shard, old, "*"))
}

func (s *service) purge(ctx context.Context, stream jetstream.Stream, subject string) error {
	return stream.Purge(ctx, jetstream.WithPurgeSubject(subject))
}

// Remove implements bucket.Service. A server need not sync a purge, but it syncs messages: so one takes the place of the key's
// message first.
func (s *service) Remove(ctx context.Context, key string) error {
	stream, _, subject := s.place(key)
	m := nats.NewMsg(subject)
	m.Header.Set(keyHeader, key)
	m.Header.Set(removedHeader, "true")
	if _, err := s.js.PublishMsg(ctx, m); err != nil {
		return err
	}
	return errors.Join(s.replace(ctx, key, ""), s.purge(ctx, stream, subject))
}

// Get implements bucket.Service.
func (s *service) Get(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	stream, shard, subject := s.place(key)
	s.mu.Lock()
	upload := s.uploads[key]
	if upload != "" {
		s.reading[upload]++
	}
	s.mu.Unlock()
	if upload != "" {
		return &chunks{ctx: ctx, service: s, stream: stream, shard: shard, upload: upload, at: offset, left: length}, nil
	}
	m, err := stream.GetLastMsgForSubject(ctx, subject)
	if errors.Is(err, jetstream.ErrMsgNotFound) || err == nil && m.Header.Get(removedHeader) != "" {
		return nil, errors.Join(os.ErrNotExist, err)
	}
	if err != nil {
		return nil, err
	}
	from := min(offset, int64(len(m.Data)))
	return io.NopCloser(bytes.NewReader(m.Data[from:min(from+length, int64(len(m.Data)))])), nil
}

// chunks is a piece of a file in chunks. One goroutine uses it.
type chunks struct {
	ctx      context.Context
	service  *service
	stream   jetstream.Stream
	shard    int
	upload   string
	at, left int64
	chunk    []byte // read and not yet returned
	closed   bool
}

func (c *chunks) Read(p []byte) (int, error) {
	if c.left == 0 {
		return 0, io.EOF
	}
	if len(c.chunk) == 0 {
		m, err := c.stream.GetLastMsgForSubject(c.ctx, c.service.chunkSubject(c.shard, c.upload, fmt.Sprint(c.at/chunkBytes)))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return 0, io.ErrUnexpectedEOF
		}
		if err != nil {
			return 0, err
		}
		if c.chunk = m.Data[min(c.at%chunkBytes, int64(len(m.Data))):]; len(c.chunk) == 0 {
			return 0, io.ErrUnexpectedEOF
		}
	}
	n := copy(p[:min(int64(len(p)), c.left)], c.chunk)
	c.chunk = c.chunk[n:]
	c.at += int64(n)
	c.left -= int64(n)
	return n, nil
}

// Close removes the chunks if their key was removed meanwhile, and this was their last reader.
func (c *chunks) Close() error {
	s := c.service
	if c.closed {
		return nil
	}
	c.closed = true
	s.mu.Lock()
	s.reading[c.upload]--
	last := s.reading[c.upload] == 0
	doomed := s.doomed[c.upload]
	if last {
		delete(s.reading, c.upload)
		delete(s.doomed, c.upload)
	}
	s.mu.Unlock()
	if !last || !doomed {
		return nil
	}
	return s.purge(context.WithoutCancel(c.ctx), c.stream, s.chunkSubject(c.shard, c.upload, "*"))
}

// Each implements bucket.Service. It also removes what a crash has left: chunks that no key refers to.
func (s *service) Each(ctx context.Context, yield func(key string) error) error {
	for shard, stream := range s.shards {
		if err := s.eachOf(ctx, shard, stream, yield); err != nil {
			return fmt.Errorf("read shard %d: %w", shard, err)
		}
		if err := s.removeOrphans(ctx, shard, stream); err != nil {
			return fmt.Errorf("clean shard %d: %w", shard, err)
		}
	}
	return nil
}

func (s *service) eachOf(ctx context.Context, shard int, stream jetstream.Stream, yield func(key string) error) error {
	subjects := []string{fmt.Sprintf("objects.%s.%d.key.*", s.bucket, shard)}
	consumer, err := stream.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{FilterSubjects: subjects, HeadersOnly: true})
	if err != nil {
		return err
	}
	if consumer.CachedInfo().NumPending == 0 {
		return nil
	}
	messages, err := consumer.Messages()
	if err != nil {
		return err
	}
	defer messages.Stop()
	for {
		m, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return err
		}
		if err := s.seen(m, yield); err != nil {
			return err
		}
		if meta, err := m.Metadata(); err != nil || meta.NumPending == 0 {
			return err
		}
	}
}

func (s *service) seen(m jetstream.Msg, yield func(key string) error) error {
	key := m.Headers().Get(keyHeader)
	if m.Headers().Get(removedHeader) != "" {
		return nil
	}
	if upload := m.Headers().Get(uploadHeader); upload != "" {
		s.mu.Lock()
		s.uploads[key] = upload
		s.mu.Unlock()
	}
	return yield(key)
}

func (s *service) removeOrphans(ctx context.Context, shard int, stream jetstream.Stream) error {
	info, err := stream.Info(ctx, jetstream.WithSubjectFilter(s.chunkSubject(shard, "*", "*")))
	if err != nil {
		return err
	}
	known := map[string]bool{}
	s.mu.Lock()
	for _, upload := range s.uploads {
		known[upload] = true
	}
	s.mu.Unlock()
	for subject := range info.State.Subjects {
		tokens := strings.Split(subject, ".")
		upload := tokens[len(tokens)-2]
		if known[upload] {
			continue
		}
		if err := s.purge(ctx, stream, s.chunkSubject(shard, upload, "*")); err != nil {
			return err
		}
		known[upload] = true
	}
	return nil
}

// Close implements bucket.Service.
func (s *service) Close() error {
	s.conn.Close()
	if s.server != nil {
		s.server.Shutdown()
		s.server.WaitForShutdown()
	}
	return nil
}
