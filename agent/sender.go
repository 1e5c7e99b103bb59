package agent

import (
	"context"
	"errors"
	"time"
)

// Sender takes one body, a snappy-compressed remote-write 1.0 request, to the
// server. It returns nil only when the server has it for good; an error that wraps
// ErrRejected when sending it again can never help; any other error when it can.
// The agent sends the very same bytes again then, so that the server can recognise
// a body that had arrived after all. Send must not keep body.
type Sender interface {
	Send(ctx context.Context, body []byte) error
}

// ErrRejected is in the error of a Sender whose server refused a body for good.
var ErrRejected = errors.New("rejected by the server")

// RetryLater is the error of a Sender whose server asked for a pause.
type RetryLater struct {
	After time.Duration // from now
	Err   error
}

func (e *RetryLater) Error() string { return e.Err.Error() }
func (e *RetryLater) Unwrap() error { return e.Err }

// Func is a function as a Sender: how `carillon serve` hands bodies to its own receiver.
type Func func(ctx context.Context, body []byte) error

// Send calls f.
func (f Func) Send(ctx context.Context, body []byte) error { return f(ctx, body) }
