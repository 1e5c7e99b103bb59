package query

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/prometheus/prometheus/storage"

	"carillon/query/querytest"
	"carillon/series"
	"carillon/store"
)

// loaded is a store of ours that Prometheus's own test scripts load.
type loaded struct {
	storage.Storage // not there: only what the scripts use is overridden
	store           *querytest.Store
}

func newLoaded(testing.TB) storage.Storage {
	return &loaded{store: querytest.New(store.Tier{Resolution: time.Millisecond, Retention: 100 * 365 * 24 * time.Hour})}
}

func (l *loaded) Close() error { return nil }

func (l *loaded) Querier(mint, maxt int64) (storage.Querier, error) {
	q := &queryable{catalogue: l.store, buckets: l.store, limits: DefaultLimits(), planner: planner{tiers: l.store.Tiers()}, lookback: lookback}
	return q.Querier(mint, maxt)
}

func (l *loaded) AppenderV2(context.Context) storage.AppenderV2 { return &loader{store: l.store} }

type loader struct {
	storage.AppenderV2
	store *querytest.Store
}

func (l *loader) Commit() error { return nil }

var errHistogram = errors.New("native histograms are not stored")

func (l *loader) Append(_ storage.SeriesRef, set labels.Labels, _, t int64, v float64, h *histogram.Histogram, fh *histogram.FloatHistogram, _ storage.AppendV2Options) (storage.SeriesRef, error) {
	if h != nil || fh != nil {
		return 0, errHistogram
	}
	l.store.Add(keyOf(set), series.Gauge, t, v)
	return 0, nil
}

func keyOf(set labels.Labels) series.Key {
	var pairs []series.Label
	set.Range(func(l labels.Label) { pairs = append(pairs, series.Label{Name: l.Name, Value: l.Value}) })
	key, err := series.NewKey(pairs)
	if err != nil {
		panic(err)
	}
	return key
}

// TestPrometheusScripts runs Prometheus's own test scripts over a store of ours.
// They are read where the module is, and cut at each "clear"; pieces with native
// histograms, start timestamps or the info function, which are not kept here, are
// left out, and so is what depends on names that are only removed at the end, which no
// engine of ours does.
func TestPrometheusScripts(t *testing.T) {
	source, _ := runtime.FuncForPC(reflect.ValueOf(promqltest.RunTest).Pointer()).FileLine(0)
	files, err := filepath.Glob(filepath.Join(filepath.Dir(source), "testdata", "*.test"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts beside %s: %v", source, err)
	}
	engine := promql.NewEngine(promql.EngineOpts{
		MaxSamples:               promqltest.DefaultMaxSamplesPerQuery,
		Timeout:                  100 * time.Second,
		NoStepSubqueryIntervalFn: func(int64) int64 { return subqueryStep.Milliseconds() },
		EnableAtModifier:         true,
		EnableNegativeOffset:     true,
		EnableDelayedNameRemoval: true,
		Parser:                   columnParser{parser.NewParser(promqltest.TestParserOpts)},
	})
	ran := 0
	for _, file := range files {
		script, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for i, piece := range strings.Split(string(script), "\nclear\n") {
			if notOurs(file, piece) {
				continue
			}
			t.Run(fmt.Sprintf("%s/%d", filepath.Base(file), i), func(t *testing.T) {
				promqltest.RunTestWithStorage(t, piece, engine, newLoaded)
			})
			ran += strings.Count(piece, "\neval ")
		}
	}
	t.Logf("%d queries", ran)
	if ran < 500 {
		t.Errorf("only %d queries ran", ran)
	}
}

func notOurs(file, piece string) bool {
	switch filepath.Base(file) {
	case "info.test", "start_timestamps.test", "type_and_unit.test", "native_histograms.test", "name_label_dropping.test":
		return true
	}
	return strings.Contains(piece, "{{") || strings.Contains(piece, "load_with_nhcb")
}
