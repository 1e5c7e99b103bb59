package node

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"carillon/object"
	"carillon/object/replica"
)

// Bounds of a server.
const (
	readers     = 512  // requests that read here, at once
	writers     = 256  // that write here
	clusterings = 128  // that need other nodes
	batchings   = 16   // that bring batches of puts, each of which may be 1 MiB
	waiting     = 1024 // in front of each of these

	// DefaultStall is how long a connection may stand still in the middle of a body, either way.
	DefaultStall = 30 * time.Second

	maxAnswerBytes = 4 << 20 // of JSON
)

// Config is of a Server.
type Config struct {
	Local Local // what this node has
	// Cluster is all nodes; it returns nil as long as this one is in no cluster.
	Cluster func() *replica.Coordinator
	// Admit makes this node a part of the cluster from an epoch on; nil refuses.
	Admit func(epoch uint64) error
	Token string        // if not empty, what requests must have as bearer
	Stall time.Duration // 0 means DefaultStall
	Spool string        // folder for bodies on their way to other nodes
	// Other answers what is none of objects, for those who have the token; nil for nothing.
	Other  http.Handler
	Logger *slog.Logger
}

// Local is a node in this process: a replica.Member.
type Local interface {
	replica.Node
	PutBatch(ctx context.Context, puts []replica.ContentPut) []replica.PutResult
}

// Server is the http.Handler of a node. It routes by itself: a ServeMux would tidy up names such as "a//b".
type Server struct {
	config   Config
	token    [sha256.Size]byte
	verified verified
	plain    plainConns
	buffers  sync.Pool // of *[]byte: answers of plainConns, batches

	reading, writing, clustering, batching *lane
}

// NewServer makes a server.
func NewServer(config Config) *Server {
	if config.Stall == 0 {
		config.Stall = DefaultStall
	}
	return &Server{
		config: config, token: sha256.Sum256([]byte(config.Token)),
		buffers: sync.Pool{New: func() any { return new([]byte) }},
		reading: newLane(readers, waiting), writing: newLane(writers, waiting), clustering: newLane(clusterings, waiting),
		batching: newLane(batchings, waiting),
	}
}

// request is one request being answered. One goroutine uses it.
type request struct {
	*Server
	w     http.ResponseWriter
	r     *http.Request
	pace  pace
	name  string     // of the object; empty if the request is not about one
	query url.Values // of the address
	local bool       // of this node alone
	epoch uint64     // of the asker, if local
	plain bool       // it was answered, and what follows on its connection may be for a plainConn
}

// ServeHTTP answers a request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := &request{Server: s, w: w, r: r, pace: pace{rc: http.NewResponseController(w), stall: s.config.Stall}}
	q.pace.write()
	if r.ContentLength != 0 {
		// The request of net/http keeps its body: of a refused one that a client waits to be asked for, it sees so, and does not wait for it.
		q.r = r.WithContext(r.Context())
		q.r.Body = q.pace.body(r.Body)
	}
	if err := q.serve(); err != nil {
		q.fail(err)
	}
	if q.plain {
		q.continuePlain()
	}
}

func (q *request) serve() error {
	if err := q.authorize(); err != nil {
		return err
	}
	var rest string
	var ours bool
	if rest, ours = strings.CutPrefix(q.r.URL.Path, Root); !ours || rest != "" && rest[0] != '/' {
		if q.config.Other == nil {
			return fmt.Errorf("%w: there is nothing at %.80q, objects are under %s/", ErrRequest, q.r.URL.Path, Root)
		}
		q.config.Other.ServeHTTP(q.w, q.r)
		return nil
	}
	q.name = strings.TrimPrefix(rest, "/")
	if err := q.parse(); err != nil {
		return err
	}
	handle, lane := q.route()
	switch {
	case handle == nil && q.name == "":
		return fmt.Errorf("%w: %s of %.80q", object.ErrName, q.r.Method, q.r.URL.RequestURI())
	case handle == nil:
		return fmt.Errorf("%w: %s is no way to ask for %.80q", ErrRequest, q.r.Method, q.r.URL.RequestURI())
	case lane == nil:
		return handle()
	}
	return q.in(lane, handle)
}

// cluster is all nodes.
func (q *request) cluster() (*replica.Coordinator, error) {
	if c := q.config.Cluster(); c != nil {
		return c, nil
	}
	return nil, fmt.Errorf("%w: it is in none yet", replica.ErrBlank)
}

// in does something in a lane.
func (q *request) in(l *lane, do func() error) error {
	if err := l.enter(q.r.Context()); err != nil {
		return err
	}
	defer l.leave()
	return do()
}

func (q *request) authorize() error {
	given, ok := strings.CutPrefix(q.r.Header.Get("Authorization"), bearer)
	if !ok {
		given = ""
	}
	if !q.admits(given) {
		q.w.Header().Set("Www-Authenticate", "Bearer")
		return ErrToken
	}
	return nil
}

// admits tells whether who has this token may ask.
func (s *Server) admits(token string) bool {
	if s.config.Token == "" {
		return true
	}
	sum := sha256.Sum256([]byte(token))
	return subtle.ConstantTimeCompare(sum[:], s.token[:]) == 1
}

// parse reads what all requests may have.
func (q *request) parse() (err error) {
	if q.query, err = url.ParseQuery(q.r.URL.RawQuery); err != nil {
		return fmt.Errorf("%w: %w", ErrRequest, err)
	}
	q.local = q.r.Header.Get(headerLocal) == "true"
	if text := q.r.Header.Get(headerEpoch); text != "" {
		if q.epoch, err = strconv.ParseUint(text, 10, 64); err != nil {
			return fmt.Errorf("%w: epoch %.40q", ErrRequest, text)
		}
	}
	return nil
}

// route finds who answers, and in which lane; nil if that is for it to say.
func (q *request) route() (func() error, *lane) {
	read, write := q.reading, q.writing
	if !q.local {
		read, write = q.clustering, q.clustering
	}
	switch method := q.r.Method; {
	case q.name == "" && method == http.MethodGet && q.query.Has("list"):
		return q.list, read
	case q.name == "" && method == http.MethodPost && q.query.Has("puts") && q.local:
		return q.puts, q.batching
	case q.name == "" && method == http.MethodPost && q.query.Has("forget") && q.local:
		return q.forget, write
	case q.name == "" && method == http.MethodPost && q.query.Has("admit") && q.local:
		return q.admit, write
	case q.name == "":
		return nil, nil
	case method == http.MethodGet && q.query.Has("history"):
		return q.history, read
	case method == http.MethodGet && q.local:
		return q.get, read
	case method == http.MethodGet:
		return q.getNear, nil
	case method == http.MethodHead:
		return q.stat, read
	case method == http.MethodPost && q.query.Has("check") && q.local:
		return q.check, read
	case method == http.MethodPut && q.r.Header.Get(headerCopiesTo) != "":
		return q.put, q.clustering
	case method == http.MethodPut && q.local:
		return q.put, write
	case method == http.MethodPut:
		return q.putEverywhere, write
	case method == http.MethodDelete && q.query.Has("drop") && q.local:
		return q.drop, write
	case method == http.MethodDelete && q.r.Header.Get(headerCopiesTo) != "":
		return q.delete, q.clustering
	case method == http.MethodDelete && q.local:
		return q.delete, write
	case method == http.MethodDelete:
		return q.deleteEverywhere, write
	}
	return nil, nil
}

// fail answers with an error. If the answer has begun already, the connection ends, so that nobody
// takes what was sent for the whole.
func (q *request) fail(err error) {
	if q.r.Context().Err() != nil || q.pace.begun {
		panic(http.ErrAbortHandler)
	}
	k := kindOf(err)
	if k.name == internalKind {
		q.config.Logger.Error("request failed", "method", q.r.Method, "name", q.name, "error", err)
	}
	h := q.w.Header()
	var conflict *object.ConflictError
	if errors.As(err, &conflict) {
		setInfo(h, conflict.Newest)
	}
	if k.status == http.StatusServiceUnavailable {
		h.Set("Retry-After", "1")
	}
	h.Set(headerError, k.name)
	q.json(k.status, failureBody{"error", k.name, err.Error()})
}

// json sends a value. An error in that is the connection's, and there is nobody to tell.
func (q *request) json(status int, v any) {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err) // the types are ours
	}
	h := q.w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(text)+1))
	q.pace.write()
	q.w.WriteHeader(status)
	_, _ = q.w.Write(append(text, '\n'))
}

// pace ends connections that stand still: every piece of a body gets as much time as the first.
type pace struct {
	rc    *http.ResponseController
	stall time.Duration
	begun bool // a body is on its way out
}

// write gives the next piece time to go out. Where there are no deadlines, as in a test without a connection, there is no stall either.
func (p *pace) write() { _ = p.rc.SetWriteDeadline(time.Now().Add(p.stall)) }

// body is a request's body, each piece of which gets time to come in, be it read by a handler or, after one
// that refused, by net/http.
func (p *pace) body(body io.ReadCloser) io.ReadCloser {
	p.read()
	return &pacedBody{body, p}
}

func (p *pace) read() { _ = p.rc.SetReadDeadline(time.Now().Add(p.stall)) }

type pacedBody struct {
	io.ReadCloser
	pace *pace
}

func (b *pacedBody) Read(p []byte) (int, error) {
	b.pace.read()
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF {
		// From here on the connection is watched for its end, which may take as long as it likes.
		_ = b.pace.rc.SetReadDeadline(time.Time{})
	}
	return n, err
}

// Serve answers on a listener until ctx ends, then waits for what was begun for at most grace.
func (s *Server) Serve(ctx context.Context, listener net.Listener, grace time.Duration) error {
	web := NewHTTPServer(s, s.config.Logger)
	failed := make(chan error, 1)
	go func() { failed <- web.Serve(listener) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	s.plain.end()
	if err := errors.Join(web.Shutdown(last), s.plain.wait(last)); err != nil {
		return errors.Join(err, web.Close())
	}
	return nil
}

// NewHTTPServer has the bounds that a node wants, and speaks HTTP/1.1 and HTTP/2, without TLS with prior knowledge.
func NewHTTPServer(handler http.Handler, logger *slog.Logger) *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Server{
		Handler: handler, Protocols: protocols, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute,
		MaxHeaderBytes: 16 << 10, ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
	}
}
