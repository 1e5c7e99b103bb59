package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strconv"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"

	"carillon/bucket"
	"carillon/directory"
	"carillon/export"
	"carillon/partition"
	"carillon/series"
)

const (
	// ExportPath is where GET answers with a stream of buckets (docs/format/export.md).
	ExportPath = "/api/v1/export"

	// maxExports bounds the memory of exports that run at once: each has a chunk of
	// one series, and views of exportSeries.
	maxExports       = 2
	exportSeries     = 256 // that are read together
	maxExportMatches = 64
)

// exporter answers with everything that the partitions have of some series.
type exporter struct {
	directory  *directory.Directory
	partitions *partition.Set
	logger     *slog.Logger
	parser     parser.Parser
	running    chan struct{} // as many as there are exports
}

func newExporter(p *parts) *exporter {
	return &exporter{
		directory: p.directory, partitions: p.partitions, logger: p.logger,
		parser: parser.NewParser(parser.Options{}), running: make(chan struct{}, maxExports),
	}
}

// exporting is one export.
type exporting struct {
	*exporter
	matchers [][]*labels.Matcher
	tier     int
	from, to int64 // milliseconds, to excluded
	byName   bool

	out   *export.Writer
	chunk export.Chunk
}

func (e *exporter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x, err := e.request(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	select {
	case e.running <- struct{}{}:
		defer func() { <-e.running }()
	default:
		http.Error(w, fmt.Sprintf("%d exports run already", maxExports), http.StatusServiceUnavailable)
		return
	}
	missing, err := e.partitions.Settle(r.Context())
	if err == nil && missing != "" {
		err = errors.New(missing)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	if err := x.run(r.Context(), w); err != nil && r.Context().Err() == nil {
		e.logger.Error("export failed", "error", err)
	}
}

// request reads match[], start and end (milliseconds), tier and sort.
func (e *exporter) request(r *http.Request) (*exporting, error) {
	q := r.URL.Query()
	x := &exporting{exporter: e, byName: q.Get("sort") == "name"}
	matches := q["match[]"]
	if len(matches) == 0 || len(matches) > maxExportMatches {
		return nil, fmt.Errorf("%d parameters match[], want 1 to %d", len(matches), maxExportMatches)
	}
	for _, text := range matches {
		matchers, err := e.parser.ParseMetricSelector(text)
		if err != nil {
			return nil, fmt.Errorf("match[]: %w", err)
		}
		x.matchers = append(x.matchers, matchers)
	}
	for name, into := range map[string]*int64{"start": &x.from, "end": &x.to} {
		var err error
		if *into, err = strconv.ParseInt(q.Get(name), 10, 64); err != nil {
			return nil, fmt.Errorf("%s: want milliseconds since the epoch: %w", name, err)
		}
	}
	if x.to <= x.from {
		return nil, errors.New("end: want a time after start")
	}
	var names []string
	for _, t := range e.partitions.Tiers() {
		names = append(names, model.Duration(t.Resolution).String())
	}
	if name := q.Get("tier"); name != "" {
		if x.tier = slices.Index(names, name); x.tier < 0 {
			return nil, fmt.Errorf("tier %.40q: want one of %v", name, names)
		}
	}
	return x, nil
}

func (x *exporting) run(ctx context.Context, w io.Writer) error {
	ids, err := x.selectAll(nil)
	if err != nil {
		return err
	}
	if x.out, err = export.NewWriter(w, uint64(len(ids))); err != nil {
		return err
	}
	if x.byName {
		ids = nil
		err = x.names(ctx)
	} else {
		err = x.series(ctx, ids)
	}
	if err != nil {
		return errors.Join(err, x.out.Fail(err))
	}
	return x.out.End()
}

// selectAll is the series that one of the selectors finds, and that have all of more.
func (x *exporting) selectAll(more []*labels.Matcher) ([]series.ID, error) {
	var all []series.ID
	for _, matchers := range x.matchers {
		ids, err := x.directory.Select(slices.Concat(matchers, more)...)
		if err != nil {
			return nil, err
		}
		all = append(all, ids...)
	}
	if len(x.matchers) > 1 {
		slices.Sort(all)
		all = slices.Compact(all)
	}
	return all, nil
}

// names goes from one metric's name to the next, so that nothing has to be sorted that
// is as long as the list of all series.
func (x *exporting) names(ctx context.Context) error {
	var names []string
	for _, matchers := range x.matchers {
		some, err := x.directory.LabelValues(series.MetricName, matchers...)
		if err != nil {
			return err
		}
		names = append(names, some...)
	}
	slices.Sort(names)
	for _, name := range append([]string{""}, slices.Compact(names)...) { // "": series without a name
		one, err := labels.NewMatcher(labels.MatchEqual, series.MetricName, name)
		if err != nil {
			return err
		}
		ids, err := x.selectAll([]*labels.Matcher{one})
		if err == nil {
			err = x.series(ctx, ids)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// series exports some series one after the other. A range that may hold more than a
// chunk is read in pieces, and series then one at a time, so that the pieces of each
// follow each other.
func (x *exporting) series(ctx context.Context, ids []series.ID) error {
	resolution := x.partitions.Tiers()[x.tier].Resolution.Milliseconds()
	length := (export.MaxChunk - 1) * resolution // an end may cut through a segment
	together := exportSeries
	if x.to-x.from > length {
		together = 1
	}
	for some := range slices.Chunk(ids, together) {
		for from := x.from; from < x.to; from += length {
			to := min(from+length, x.to)
			err := x.partitions.Read(ctx, some, x.tier, from, to-1, func(id series.ID, buckets []bucket.Bucket) error {
				return x.write(id, resolution, from, to, buckets)
			})
			if err != nil {
				return err
			}
		}
		x.chunk.Done += uint64(len(some))
	}
	return nil
}

// write sends buckets whose segments start in [from, to): so each is in one piece, and
// in one of two exports whose ranges meet.
func (x *exporting) write(id series.ID, resolution, from, to int64, buckets []bucket.Bucket) error {
	buckets = slices.DeleteFunc(buckets, func(b bucket.Bucket) bool {
		start := b.Start(resolution)
		return start < from || start >= to
	})
	if len(buckets) == 0 {
		return nil
	}
	key, ok := x.directory.Key(id)
	if !ok {
		return fmt.Errorf("series %d has no key", id)
	}
	x.chunk.Key, x.chunk.Kind, x.chunk.Buckets = key, x.directory.Kind(id), buckets
	return x.out.Write(&x.chunk)
}
