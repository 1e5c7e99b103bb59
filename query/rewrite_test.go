package query

import (
	"errors"
	"testing"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

func TestRewrite(t *testing.T) {
	p := columnParser{parser.NewParser(parser.Options{})}
	for text, want := range map[string]string{
		"x":                                          "x",
		"rate(x[5m])":                                `x{__window__="rate 300000 0 5 10 false"}`,
		"irate(x[5m] offset 1m)":                     `x{__window__="irate 300000 60000 6 21 false"}`,
		"absent_over_time(x[1h])":                    "absent_over_time(x[1h])",
		"last_over_time(x[1h])":                      "last_over_time(x[1h])",
		"max_over_time((x[1h]))":                     `x{__window__="max_over_time 3600000 0 15 20 false"}`,
		"max_over_time(x[1h:5m])":                    "max_over_time(x[1h:5m])",
		"max_over_time(x[1h] @ 5)":                   `max_over_time(x{__column__="max"}[1h] @ 5.000)`,
		"sum(min_over_time(x[1h]))":                  `sum(x{__window__="min_over_time 3600000 0 18 23 true"})`,
		`avg_over_time(x{a="b"}[1h] @ 5 offset 2m)`:  `(sum_over_time(x{__column__="sum",a="b"}[1h] @ 5.000 offset 2m) / sum_over_time(x{__column__="count",a="b"}[1h] @ 5.000 offset 2m))`,
		"2 ^ avg_over_time(x[1m])":                   `2 ^ x{__window__="avg_over_time 60000 0 18 23 false"}`,
		"topk(scalar(count_over_time(x[1m])), y)":    `topk(scalar(x{__window__="count_over_time 60000 0 28 33 false"}), y)`,
		"quantile_over_time(0.5, x[1m])":             `quantile_over_time(0.5, x{__column__="avg"}[1m])`,
		"max_over_time(avg_over_time(x[1m])[1h:])":   `max_over_time((sum_over_time(x{__column__="sum"}[1m]) / sum_over_time(x{__column__="count"}[1m]))[1h:])`,
		"max_over_time(count_over_time(x[1m])[1h:])": `max_over_time(sum_over_time(x{__column__="count"}[1m])[1h:])`,
		`avg_over_time(x{__column__="max"}[1h])`:     `avg_over_time(x{__column__="max"}[1h])`,
		"absent(rate(x[5m])) or rate(x[5m])":         `absent(rate(x{__column__="rises"}[5m])) or x{__window__="rate 300000 0 28 33 false"}`,
		"sum by (a) ((rate(x[5m])))":                 `sum by (a) (x{__window__="rate 300000 0 18 23 true"})`,
		"max(-rate(x[5m]))":                          `max(-x{__window__="rate 300000 0 10 15 false"})`,
		"count(rate(x[5m]))":                         `count(x{__window__="rate 300000 0 11 16 false"})`,
		"topk(1, rate(x[5m]))":                       `topk(1, x{__window__="rate 300000 0 13 18 false"})`,
		"timestamp(deriv(x[5m]))":                    "timestamp(deriv(x[5m]))",
	} {
		expr, err := p.ParseExpr(text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if got := expr.String(); got != want {
			t.Errorf("%s\n got %s\nwant %s", text, got, want)
		}
	}
	for _, text := range []string{`x{__window__="rate 300000 0 5 10 false"}`, `rate(x{__window__!="a"}[5m])`} {
		if _, err := p.ParseExpr(text); !errors.Is(err, errWindowLabel) {
			t.Errorf("%s: got %v", text, err)
		}
	}
	for _, value := range []string{"", "rate", "rate 1 2 3", "rate 1 2 3 x", "rate 1 2 3 4", "nothing 1 2 3 4 false"} {
		if w, _, err := cutWindow([]*labels.Matcher{{Type: labels.MatchEqual, Name: windowLabel, Value: value}}); err == nil {
			t.Errorf("%q: got %+v", value, w)
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
		if errors.Is(rewrittenErr, errWindowLabel) {
			return
		}
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
		again, err := plain.ParseExpr(after.String())
		if err != nil {
			t.Fatalf("%q: rewritten to %q: %v", text, after, err)
		}
		again = rewriter{}.expr(again)
		if again.String() != after.String() {
			t.Fatalf("%q: rewritten to %q, then to %q", text, after, again)
		}
	})
}
