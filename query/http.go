package query

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/prometheus/prometheus/promql"
)

// maxFormBytes bounds the body of a POST, and so the text of a query.
const maxFormBytes = 256 << 10

// handler answers one request, or fails with any error; see asFailure.
type handler func(r *http.Request) (answer, error)

// answer is what goes into the envelope of a success.
type answer struct {
	data            func(*encoder) // writes the data
	warnings, infos []string
	done            func() // lets go of what data refers to; may be nil
}

// value is an answer whose data encoding/json writes.
func value(v any, warnings ...string) answer {
	return answer{data: func(e *encoder) { e.value(v) }, warnings: warnings}
}

// constant is a handler that always gives the same data.
func constant(data string) handler {
	return func(*http.Request) (answer, error) {
		return answer{data: func(e *encoder) { e.raw(data) }}, nil
	}
}

// failure is an error with the type under which Prometheus reports it.
type failure struct {
	kind string
	err  error
}

// The types of errors, as clients of Prometheus know them.
const (
	badData     = "bad_data"
	execution   = "execution"
	timedOut    = "timeout"
	canceled    = "canceled"
	internal    = "internal"
	unavailable = "unavailable"
)

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

func (f *failure) status() int {
	switch f.kind {
	case badData:
		return http.StatusBadRequest
	case execution:
		return http.StatusUnprocessableEntity
	case timedOut, canceled, unavailable:
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

// badParameter says which parameter of the request is wrong and why.
func badParameter(name string, err error) error {
	return &failure{badData, fmt.Errorf("invalid parameter %q: %w", name, err)}
}

// asFailure finds the type of an error, and names the limits of those that the
// engine refuses.
func (a *API) asFailure(err error) *failure {
	var typed *failure
	var isCanceled promql.ErrQueryCanceled
	var tooMany promql.ErrTooManySamples
	var inStorage promql.ErrStorage
	switch {
	case errors.As(err, &typed):
		return typed
	case errors.As(err, &isCanceled), errors.Is(err, context.Canceled):
		return &failure{canceled, err}
	case errors.As(err, &tooMany):
		return &failure{execution, fmt.Errorf("%w (the limit is %d samples a query)", err, a.limits.Samples)}
	case errors.As(err, &inStorage):
		return &failure{internal, err}
	}
	return &failure{execution, err}
}

// overdue marks an error as a time-out if it is one, and names the time that the
// query had.
func overdue(err error, timeout time.Duration) error {
	var inEngine promql.ErrQueryTimeout
	if errors.As(err, &inEngine) || errors.Is(err, context.DeadlineExceeded) {
		return &failure{timedOut, fmt.Errorf("%w (the limit is %s a query)", err, timeout)}
	}
	return err
}

// serve wraps a handler into Prometheus's envelope.
func (a *API) serve(h handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		result, err := a.handle(w, r, h)
		if err != nil {
			a.fail(w, r, err)
			return
		}
		if result.done != nil {
			defer result.done()
		}
		w.Header().Set("Content-Type", "application/json")
		e := &encoder{w: w}
		e.raw(`{"status":"success","data":`)
		result.data(e)
		if len(result.warnings) > 0 {
			e.raw(`,"warnings":`)
			e.value(result.warnings)
		}
		if len(result.infos) > 0 {
			e.raw(`,"infos":`)
			e.value(result.infos)
		}
		e.raw("}")
		if err := e.flush(); err != nil {
			a.config.Logger.Debug("answer not sent", "path", r.URL.Path, "error", err)
		}
	})
}

func (a *API) handle(w http.ResponseWriter, r *http.Request, h handler) (answer, error) {
	r.Body = http.MaxBytesReader(w, r.Body, maxFormBytes)
	if err := r.ParseForm(); err != nil {
		return answer{}, &failure{badData, fmt.Errorf("read the form (at most %d bytes): %w", maxFormBytes, err)}
	}
	missing, err := a.config.Buckets.Settle(r.Context())
	if err != nil {
		return answer{}, err
	}
	result, err := h(r)
	if missing != "" {
		result.warnings = append(result.warnings, missing)
	}
	return result, err
}

func (a *API) fail(w http.ResponseWriter, r *http.Request, err error) {
	f := a.asFailure(err)
	if f.kind == internal {
		a.config.Logger.Error("query failed", "path", r.URL.Path, "error", err)
	}
	body, err := json.Marshal(struct {
		Status    string `json:"status"`
		ErrorType string `json:"errorType"`
		Error     string `json:"error"`
	}{"error", f.kind, f.Error()})
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(f.status())
	if _, err := w.Write(body); err != nil {
		a.config.Logger.Debug("answer not sent", "path", r.URL.Path, "error", err)
	}
}
