package membership

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"carillon/pause"
)

const (
	aliveBucket = "carillon-object-nodes" // a key a node, which is gone when its heartbeat is
	stateBucket = "carillon-object-state"
	stateKey    = "state"
	movedKey    = "moved"

	heartbeat = time.Second
	aliveFor  = 5 * time.Second

	attemptFor = 2 * time.Second // one request to NATS
	retryAfter = 200 * time.Millisecond
	maxHistory = 64 // states that the bucket remembers, for who looks at it
)

// Registry is the cluster's state and its living nodes, as NATS has them. Its methods may be called by many
// goroutines at once.
type Registry struct {
	alive, state jetstream.KeyValue
	logger       *slog.Logger
}

// Open makes the buckets if there are none. It waits for NATS until ctx ends.
func Open(ctx context.Context, connection *nats.Conn, replicas int, logger *slog.Logger) (*Registry, error) {
	js, err := jetstream.New(connection)
	if err != nil {
		return nil, fmt.Errorf("opening the cluster's state: %w", err)
	}
	r := &Registry{logger: logger}
	r.alive, err = openBucket(ctx, js, jetstream.KeyValueConfig{Bucket: aliveBucket, TTL: aliveFor, Storage: jetstream.MemoryStorage, Replicas: replicas})
	if err == nil {
		r.state, err = openBucket(ctx, js, jetstream.KeyValueConfig{Bucket: stateBucket, History: maxHistory, Storage: jetstream.FileStorage, Replicas: replicas})
	}
	if err != nil {
		return nil, fmt.Errorf("opening the cluster's state: %w", err)
	}
	return r, nil
}

// openBucket tries until ctx ends.
func openBucket(ctx context.Context, js jetstream.JetStream, config jetstream.KeyValueConfig) (jetstream.KeyValue, error) {
	for {
		attempt, cancel := context.WithTimeout(ctx, attemptFor)
		bucket, err := js.KeyValue(attempt, config.Bucket)
		if errors.Is(err, jetstream.ErrBucketNotFound) {
			bucket, err = js.CreateKeyValue(attempt, config)
		}
		cancel()
		if err == nil {
			return bucket, nil
		}
		if ended := pause.For(ctx, retryAfter); ended != nil {
			return nil, fmt.Errorf("%w: %w", ended, err)
		}
	}
}

// Register keeps a node among the living until ctx ends.
func (r *Registry) Register(ctx context.Context, n Node) error {
	text, err := json.Marshal(n)
	if err != nil {
		return err
	}
	tick := time.NewTicker(heartbeat)
	defer tick.Stop()
	for {
		attempt, cancel := context.WithTimeout(ctx, attemptFor)
		if _, err := r.alive.Put(attempt, n.Name, text); err != nil && ctx.Err() == nil {
			r.logger.Debug("heartbeat not sent", "node", n.Name, "error", err)
		}
		cancel()
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), attemptFor)
			defer cancel()
			return r.alive.Delete(last, n.Name)
		case <-tick.C:
		}
	}
}

// Alive lists the nodes whose heartbeat goes on, by name.
func (r *Registry) Alive(ctx context.Context) ([]Node, error) {
	ctx, cancel := context.WithTimeout(ctx, attemptFor)
	defer cancel()
	keys, err := r.alive.Keys(ctx)
	if errors.Is(err, jetstream.ErrNoKeysFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listing the living nodes: %w", err)
	}
	var nodes []Node
	for _, key := range keys {
		entry, err := r.alive.Get(ctx, key)
		if errors.Is(err, jetstream.ErrKeyNotFound) {
			continue
		}
		var n Node
		if err == nil {
			err = json.Unmarshal(entry.Value(), &n)
		}
		if err != nil {
			return nil, fmt.Errorf("node %.80q: %w", key, err)
		}
		nodes = append(nodes, n)
	}
	slices.SortFunc(nodes, func(a, b Node) int { return cmp.Compare(a.Name, b.Name) })
	return nodes, nil
}

// Load reads the state; the epoch is 0 if there is none yet.
func (r *Registry) Load(ctx context.Context) (State, error) {
	s, _, err := r.load(ctx)
	return s, err
}

func (r *Registry) load(ctx context.Context) (State, uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, attemptFor)
	defer cancel()
	entry, err := r.state.Get(ctx, stateKey)
	for errors.Is(err, nats.ErrNoResponders) && pause.For(ctx, retryAfter) == nil { // no server leads just now
		entry, err = r.state.Get(ctx, stateKey)
	}
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return State{}, 0, nil
	}
	if err != nil {
		return State{}, 0, fmt.Errorf("reading the cluster's state: %w", err)
	}
	s, err := decode(entry.Value())
	return s, entry.Revision(), err
}

func decode(text []byte) (State, error) {
	var s State
	err := json.Unmarshal(text, &s)
	if err == nil {
		_, err = s.View()
	}
	if err != nil {
		return State{}, fmt.Errorf("the cluster's state: %w", err)
	}
	return s, nil
}

// Change puts a state in the place of the one before it; the error is ErrChanged if that is not what is there.
func (r *Registry) Change(ctx context.Context, next State) error {
	if _, err := next.View(); err != nil {
		return err
	}
	now, revision, err := r.load(ctx)
	if err != nil {
		return err
	}
	if now.Epoch != next.Epoch-1 {
		return fmt.Errorf("%w: it is at epoch %d, the change was made for %d", ErrChanged, now.Epoch, next.Epoch-1)
	}
	text, err := json.Marshal(next)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, attemptFor)
	defer cancel()
	_, err = r.state.Update(ctx, stateKey, text, revision)
	var refused *jetstream.APIError
	switch {
	case errors.As(err, &refused) && refused.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence:
		return fmt.Errorf("%w: another change came before that to epoch %d", ErrChanged, next.Epoch) // a server that lags may have told the state
	case err != nil:
		return fmt.Errorf("changing the cluster's state to epoch %d: %w", next.Epoch, err)
	}
	return nil
}

// Watch tells of the state now and of every one that follows, until ctx ends.
func (r *Registry) Watch(ctx context.Context, tell func(State)) error {
	watcher, err := r.state.Watch(ctx, stateKey)
	if err != nil {
		return fmt.Errorf("watching the cluster's state: %w", err)
	}
	for entry := range watcher.Updates() {
		if entry == nil { // all that was there at the beginning has come
			continue
		}
		s, err := decode(entry.Value())
		if err != nil {
			r.logger.Error("a state of the cluster cannot be read", "revision", entry.Revision(), "error", err)
			continue
		}
		tell(s)
	}
	return ctx.Err()
}

// Moved is how far the objects have moved at an epoch: all names up to After are settled.
type Moved struct {
	Epoch uint64 `json:"epoch"`
	After string `json:"after"`
}

// SaveMoved remembers how far a move is.
func (r *Registry) SaveMoved(ctx context.Context, m Moved) error {
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, attemptFor)
	defer cancel()
	_, err = r.state.Put(ctx, movedKey, text)
	return err
}

// LoadMoved is what SaveMoved remembered last for an epoch.
func (r *Registry) LoadMoved(ctx context.Context, epoch uint64) (Moved, error) {
	ctx, cancel := context.WithTimeout(ctx, attemptFor)
	defer cancel()
	entry, err := r.state.Get(ctx, movedKey)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return Moved{Epoch: epoch}, nil
	}
	var m Moved
	if err == nil {
		err = json.Unmarshal(entry.Value(), &m)
	}
	if m.Epoch != epoch {
		m = Moved{Epoch: epoch}
	}
	return m, err
}
