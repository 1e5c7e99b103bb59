// Package query answers questions about what is stored: PromQL through the
// Prometheus engine, the buckets themselves, and live buckets as they complete.
// HTTP requests come in and JSON as Prometheus writes it goes out; below, it
// needs a Catalogue that knows the series and Buckets that reads them. The server
// registers it on its mux, partitions publish completed buckets to its Live hub,
// and Grafana, the web page and the command line are its callers.
package query

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"

	"carillon/bucket"
	"carillon/series"
	"carillon/store"
)

// Catalogue says which series there are. It is safe for concurrent use. Matchers
// mean what they mean in Prometheus: a label that is absent has the value "".
type Catalogue interface {
	// Select is the ids of the series that all matchers accept, sorted.
	Select(matchers ...*labels.Matcher) ([]series.ID, error)
	// LabelNames is the label names of those series, sorted.
	LabelNames(matchers ...*labels.Matcher) ([]string, error)
	// LabelValues is the values that one label has among those series, sorted.
	LabelValues(name string, matchers ...*labels.Matcher) ([]string, error)
	// Key is the labels of a series; false if there is no such series.
	Key(id series.ID) (series.Key, bool)
	// Kind says what the values of a series mean.
	Kind(id series.ID) series.Kind
	// Metadata is what is known about metric families, one entry a family.
	Metadata() []series.Metadata
}

// Buckets reads what is stored. It is safe for concurrent use.
type Buckets interface {
	// Settle returns when everything that was acknowledged before the call is in
	// the catalogue and can be read. Where that would take too long it says what is missing.
	Settle(ctx context.Context) (missing string, err error)
	// Tiers is the resolutions there are, finest first.
	Tiers() []store.Tier
	// Read calls visit for each id with its buckets that overlap [from, to]
	// (milliseconds) at the tier, sorted by time, at most one a segment, those
	// with only a staleness marker included; ids without any are left out. The
	// slice is only valid during the call. An error of visit ends the reading and is returned.
	Read(ctx context.Context, ids []series.ID, tier int, from, to int64, visit func(series.ID, []bucket.Bucket) error) error
	// Sums is Read for who wants to know nothing but counts, sums, least and largest of all
	// that is in [from, to]: one bucket may stand for many, of which nothing but these four is right.
	Sums(ctx context.Context, ids []series.ID, tier int, from, to int64, visit func(series.ID, []bucket.Bucket) error) error
	// Scan is Read, but buckets come in pieces, oldest first, and series that have nothing
	// but samples at the finest tier, at most one a segment, may be shown to samples as
	// their times and values, of which bucket.StaleNaN is a staleness marker. Without samples
	// all are shown to visit.
	Scan(ctx context.Context, ids []series.ID, tier int, from, to int64, samples func(id series.ID, times []int64, values []float64) error,
		visit func(series.ID, []bucket.Bucket) error) error
}

// Config is what an API works with. Catalogue, Buckets, Now and Logger must be
// there.
type Config struct {
	Catalogue  Catalogue
	Buckets    Buckets
	Retention  Retention // nil: the tiers' own holds for all series
	Deleter    Deleter   // nil: nothing can be deleted
	Live       *Live     // nil: GET /api/v1/live answers 503
	Limits     Limits    // zero fields take the value of DefaultLimits
	Version    string    // of Carillon, for status/buildinfo
	Now        func() time.Time
	Logger     *slog.Logger
	Registerer prometheus.Registerer // of the engine's own metrics; may be nil
}

// lookback is how far an instant selector looks back for a sample, as in
// Prometheus. Where only coarser buckets are left it grows, see planner.lookback.
const lookback = 5 * time.Minute

// subqueryStep is the step of a subquery that names none, as in Prometheus.
const subqueryStep = time.Minute

// API answers queries. It is safe for concurrent use.
type API struct {
	config  Config
	limits  Limits
	parser  parser.Parser // for selectors, and for expressions as they were written
	columns parser.Parser // for expressions as they run, see columnParser
	engine  *promql.Engine
	slots   chan struct{} // one token a running query
}

// New makes an API. Nothing has to be closed.
func New(config Config) *API {
	limits := config.Limits.withDefaults()
	plain := parser.NewParser(parser.Options{})
	columns := columnParser{plain}
	return &API{
		config:  config,
		limits:  limits,
		parser:  plain,
		columns: columns,
		slots:   make(chan struct{}, limits.Concurrent),
		engine: promql.NewEngine(promql.EngineOpts{
			Logger:                   config.Logger,
			Reg:                      config.Registerer,
			MaxSamples:               limits.Samples,
			Timeout:                  limits.Timeout,
			LookbackDelta:            lookback,
			NoStepSubqueryIntervalFn: func(int64) int64 { return subqueryStep.Milliseconds() },
			EnableAtModifier:         true,
			EnableNegativeOffset:     true,
			Parser:                   columns,
		}),
	}
}

// Register adds the API's routes, all below /api/v1, to a mux.
func (a *API) Register(mux *http.ServeMux) {
	both := func(path string, h handler) {
		mux.Handle("GET "+path, a.serve(h))
		mux.Handle("POST "+path, a.serve(h))
	}
	get := func(path string, h handler) { mux.Handle("GET "+path, a.serve(h)) }

	both("/api/v1/query", a.query)
	both("/api/v1/query_range", a.queryRange)
	both("/api/v1/format_query", a.formatQuery)
	both("/api/v1/series", a.series)
	both("/api/v1/series/count", a.countSeries)
	both("/api/v1/labels", a.labelNames)
	get("/api/v1/label/{name}/values", a.labelValues)
	get("/api/v1/metadata", a.metadata)
	get("/api/v1/status/buildinfo", a.buildInfo)
	get("/api/v1/rules", constant(`{"groups":[]}`))
	get("/api/v1/alerts", constant(`{"alerts":[]}`))
	both("/api/v1/query_exemplars", constant(`[]`))
	both("/api/v1/buckets", a.buckets)
	mux.HandleFunc("GET /api/v1/live", a.live)
	// Not from another site's page in the browser of somebody who can reach the server.
	sameOrigin := http.NewCrossOriginProtection()
	mux.Handle("POST /api/v1/admin/tsdb/delete_series", sameOrigin.Handler(http.HandlerFunc(a.deleteSeries)))
	mux.Handle("PUT /api/v1/admin/tsdb/delete_series", sameOrigin.Handler(http.HandlerFunc(a.deleteSeries)))
}
