package membership

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

const (
	// Root is where a node answers about the cluster, for those who have its token.
	Root      = "/cluster"
	movedPath = Root + "/moved"

	maxBodyBytes = 1 << 20
	askFor       = 500 * time.Millisecond // NATS, before a node answers from memory
)

// Status is a node's answer about its cluster.
type Status struct {
	Node  string `json:"node"` // which answers
	State State  `json:"state"`
	Alive []Node `json:"alive"`
	Moved string `json:"moved,omitempty"` // while objects move: the last name that is settled
	// Unreachable says why State is only what this node remembers, if it is.
	Unreachable string `json:"unreachable,omitempty"`
}

// API answers about the cluster by HTTP.
type API struct {
	Node     string
	Registry *Registry
	Known    func() State // what the node works by
}

// ServeHTTP answers a request.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var answer any
	var err error
	switch r.Method + " " + r.URL.Path {
	case "GET " + Root:
		answer, err = a.status(r.Context())
	case "POST " + Root:
		var next State
		if err = decodeBody(r, &next); err == nil {
			err = a.Registry.Change(r.Context(), next)
		}
	case "POST " + movedPath:
		var m Moved
		if err = decodeBody(r, &m); err == nil {
			err = a.Registry.SaveMoved(r.Context(), m)
		}
	default:
		http.Error(w, `{"error":"there is nothing here"}`, http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		status := http.StatusServiceUnavailable
		if errors.Is(err, ErrChanged) {
			status = http.StatusConflict
		}
		w.WriteHeader(status)
		answer = failure{err.Error()}
	}
	_ = json.NewEncoder(w).Encode(answer) // an error is the connection's
}

type failure struct {
	Error string `json:"error"`
}

func decodeBody(r *http.Request, into any) error {
	decoder := json.NewDecoder(io.LimitReader(r.Body, maxBodyBytes))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return fmt.Errorf("read the body: %w", err)
	}
	return nil
}

func (a *API) status(ctx context.Context) (Status, error) {
	s := Status{Node: a.Node}
	asking, cancel := context.WithTimeout(ctx, askFor)
	defer cancel()
	var err error
	if s.State, err = a.Registry.Load(asking); err != nil {
		s.State, s.Unreachable = a.Known(), err.Error()
		return s, nil
	}
	if s.Alive, err = a.Registry.Alive(ctx); err != nil {
		return s, err
	}
	if s.State.Moving() {
		moved, err := a.Registry.LoadMoved(ctx, s.State.Epoch)
		s.Moved = moved.After
		return s, err
	}
	return s, nil
}

// Client asks nodes about their cluster, the first that answers.
type Client struct {
	Addresses []string
	Token     string
	HTTP      *http.Client
}

// Status asks how the cluster is.
func (c *Client) Status(ctx context.Context) (Status, error) {
	var s Status
	err := c.do(ctx, http.MethodGet, Root, nil, &s)
	return s, err
}

// Change asks for another state.
func (c *Client) Change(ctx context.Context, next State) error {
	return c.do(ctx, http.MethodPost, Root, next, nil)
}

// SaveMoved remembers how far a move is.
func (c *Client) SaveMoved(ctx context.Context, m Moved) error {
	return c.do(ctx, http.MethodPost, movedPath, m, nil)
}

func (c *Client) do(ctx context.Context, method, path string, body, into any) error {
	var failures []error
	for _, address := range c.Addresses {
		err := c.try(ctx, strings.TrimSuffix(address, "/")+path, method, body, into)
		var said *answered
		if err == nil || errors.As(err, &said) {
			return err
		}
		failures = append(failures, err)
	}
	return fmt.Errorf("is a node running? %w", errors.Join(failures...))
}

// answered is a refusal by a node: another one would say the same.
type answered struct{ text string }

func (e *answered) Error() string { return e.text }

func (c *Client) try(ctx context.Context, address, method string, body, into any) error {
	var sent io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return err
		}
		sent = bytes.NewReader(text)
	}
	r, err := http.NewRequestWithContext(ctx, method, address, sent)
	if err != nil {
		return err
	}
	if c.Token != "" {
		r.Header.Set("Authorization", "Bearer "+c.Token)
	}
	response, err := c.HTTP.Do(r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxBodyBytes))
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		var f failure
		if err := json.Unmarshal(text, &f); err != nil || f.Error == "" {
			return &answered{fmt.Sprintf("%s: %s: %.200s", address, response.Status, text)}
		}
		return &answered{f.Error}
	}
	if into == nil {
		return nil
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("%s: answer: %w", address, err)
	}
	return nil
}
