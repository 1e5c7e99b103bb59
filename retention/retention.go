// Package retention says which series are kept for how long, and how many of them
// there may be: a file of rules comes in, and for every series the one rule that it
// falls under goes out. The parser and the matching are pure; a Book keeps the outcome
// for all series of a directory, and counts them. The server hands Book's answers to
// its stores, to the receivers and to queries; `carillon retention check` parses.
package retention

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
	"go.yaml.in/yaml/v3"

	"carillon/series"
	"carillon/store"
)

const (
	maxRules = 255     // a Book notes them in a byte
	maxBytes = 1 << 20 // of a file
)

// Rule is what holds for the series that a selector matches.
type Rule struct {
	Match    string            // as it was written
	Matchers []*labels.Matcher // all of them must match
	// Keep is how long each tier keeps the series; 0 is the tier's own retention.
	Keep []time.Duration
	// MaxSeries is how many series there may be under the rule; 0 is any number.
	MaxSeries int
	// MaxPoints is how many points a series may bring in one segment of the finest
	// tier; 0 is any number.
	MaxPoints int
}

// Rules are in the order of their file: of those that match a series the first holds.
type Rules []Rule

// Parse reads rules from YAML, for a server with these tiers:
//
//	rules:
//	  - match: '{job="batch"}'
//	    tiers: 10s:2d,5m:90d
//	    max_series: 100000
//	    max_points: 10
//
// An error names the rule, counted from 1, and the field.
func Parse(text []byte, tiers []store.Tier) (Rules, error) {
	if len(text) > maxBytes {
		return nil, fmt.Errorf("rules of %d bytes: the limit is %d", len(text), maxBytes)
	}
	var file struct {
		Rules []yaml.Node `yaml:"rules"`
	}
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	decoder.KnownFields(true)
	if err := decoder.Decode(&file); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if len(file.Rules) > maxRules {
		return nil, fmt.Errorf("%d rules: the limit is %d", len(file.Rules), maxRules)
	}
	rules := make(Rules, len(file.Rules))
	for i := range file.Rules {
		if err := rules[i].parse(&file.Rules[i], tiers); err != nil {
			return nil, fmt.Errorf("rule %d: %w", i+1, err)
		}
	}
	return rules, nil
}

func (r *Rule) parse(node *yaml.Node, tiers []store.Tier) error {
	var fields map[string]yaml.Node
	if err := node.Decode(&fields); err != nil {
		return fmt.Errorf("want fields like match and tiers: %w", err)
	}
	r.Keep = make([]time.Duration, len(tiers))
	read := map[string]func(string) error{
		"match":      r.parseMatch,
		"tiers":      func(s string) error { return r.parseTiers(s, tiers) },
		"max_series": func(s string) error { return parseCount(s, &r.MaxSeries) },
		"max_points": func(s string) error { return parseCount(s, &r.MaxPoints) },
	}
	names := make([]string, 0, len(fields))
	for name := range fields {
		names = append(names, name)
	}
	slices.Sort(names) // which error is told must not be chance
	for _, name := range names {
		field := fields[name]
		if read[name] == nil {
			return fmt.Errorf("%s: there is no such field; want match, tiers, max_series or max_points", name)
		}
		if field.Kind != yaml.ScalarNode {
			return fmt.Errorf("%s: want one value", name)
		}
		if err := read[name](field.Value); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	switch {
	case r.Match == "":
		return errors.New("match: it is missing")
	case r.MaxSeries == 0 && r.MaxPoints == 0 && !slices.ContainsFunc(r.Keep, func(d time.Duration) bool { return d != 0 }):
		return errors.New("it rules nothing; want tiers, max_series or max_points")
	}
	return nil
}

func (r *Rule) parseMatch(text string) (err error) {
	r.Match = text
	r.Matchers, err = parser.NewParser(parser.Options{}).ParseMetricSelector(text)
	return err
}

// parseTiers reads which of the tiers are kept for a shorter time.
func (r *Rule) parseTiers(text string, tiers []store.Tier) error {
	for _, field := range strings.Split(text, ",") {
		t, err := store.ParseTier(field)
		if err != nil {
			return err
		}
		at := slices.IndexFunc(tiers, func(have store.Tier) bool { return have.Resolution == t.Resolution })
		switch {
		case at < 0:
			return fmt.Errorf("%s: there is no tier of %s", t, model.Duration(t.Resolution))
		case r.Keep[at] != 0:
			return fmt.Errorf("%s: the tier is named twice", t)
		case t.Retention > tiers[at].Retention:
			return fmt.Errorf("%s: the tier keeps nothing for longer than %s", t, model.Duration(tiers[at].Retention))
		case t.Retention < t.Resolution:
			return fmt.Errorf("%s: the retention is shorter than the resolution", t)
		}
		r.Keep[at] = t.Retention
	}
	finer := time.Duration(0)
	for _, t := range Shorten(tiers, r.Keep) {
		if t.Retention < finer {
			return fmt.Errorf("%s: the finer tier would be kept for longer, %s", t, model.Duration(finer))
		}
		finer = t.Retention
	}
	return nil
}

func parseCount(text string, into *int) error {
	var n int
	if err := yaml.Unmarshal([]byte(text), &n); err != nil || n < 1 {
		return fmt.Errorf("%q: want a whole number of at least 1", text)
	}
	*into = n
	return nil
}

// Shorten is the tiers as a series with this Keep has them.
func Shorten(tiers []store.Tier, keep []time.Duration) []store.Tier {
	tiers = slices.Clone(tiers)
	for i, d := range keep {
		if d != 0 {
			tiers[i].Retention = min(tiers[i].Retention, d)
		}
	}
	return tiers
}

// Find is the index of the rule that a series falls under, -1 if it is under none.
func (r Rules) Find(key series.Key) int {
	return slices.IndexFunc(r, func(rule Rule) bool { return rule.matches(key) })
}

func (r *Rule) matches(key series.Key) bool {
	for _, m := range r.Matchers {
		if !m.Matches(key.Get(m.Name)) {
			return false
		}
	}
	return true
}

// Shortest is for each tier the shortest time that any rule gives it; nil if none does.
func (r Rules) Shortest() []time.Duration {
	var shortest []time.Duration
	for _, rule := range r {
		if shortest == nil {
			shortest = make([]time.Duration, len(rule.Keep))
		}
		for i, d := range rule.Keep {
			if d != 0 && (shortest[i] == 0 || d < shortest[i]) {
				shortest[i] = d
			}
		}
	}
	return shortest
}
