package query

import (
	"testing"

	"github.com/prometheus/prometheus/promql/parser"
)

func TestRewrite(t *testing.T) {
	p := columnParser{parser.NewParser(parser.Options{})}
	for text, want := range map[string]string{
		"x":                         "x",
		"rate(x[5m])":               `rate(x{__column__="rises"}[5m])`,
		"irate(x[5m])":              "irate(x[5m])",
		"count_over_time(x[1h])":    `sum_over_time(x{__column__="count"}[1h])`,
		"absent_over_time(x[1h])":   "absent_over_time(x[1h])",
		"max_over_time((x[1h]))":    `max_over_time(x{__column__="max"}[1h])`,
		"max_over_time(x[1h:5m])":   "max_over_time(x[1h:5m])",
		"sum(min_over_time(x[1h]))": `sum(min_over_time(x{__column__="min"}[1h]))`,
		`avg_over_time(x{a="b"}[1h] @ 5 offset 2m)`: `(sum_over_time(x{__column__="sum",a="b"}[1h] @ 5.000 offset 2m) / sum_over_time(x{__column__="count",a="b"}[1h] @ 5.000 offset 2m))`,
		"2 ^ avg_over_time(x[1m])":                  `2 ^ (sum_over_time(x{__column__="sum"}[1m]) / sum_over_time(x{__column__="count"}[1m]))`,
		"topk(scalar(count_over_time(x[1m])), y)":   `topk(scalar(sum_over_time(x{__column__="count"}[1m])), y)`,
		"quantile_over_time(0.5, x[1m])":            `quantile_over_time(0.5, x{__column__="avg"}[1m])`,
		"max_over_time(avg_over_time(x[1m])[1h:])":  `max_over_time((sum_over_time(x{__column__="sum"}[1m]) / sum_over_time(x{__column__="count"}[1m]))[1h:])`,
		`avg_over_time(x{__column__="max"}[1h])`:    `avg_over_time(x{__column__="max"}[1h])`,
	} {
		expr, err := p.ParseExpr(text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if got := expr.String(); got != want {
			t.Errorf("%s\n got %s\nwant %s", text, got, want)
		}
	}
}

// FuzzRewrite: what parses is rewritten into something that parses, has the same
// type, and is not rewritten any further.
func FuzzRewrite(f *testing.F) {
	for _, text := range expressions() {
		f.Add(text)
	}
	plain := parser.NewParser(parser.Options{})
	columns := columnParser{plain}
	f.Fuzz(func(t *testing.T, text string) {
		before, err := plain.ParseExpr(text)
		after, rewrittenErr := columns.ParseExpr(text)
		if (err == nil) != (rewrittenErr == nil) {
			t.Fatalf("%q: error %v, rewritten %v", text, err, rewrittenErr)
		}
		if err != nil {
			return
		}
		if before.Type() != after.Type() {
			t.Fatalf("%q: type %s became %s", text, before.Type(), after.Type())
		}
		if _, err := plain.ParseExpr(before.String()); err != nil {
			return // the printer's own fault
		}
		again, err := columns.ParseExpr(after.String())
		if err != nil {
			t.Fatalf("%q: rewritten to %q: %v", text, after, err)
		}
		if again.String() != after.String() {
			t.Fatalf("%q: rewritten to %q, then to %q", text, after, again)
		}
	})
}
