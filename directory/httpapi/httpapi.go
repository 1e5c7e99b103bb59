// Package httpapi is the location directory over HTTP: requests with JSON bodies
// come in under /api/v1/directory/, entries and the outcome of changes go out as
// JSON. Reads are answered by the node's own location.Directory, as fresh as the
// request demands; changes go through the feed and come back once they are applied
// here. The server registers it on its mux; docs/directory.md is the user's page.
package httpapi

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"carillon/directory"
	"carillon/directory/feed"
	"carillon/directory/location"
)

// Bounds of a request.
const (
	MaxNames = 10_000 // names one batch look-up may ask for

	maxBodyBytes  = 4 << 20          // of a batch look-up
	maxEntryBytes = 64 << 10         // of any other body
	requestLasts  = 10 * time.Second // to catch up with the feed, and to have a change applied
	listDefault   = 1000             // entries a page, where the request does not say
)

// Root is the path under which all endpoints are.
const Root = "/api/v1/directory"

// RevisionHeader is set on every answer to a read: the answer is as of this
// revision or of a later one. Given back as ?revision=, to whichever node, it makes
// sure that no later read is older.
const RevisionHeader = "Carillon-Revision"

// Feed is the ordered feed of changes as this node has it.
type Feed interface {
	// Propose puts a change into the order and returns what became of it here. An
	// error that wraps feed.ErrUnknown says that it may be done all the same.
	Propose(ctx context.Context, change location.Change) (location.Result, error)
	// Await returns when this node has applied the revision.
	Await(ctx context.Context, revision uint64) error
	// Current returns when this node has applied all that was acknowledged
	// anywhere before the call.
	Current(ctx context.Context) error
	Status() feed.Status
}

// Config is what the API serves.
type Config struct {
	Directory *location.Directory
	Feed      Feed
	// Restore puts the backup in dir in the directory's place and has the feed go
	// on from the backup's revision. If it is nil, restoring is refused.
	Restore func(ctx context.Context, dir string) error
	// Series are the figures of the series directory's caches; nil if it has none.
	Series func() directory.CacheStats

	Now        func() time.Time
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// API answers requests. It is safe for concurrent use.
type API struct {
	config   Config
	origins  *http.CrossOriginProtection
	requests *prometheus.CounterVec
}

// New makes an API and registers its metrics.
func New(config Config) *API {
	a := &API{
		config:  config,
		origins: http.NewCrossOriginProtection(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "carillon_directory_requests_total",
			Help: "Requests to the location directory's API by operation and outcome.",
		}, []string{"operation", "outcome"}),
	}
	config.Registerer.MustRegister(a.requests, newCollector(config))
	return a
}

// Register routes all endpoints.
func (a *API) Register(mux *http.ServeMux) {
	mux.Handle("GET "+Root+"/entries", a.read("list", a.list))
	mux.Handle("GET "+Root+"/entries/{name}", a.read("get", a.get))
	mux.Handle("POST "+Root+"/lookup", a.read("lookup", a.lookup))
	mux.Handle("GET "+Root+"/servers", a.read("list-servers", a.servers))
	mux.Handle("GET "+Root+"/servers/{name}", a.read("get-server", a.server))
	mux.Handle("GET "+Root+"/stats", a.read("stats", a.stats))

	mux.Handle("POST "+Root+"/entries", a.change("create", a.create))
	mux.Handle("PUT "+Root+"/entries/{name}", a.change("replace", a.replace))
	mux.Handle("PATCH "+Root+"/entries/{name}", a.change("update", a.update))
	mux.Handle("DELETE "+Root+"/entries/{name}", a.change("delete", a.delete))
	mux.Handle("POST "+Root+"/entries/{name}/lock", a.change("lock", a.lock))
	mux.Handle("DELETE "+Root+"/entries/{name}/lock", a.change("release", a.release))
	mux.Handle("POST "+Root+"/ids", a.change("new-id", a.newIDs))
	mux.Handle("PUT "+Root+"/servers/{name}", a.change("register-server", a.registerServer))
	mux.Handle("DELETE "+Root+"/servers/{name}", a.change("unregister-server", a.unregisterServer))

	mux.Handle("POST "+Root+"/backup", a.fromHere("backup", a.backup))
	mux.Handle("POST "+Root+"/restore", a.fromHere("restore", a.restore))
}
