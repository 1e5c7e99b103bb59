package query

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/promql/parser/posrange"
	"github.com/prometheus/prometheus/schema"
	"github.com/prometheus/prometheus/util/annotations"

	"carillon/bucket"
	"carillon/series"
)

// A window is a function over a range selector that is worked out where the samples are
// read, series by series, by the engine's own function: the engine only sees what comes out,
// one sample at each of the times at which it evaluates. To move every sample through the
// engine's iterators would cost several times as much as to read it.
//
// What comes out is a series of an instant selector, so the expression is rewritten:
//
//	max_over_time(x[1m] offset 5m)  becomes  x{__window__="max_over_time 60000 300000 0 25 false"}
//
// with the length and the offset in milliseconds, the place of the range selector in the
// expression, and whether the aggregation around it may be worked out too. The times are those of the whole question; so a function stays as it is
// inside of subqueries, and where @ moves it, and as the argument of a function that looks
// at its selector's labels.
type window struct {
	function       string
	length, offset int64 // milliseconds
	position       posrange.PositionRange
	grouped        bool
}

// windowLabel is the label by which a selector asks for a window. The querier takes the matcher
// out. Users may not write it.
const windowLabel = "__window__"

var errWindowLabel = fmt.Errorf("%s is not a label that a selector may name", windowLabel)

// windowColumns are the functions that may be windows, with the column that each is worked
// out from. They are those with no other argument that drop the series' name.
var windowColumns = map[string]column{
	"rate": rises, "increase": rises, "resets": rises,
	"irate": edges, "idelta": edges, "delta": edges, "deriv": edges, "changes": edges, "present_over_time": edges,
	"sum_over_time": sums, "count_over_time": counts, "avg_over_time": sums,
	"min_over_time": minima, "max_over_time": maxima,
}

// asWindow is the instant selector for a function of a range selector, if it can be a window.
func asWindow(function string, matrix *parser.MatrixSelector) (*parser.VectorSelector, bool) {
	selector := *matrix.VectorSelector.(*parser.VectorSelector)
	_, ok := windowColumns[function]
	if !ok || selector.Timestamp != nil || selector.StartOrEnd != 0 || selector.Anchored || selector.Smoothed ||
		matrix.RangeExpr != nil || selector.OriginalOffsetExpr != nil {
		return nil, false
	}
	w := window{function, matrix.Range.Milliseconds(), selector.OriginalOffset.Milliseconds(), matrix.PositionRange(), false}
	selector.OriginalOffset = 0
	selector.LabelMatchers = append(slices.Clone(selector.LabelMatchers), w.matcher())
	return &selector, true
}

// isWindow tells whether a selector stands for a window.
func isWindow(selector *parser.VectorSelector) bool { return namesWindow(selector.LabelMatchers) }

func namesWindow(matchers []*labels.Matcher) bool {
	return slices.ContainsFunc(matchers, func(m *labels.Matcher) bool { return m.Name == windowLabel })
}

const windowFormat = "%s %d %d %d %d %t"

func (w window) matcher() *labels.Matcher {
	return &labels.Matcher{
		Type: labels.MatchEqual, Name: windowLabel,
		Value: fmt.Sprintf(windowFormat, w.function, w.length, w.offset, w.position.Start, w.position.End, w.grouped),
	}
}

// cutWindow takes the matcher of a window out of matchers, which it leaves as they are.
// Without one the window is nil.
func cutWindow(matchers []*labels.Matcher) (*window, []*labels.Matcher, error) {
	at := slices.IndexFunc(matchers, func(m *labels.Matcher) bool { return m.Name == windowLabel })
	if at < 0 {
		return nil, matchers, nil
	}
	var w window
	if _, err := fmt.Sscanf(matchers[at].Value, windowFormat, &w.function, &w.length, &w.offset, &w.position.Start, &w.position.End, &w.grouped); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", matchers[at], err)
	}
	if _, ok := windowColumns[w.function]; !ok {
		return nil, nil, fmt.Errorf("%s: there is no such window", matchers[at])
	}
	return &w, slices.Concat(matchers[:at], matchers[at+1:]), nil
}

// withGroups has the selector that stands for a window, if that is what is right inside of an
// aggregation, say so.
func withGroups(inside parser.Expr) parser.Expr {
	bare := inside
	for paren, ok := bare.(*parser.ParenExpr); ok; paren, ok = bare.(*parser.ParenExpr) {
		bare = paren.Expr
	}
	selector, ok := bare.(*parser.VectorSelector)
	if !ok {
		return inside
	}
	w, rest, err := cutWindow(selector.LabelMatchers)
	if w == nil || err != nil {
		return inside
	}
	w.grouped = true
	selector.LabelMatchers = append(rest, w.matcher())
	return selector
}

// moments are the times at which a query is evaluated, milliseconds. The engine does not tell
// a selector these, but since when it looks for samples: by the lookback less one
// before the first of them.
type moments struct{ start, end, step int64 }

// selection is what a window needs at some times.
func (w *window) selection(at moments) selection {
	return selection{
		start: at.start - w.offset - w.length + 1, end: at.end - w.offset, step: at.step, window: w.length,
		pairs: w.column() == edges || w.column() == rises,
	}
}

func (w *window) column() column { return windowColumns[w.function] }

// call is the function over samples as the engine calls it. Nothing but values and times of
// samples and the place of the selector concern it.
type call struct {
	function  promql.FunctionCall
	arguments parser.Expressions
	matrix    promql.Matrix
	helper    promql.EvalNodeHelper
}

func (w *window) call(function string) *call {
	selector := &parser.VectorSelector{PosRange: w.position}
	return &call{
		function:  promql.FunctionCalls[function],
		arguments: parser.Expressions{&parser.MatrixSelector{VectorSelector: selector, Range: time.Duration(w.length) * time.Millisecond, EndPos: w.position.End}},
		matrix:    make(promql.Matrix, 1),
		helper:    promql.EvalNodeHelper{Out: make(promql.Vector, 0, 1)},
	}
}

// at is the value at a time; false if there is none.
func (c *call) at(time int64, samples []sample) (float64, bool, annotations.Annotations) {
	c.matrix[0].Floats, c.helper.Ts = samples, time
	got, notes := c.function(nil, c.matrix, c.arguments, &c.helper)
	c.helper.Out = got[:0]
	if len(got) == 0 {
		return 0, false, notes
	}
	return got[0].F, true, notes
}

// slider works a window out for one series after the other. One goroutine owns it.
type slider struct {
	*window
	moments
	direct func(values []float64) (float64, bool) // nil if there is none
	call   *call
	sum    *call // of averages of buckets that stand for several samples
	notes  annotations.Annotations
	points []sample // scratch, as is the next
	times  []int64
}

func newSlider(w *window, at moments) *slider {
	s := &slider{window: w, moments: at, direct: directly[w.function], call: w.call(w.function), sum: w.call("sum_over_time")}
	if w.function == "count_over_time" {
		s.call = s.sum // of counts
	}
	return s
}

// slide is the value at each time at which there is one, and a staleness marker at the
// first of those where it ends, so that the engine does not look back for it. Samples are sorted,
// without staleness markers. There are no weights, or one for each sample.
func (s *slider) slide(samples, weights []sample) []sample {
	s.times = slices.Grow(s.times[:0], len(samples))
	for _, x := range samples {
		s.times = append(s.times, x.T)
	}
	return s.over(s.times, func(end int64, from, to int) (float64, bool) { return s.value(end, from, to, samples, weights) })
}

// slideDirect is slide for samples in columns. It reports false if the function is none that can be worked
// out from their values alone.
func (s *slider) slideDirect(times []int64, values []float64) ([]sample, bool) {
	if s.direct == nil || hasStale(values) {
		return nil, false
	}
	return s.over(times, func(end int64, from, to int) (float64, bool) {
		if value, ok := s.direct(values[from:to]); ok {
			return value, true
		}
		s.points = s.points[:0]
		for i := from; i < to; i++ {
			s.points = append(s.points, sample{T: times[i], F: values[i]})
		}
		return s.value(end, 0, to-from, s.points, nil)
	}), true
}

// over moves over samples with these times, of which some are in each window, and collects the values.
func (s *slider) over(times []int64, value func(end int64, from, to int) (float64, bool)) []sample {
	var out []sample
	step := max(s.step, 1)
	from, to, there := 0, 0, false
	fromJump, toJump := 0, 0
	for at := s.start; at <= s.end; at += step {
		end := at - s.offset
		fromJump = jump(times[from:], fromJump, end-s.length)
		toJump = jump(times[to:], toJump, end)
		from, to = from+fromJump, to+toJump
		x, ok := 0.0, from < to
		if ok {
			x, ok = value(end, from, to)
		}
		switch {
		case ok && out == nil:
			out = append(make([]sample, 0, s.most(at, len(times)-from)), sample{T: at, F: x})
		case ok:
			out = append(out, sample{T: at, F: x})
		case there:
			out = append(out, sample{T: at, F: math.Float64frombits(bucket.StaleNaN)})
		}
		there = ok
	}
	return out
}

// jump is how many of sorted times are not after one. A guess saves the search.
func jump(times []int64, guess int, end int64) int {
	if guess <= len(times) && (guess == 0 || times[guess-1] <= end) && (guess == len(times) || times[guess] > end) {
		return guess
	}
	n, _ := slices.BinarySearch(times, end+1)
	return n
}

// most is how many values there can be from a time on, with some samples left: none of these lies
// in more windows than overlap.
func (s *slider) most(at int64, samples int) int64 {
	step := max(s.step, 1)
	return min((s.end-at)/step, int64(samples)*(s.length/step+1)) + 1
}

func (s *slider) value(end int64, from, to int, samples, weights []sample) (value float64, ok bool) {
	var notes annotations.Annotations
	if weights == nil {
		value, ok, notes = s.call.at(end, samples[from:to])
	} else {
		value, ok, notes = s.sum.at(end, samples[from:to])
		count, _, _ := s.sum.at(end, weights[from:to])
		value /= count
	}
	if len(notes) > 0 {
		s.notes.Merge(notes)
	}
	return value, ok
}

// unnamed is the labels of a result: those of the series without its name.
func unnamed(set labels.Labels) labels.Labels { return set.DropReserved(schema.IsMetadataLabel) }

// noteName says what the engine says of a counter's function over what has no counter's name.
func (w *window) noteName(set labels.Labels, notes *annotations.Annotations) {
	if w.function != "rate" && w.function != "increase" {
		return
	}
	name := set.Get(series.MetricName)
	if name == "" || slices.ContainsFunc([]string{"_total", "_sum", "_count", "_bucket"}, func(suffix string) bool { return strings.HasSuffix(name, suffix) }) {
		return
	}
	notes.Add(annotations.NewPossibleNonCounterInfo(name, w.position))
}

// errSameLabels is what the engine says of series that only their names tell apart.
var errSameLabels = errors.New("vector cannot contain metrics with the same labelset")
