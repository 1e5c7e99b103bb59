package query

import (
	"math"
	"time"

	"github.com/prometheus/prometheus/promql/parser"

	"carillon/bucket"
	"carillon/store"
)

// fineSpan is the longest time that a selector reads at the finest resolution,
// whatever the step. Up to here answers are Prometheus's own; beyond it, reading
// every sample for a chart of a thousand points is not worth the wait.
const fineSpan = 48 * time.Hour

// shareOfWindow bounds what a single evaluation of a range function over more
// than fineSpan may lose at the edges of its window: a hundredth of it.
const shareOfWindow = 100

// planner decides which tiers a selector reads.
type planner struct {
	tiers []store.Tier // finest first
	now   int64        // milliseconds; retention counts back from here
}

// selection is what the decision depends on. All times are milliseconds.
type selection struct {
	start, end int64 // of the samples wanted, both included
	step       int64 // between evaluations, 0 if there is only one
	window     int64 // of a range selector, 0 for an instant selector
	pairs      bool  // the function needs two samples in a window, as rate does
}

// stretch is a piece of a selection that one tier answers: all segments that
// start in [from, to), milliseconds.
type stretch struct {
	tier     int
	from, to int64
}

func (p *planner) resolution(tier int) int64 { return p.tiers[tier].Resolution.Milliseconds() }

// coarsest is the coarsest tier with a resolution of at most limit milliseconds,
// or the finest if there is none.
func (p *planner) coarsest(limit int64) int {
	for tier := len(p.tiers) - 1; tier > 0; tier-- {
		if p.resolution(tier) <= limit {
			return tier
		}
	}
	return 0
}

// preferred is the tier that suits a selection best, retention aside.
func (p *planner) preferred(s selection) int {
	if s.end-s.start <= fineSpan.Milliseconds() {
		return 0
	}
	limit := s.step
	if limit == 0 {
		limit = s.window / shareOfWindow
	}
	if s.window > 0 {
		window := s.window
		if s.pairs {
			window /= 2
		}
		limit = min(limit, window)
	}
	return p.coarsest(limit)
}

// splice covers [start, end] with the preferred tier as far back as it is
// retained, and with the coarser ones beyond. Stretches come oldest first, and
// none is empty. Each boundary is a multiple of the resolution on its older
// side, so that every segment is counted in exactly one stretch.
func (p *planner) splice(preferred int, start, end int64) []stretch {
	var stretches []stretch
	last := len(p.tiers) - 1
	from := int64(math.MinInt64)
	for tier := last; tier >= preferred; tier-- {
		to := int64(math.MaxInt64)
		if tier > preferred {
			retained := p.now - p.tiers[tier-1].Retention.Milliseconds()
			to = max(from, ceil(retained, p.resolution(tier)))
		}
		if from < to && from <= end && to > start {
			stretches = append(stretches, stretch{tier: tier, from: from, to: to})
		}
		from = to
	}
	return stretches
}

func ceil(time, resolution int64) int64 { return -bucket.Floor(-time, resolution) }

// plan is the stretches that answer a selection.
func (p *planner) plan(s selection) []stretch {
	return p.splice(p.preferred(s), s.start, s.end)
}

// lookback is how far the instant selectors of a query must look back: as far
// as in Prometheus, or twice the coarsest resolution that one of them reads, so
// that rolled-up data has no gaps. The expression must have gone through
// promql.PreprocessExpr; start, end and step (0 for an instant query) are
// milliseconds.
func (p *planner) lookback(expr parser.Expr, start, end, step int64) time.Duration {
	enough := lookback
	for range p.tiers { // looking further back may reach a coarser tier
		needed := p.lookbackOnce(expr, start, end, step, enough)
		if needed == enough {
			break
		}
		enough = needed
	}
	return enough
}

func (p *planner) lookbackOnce(expr parser.Expr, start, end, step int64, back time.Duration) time.Duration {
	parser.Inspect(expr, func(node parser.Node, path []parser.Node) error {
		selector, ok := node.(*parser.VectorSelector)
		if !ok || insideRange(path) || isWindow(selector) {
			return nil
		}
		s := instantSelection(selector, path, start, end, step)
		s.start -= back.Milliseconds() - 1
		for _, part := range p.plan(s) {
			back = max(back, 2*p.tiers[part.tier].Resolution)
		}
		return nil
	})
	return back
}

func insideRange(path []parser.Node) bool {
	if len(path) == 0 {
		return false
	}
	_, ok := path[len(path)-1].(*parser.MatrixSelector)
	return ok
}

// instantSelection is when an instant selector is evaluated, moved by the
// subqueries around it (outermost first in path) and by its own modifiers.
func instantSelection(selector *parser.VectorSelector, path []parser.Node, start, end, step int64) selection {
	for _, node := range path {
		subquery, ok := node.(*parser.SubqueryExpr)
		if !ok {
			continue
		}
		if subquery.Timestamp != nil {
			start, end = *subquery.Timestamp, *subquery.Timestamp
		}
		end -= subquery.OriginalOffset.Milliseconds()
		start -= subquery.OriginalOffset.Milliseconds() + subquery.Range.Milliseconds()
		step = subquery.Step.Milliseconds()
		if step == 0 {
			step = subqueryStep.Milliseconds()
		}
	}
	if selector.Timestamp != nil {
		start, end = *selector.Timestamp, *selector.Timestamp
	}
	offset := selector.OriginalOffset.Milliseconds()
	return selection{start: start - offset, end: end - offset, step: step}
}

// newestTier is the tier of the newest stretch. There is always one.
func newestTier(stretches []stretch) int { return stretches[len(stretches)-1].tier }
