package query

import (
	"slices"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

// columnParser parses PromQL and says in each range selector which column of the
// buckets its function needs, as a matcher on columnLabel:
//
//	max_over_time(x[1h])   becomes  max_over_time(x{__column__="max"}[1h])
//	count_over_time(x[1h]) becomes  sum_over_time(x{__column__="count"}[1h])
//	avg_over_time(x[1h])   becomes  (sum_over_time(x{__column__="sum"}[1h]) /
//	                                 sum_over_time(x{__column__="count"}[1h]))
//
// Subqueries are left alone: their samples are results, not buckets. So are
// selectors that name a column themselves.
type columnParser struct{ parser.Parser }

// ParseExpr parses and rewrites. Positions in the expression stay those of input.
func (p columnParser) ParseExpr(input string) (parser.Expr, error) {
	expr, err := p.Parser.ParseExpr(input)
	if err != nil {
		return nil, err
	}
	return withColumns(expr), nil
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

// withColumns rewrites an expression in place and returns what takes its stead.
func withColumns(expr parser.Expr) parser.Expr {
	switch e := expr.(type) {
	case *parser.AggregateExpr:
		e.Expr = withColumns(e.Expr)
		if e.Param != nil {
			e.Param = withColumns(e.Param)
		}
	case *parser.BinaryExpr:
		e.LHS, e.RHS = withColumns(e.LHS), withColumns(e.RHS)
	case *parser.ParenExpr:
		e.Expr = withColumns(e.Expr)
	case *parser.UnaryExpr:
		e.Expr = withColumns(e.Expr)
	case *parser.SubqueryExpr:
		e.Expr = withColumns(e.Expr)
	case *parser.Call:
		return callWithColumn(e)
	}
	return expr
}

func callWithColumn(call *parser.Call) parser.Expr {
	at, selector := rangeArgument(call)
	if selector == nil {
		for i, argument := range call.Args {
			call.Args[i] = withColumns(argument)
		}
		return call
	}
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
