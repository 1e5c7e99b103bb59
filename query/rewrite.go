package query

import (
	"slices"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

// columnParser parses PromQL and says in each range selector which column of the
// buckets its function needs, as a matcher on columnLabel, or makes a window of both:
//
//	max_over_time(x[1h])      becomes  x{__window__="max_over_time 3600000 0 14 19 false"}
//
// and where it cannot be a window, as in subqueries,
//
//	max_over_time(x[1h])      becomes  max_over_time(x{__column__="max"}[1h])
//	count_over_time(x[1h])    becomes  sum_over_time(x{__column__="count"}[1h])
//	avg_over_time(x[1h])      becomes  (sum_over_time(x{__column__="sum"}[1h]) /
//	                                    sum_over_time(x{__column__="count"}[1h]))
//
// Subqueries themselves are left alone: their samples are results, not buckets. So are
// selectors that name a column themselves.
type columnParser struct{ parser.Parser }

// ParseExpr parses and rewrites. Positions in the expression stay those of input.
func (p columnParser) ParseExpr(input string) (parser.Expr, error) {
	expr, err := p.Parser.ParseExpr(input)
	if err != nil {
		return nil, err
	}
	if err := refuseWindows(expr); err != nil {
		return nil, err
	}
	return rewriter{windows: true}.expr(expr), nil
}

// refuseWindows is an error if a selector has what only a rewriter may write.
func refuseWindows(expr parser.Expr) error {
	for _, matchers := range parser.ExtractSelectors(expr) {
		if namesWindow(matchers) {
			return errWindowLabel
		}
	}
	return nil
}

// functionColumns is the column for each function that does better than edges.
var functionColumns = map[string]column{
	"rate":               rises,
	"increase":           rises,
	"resets":             rises,
	"sum_over_time":      sums,
	"min_over_time":      minima,
	"max_over_time":      maxima,
	"quantile_over_time": means, // an approximation, as is the next
	"mad_over_time":      means,
	"stddev_over_time":   spread,
	"stdvar_over_time":   spread,
}

// rewriter rewrites what is evaluated at the times of the question, with windows, or at
// others.
type rewriter struct{ windows bool }

// expr rewrites an expression in place and returns what takes its stead.
func (r rewriter) expr(expr parser.Expr) parser.Expr {
	switch e := expr.(type) {
	case *parser.AggregateExpr:
		e.Expr = r.expr(e.Expr)
		if e.Param != nil {
			e.Param = r.expr(e.Param)
		}
		if groups(e.Op) {
			e.Expr = withGroups(e.Expr)
		}
	case *parser.BinaryExpr:
		e.LHS, e.RHS = r.expr(e.LHS), r.expr(e.RHS)
	case *parser.ParenExpr:
		e.Expr = r.expr(e.Expr)
	case *parser.UnaryExpr:
		e.Expr = r.expr(e.Expr)
	case *parser.SubqueryExpr:
		e.Expr = rewriter{}.expr(e.Expr)
	case *parser.Call:
		return r.call(e)
	}
	return expr
}

func (r rewriter) call(call *parser.Call) parser.Expr {
	at, selector := rangeArgument(call)
	if selector == nil {
		if name := call.Func.Name; name == "absent" || name == "timestamp" || name == "info" {
			r.windows = false // the engine looks at what their arguments are
		}
		for i, argument := range call.Args {
			call.Args[i] = r.expr(argument)
		}
		return call
	}
	if r.windows {
		if window, ok := asWindow(call.Func.Name, selector); ok {
			return window
		}
	}
	return withColumn(call, at, selector)
}

// withColumn has the range selector of a call say its column.
func withColumn(call *parser.Call, at int, selector *parser.MatrixSelector) parser.Expr {
	show := func(c column, function string) *parser.Call {
		changed := *call
		changed.Func = parser.Functions[function]
		changed.Args = slices.Clone(call.Args)
		changed.Args[at] = selectColumn(selector, c)
		return &changed
	}
	switch name := call.Func.Name; name {
	case "count_over_time":
		return show(counts, "sum_over_time")
	case "avg_over_time":
		return &parser.ParenExpr{PosRange: call.PosRange, Expr: &parser.BinaryExpr{
			Op:             parser.DIV,
			LHS:            show(sums, "sum_over_time"),
			RHS:            show(counts, "sum_over_time"),
			VectorMatching: &parser.VectorMatching{Card: parser.CardOneToOne},
		}}
	default:
		if c, ok := functionColumns[name]; ok {
			return show(c, name)
		}
	}
	return call
}

// rangeArgument finds the range selector among a call's arguments, unless it has
// chosen its column itself.
func rangeArgument(call *parser.Call) (int, *parser.MatrixSelector) {
	for i, argument := range call.Args {
		for {
			paren, ok := argument.(*parser.ParenExpr)
			if !ok {
				break
			}
			argument = paren.Expr
		}
		selector, ok := argument.(*parser.MatrixSelector)
		if !ok {
			continue
		}
		named := func(m *labels.Matcher) bool { return m.Name == columnLabel }
		if slices.ContainsFunc(selector.VectorSelector.(*parser.VectorSelector).LabelMatchers, named) {
			return 0, nil
		}
		return i, selector
	}
	return 0, nil
}

// selectColumn copies a range selector and adds the matcher of a column.
func selectColumn(selector *parser.MatrixSelector, c column) *parser.MatrixSelector {
	vector := *selector.VectorSelector.(*parser.VectorSelector)
	vector.LabelMatchers = append(slices.Clone(vector.LabelMatchers), c.matcher())
	matrix := *selector
	matrix.VectorSelector = &vector
	return &matrix
}
