package httpapi

import (
	"errors"
	"net/http"
	"time"

	"carillon/directory/location"
)

// propose answers with what became of a change.
func (a *API) propose(r *http.Request, c location.Change) (answer, error) {
	result, err := a.config.Feed.Propose(r.Context(), c)
	if err != nil {
		return answer{}, ofFeed(r, err)
	}
	if result.Err != nil {
		return answer{}, result.Err
	}
	return answer{data: result, version: result.Entry.Version}, nil
}

func (a *API) create(r *http.Request) (answer, error) {
	c := location.Change{Op: location.Create}
	if err := decode(r, &c.Entry); err != nil {
		return answer{}, err
	}
	result, err := a.propose(r, c)
	result.status = http.StatusCreated
	return result, err
}

func (a *API) replace(r *http.Request) (answer, error) {
	var entry location.Entry
	if err := decode(r, &entry); err != nil {
		return answer{}, err
	}
	c, err := changeOf(r, location.Replace, entry.Version)
	if err != nil {
		return answer{}, err
	}
	if c.Version == 0 {
		return answer{}, bad("a replacement must name the version that it replaces, as If-Match or in the body")
	}
	if entry.Name == "" {
		entry.Name = c.Name
	}
	c.Entry = entry
	return a.propose(r, c)
}

func (a *API) update(r *http.Request) (answer, error) {
	c, err := changeOf(r, location.Update, 0)
	if err != nil {
		return answer{}, err
	}
	if err := decode(r, &c.Patch); err != nil {
		return answer{}, err
	}
	return a.propose(r, c)
}

func (a *API) delete(r *http.Request) (answer, error) {
	c, err := changeOf(r, location.Delete, 0)
	if err != nil {
		return answer{}, err
	}
	result, err := a.propose(r, c)
	result.version = 0 // of an entry that is no more
	return result, err
}

// LockRequest is the body that takes or renews a lock.
type LockRequest struct {
	Owner  string `json:"owner"`
	Kind   uint8  `json:"kind,omitempty"`
	Millis int64  `json:"ttl_ms"` // until the lock expires, at most location.MaxLockMillis
}

func (a *API) lock(r *http.Request) (answer, error) {
	var body LockRequest
	if err := decode(r, &body); err != nil {
		return answer{}, err
	}
	if body.Millis < 1 || body.Millis > location.MaxLockMillis {
		return answer{}, bad("ttl_ms is %d, want 1 to %d", body.Millis, location.MaxLockMillis)
	}
	c, err := changeOf(r, location.TakeLock, 0)
	if err != nil {
		return answer{}, err
	}
	c.Owner, c.LockKind = body.Owner, body.Kind
	c.Expires = a.config.Now().Add(time.Duration(body.Millis) * time.Millisecond).UnixMilli()
	return a.propose(r, c)
}

func (a *API) release(r *http.Request) (answer, error) {
	c, err := changeOf(r, location.ReleaseLock, 0)
	if err != nil {
		return answer{}, err
	}
	return a.propose(r, c)
}

// NewIDs is the answer to a request for ids: Count in a row from First.
type NewIDs struct {
	First    uint64 `json:"first"`
	Count    uint32 `json:"count"`
	Revision uint64 `json:"revision"`
}

func (a *API) newIDs(r *http.Request) (answer, error) {
	count, err := number(r.URL.Query(), "count", 32)
	if err != nil {
		return answer{}, err
	}
	if !r.URL.Query().Has("count") {
		count = 1
	}
	result, err := a.propose(r, location.Change{Op: location.NewID, Count: uint32(count)})
	if err != nil {
		return answer{}, err
	}
	done := result.data.(location.Result)
	return answer{data: NewIDs{First: done.FirstID, Count: uint32(count), Revision: done.Revision}}, nil
}

// registerServer succeeds as well where the server is registered already: a PUT
// may be repeated.
func (a *API) registerServer(r *http.Request) (answer, error) {
	name := r.PathValue("name")
	_, err := a.propose(r, location.Change{Op: location.RegisterServer, Name: name})
	switch {
	case errors.Is(err, location.ErrExists):
		return answer{data: Server{Name: name}}, nil
	case err != nil:
		return answer{}, err
	}
	return answer{data: Server{Name: name}, status: http.StatusCreated}, nil
}

func (a *API) unregisterServer(r *http.Request) (answer, error) {
	name := r.PathValue("name")
	_, err := a.propose(r, location.Change{Op: location.UnregisterServer, Name: name})
	if errors.Is(err, location.ErrUnknownServer) {
		return answer{}, notFound(err)
	}
	return answer{data: Server{Name: name}}, err
}
