package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"carillon/directory/feed"
	"carillon/directory/location"
)

// handler answers one request, or fails with any error; see asFailure.
type handler func(r *http.Request) (answer, error)

// answer is what goes out as a success.
type answer struct {
	data    any
	status  int    // 0 is 200
	version uint64 // of the one entry that the answer is about; 0 if there is none
}

// failure is an error with the type and the status under which it is reported.
type failure struct {
	kind   string
	status int
	err    error
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

// The types of errors that have no sentinel in location.
const (
	badData     = "bad_data"
	forbidden   = "forbidden"
	timedOut    = "timeout"
	canceled    = "canceled"
	unavailable = "unavailable"
	internal    = "internal"
)

// bad is a failure that the request itself is to blame for.
func bad(format string, arguments ...any) error {
	return &failure{badData, http.StatusBadRequest, fmt.Errorf(format, arguments...)}
}

// notFound is the failure of what is named by a path and is not there.
func notFound(err error) error { return &failure{"not_found", http.StatusNotFound, err} }

// asFailure finds type and status of an error.
func asFailure(err error) *failure {
	var typed *failure
	if errors.As(err, &typed) {
		return typed
	}
	for _, known := range []struct {
		is     error
		kind   string
		status int
	}{
		// A stopped directory comes first: its error wraps what the commit failed with.
		{location.ErrStopped, unavailable, http.StatusServiceUnavailable},
		{location.ErrClosed, unavailable, http.StatusServiceUnavailable},
		{location.ErrNotFound, "not_found", http.StatusNotFound},
		{location.ErrExists, "exists", http.StatusConflict},
		{location.ErrWrongVersion, "wrong_version", http.StatusConflict},
		{location.ErrLocked, "locked", http.StatusConflict},
		{location.ErrIDTaken, "id_taken", http.StatusConflict},
		{location.ErrServerInUse, "server_in_use", http.StatusConflict},
		{location.ErrNoIDs, "no_ids", http.StatusConflict},
		{location.ErrBadEntry, badData, http.StatusBadRequest},
		{location.ErrBadChange, badData, http.StatusBadRequest},
		{location.ErrBadName, badData, http.StatusBadRequest},
		{location.ErrBadQuery, badData, http.StatusBadRequest},
		{location.ErrUnknownServer, "unknown_server", http.StatusBadRequest},
	} {
		if errors.Is(err, known.is) {
			return &failure{known.kind, known.status, err}
		}
	}
	return &failure{internal, http.StatusInternalServerError, err}
}

// ofFeed is the failure of waiting for the feed: whatever it is, the node cannot
// serve the request now.
func ofFeed(r *http.Request, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, feed.ErrUnknown):
		return &failure{"outcome_unknown", http.StatusServiceUnavailable, err}
	case r.Context().Err() == nil, errors.Is(err, location.ErrStopped), errors.Is(err, location.ErrClosed):
		return &failure{unavailable, http.StatusServiceUnavailable, err}
	case errors.Is(context.Cause(r.Context()), errTookTooLong):
		return &failure{timedOut, http.StatusServiceUnavailable, fmt.Errorf("%w: %w", errTookTooLong, err)}
	}
	return &failure{canceled, http.StatusServiceUnavailable, err}
}

var errTookTooLong = fmt.Errorf("the feed took longer than %s", requestLasts)

// read serves what changes nothing: it waits until the node is as fresh as the
// request demands, then answers.
func (a *API) read(operation string, h handler) http.Handler {
	return a.serve(operation, func(w http.ResponseWriter, r *http.Request) (answer, error) {
		r.Body = http.MaxBytesReader(w, r.Body, maxBodyBytes)
		if err := a.catchUp(r); err != nil {
			return answer{}, err
		}
		w.Header().Set(RevisionHeader, strconv.FormatUint(a.config.Directory.Revision(), 10))
		return h(r)
	}, a.warnings)
}

// change serves what changes the directory, but for pages of other sites in a
// user's browser.
func (a *API) change(operation string, h handler) http.Handler {
	return a.serve(operation, func(w http.ResponseWriter, r *http.Request) (answer, error) {
		if err := a.origins.Check(r); err != nil {
			return answer{}, &failure{forbidden, http.StatusForbidden, err}
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxEntryBytes)
		return h(r)
	}, func() []string { return nil })
}

// warnings tell of what an answer to a read may lack.
func (a *API) warnings() []string {
	s := a.config.Feed.Status()
	if s.Live {
		return nil
	}
	return []string{fmt.Sprintf("the feed of changes is not live (%s): local answers may be old", s.Reason)}
}

// envelope is around every answer, as in the query API.
type envelope struct {
	Status    string   `json:"status"`
	Data      any      `json:"data,omitempty"`
	ErrorType string   `json:"errorType,omitempty"`
	Error     string   `json:"error,omitempty"`
	Warnings  []string `json:"warnings,omitempty"`
}

func (a *API) serve(operation string, h func(http.ResponseWriter, *http.Request) (answer, error), warnings func() []string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeoutCause(r.Context(), requestLasts, errTookTooLong)
		defer cancel()
		result, err := h(w, r.WithContext(ctx))
		if err != nil {
			f := asFailure(err)
			if f.kind == internal {
				a.config.Logger.Error("directory request failed", "operation", operation, "error", err)
			}
			a.requests.WithLabelValues(operation, f.kind).Inc()
			a.send(w, f.status, envelope{Status: "error", ErrorType: f.kind, Error: f.Error(), Warnings: warnings()})
			return
		}
		a.requests.WithLabelValues(operation, "success").Inc()
		if result.version != 0 {
			w.Header().Set("ETag", strconv.Quote(strconv.FormatUint(result.version, 10)))
		}
		a.send(w, max(result.status, http.StatusOK), envelope{Status: "success", Data: result.data, Warnings: warnings()})
	})
}

func (a *API) send(w http.ResponseWriter, status int, e envelope) {
	var body bytes.Buffer
	if err := json.NewEncoder(&body).Encode(e); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	if _, err := w.Write(body.Bytes()); err != nil {
		a.config.Logger.Debug("answer not sent", "error", err)
	}
}
