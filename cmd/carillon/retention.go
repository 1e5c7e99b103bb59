package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"carillon/retention"
	"carillon/store"
)

func retentionCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "retention",
		Short:   "Look at rules that keep some series for a shorter time",
		Example: `  carillon retention check rules.yaml`,
	}
	cmd.AddCommand(retentionCheckCommand())
	return cmd
}

func retentionCheckCommand() *cobra.Command {
	var tiers, server string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "check FILE",
		Short: "Check a file of retention rules",
		Long: `Check a file of rules as serve --retention-rules takes it, and show what it says. If
a server runs at --url, it is asked how many of its series each selector matches.
Of the rules that match a series, the first holds.

  rules:
    - match: '{job="batch"}'
      tiers: 10s:2d,5m:90d     # kept for a shorter time than --tiers say
      max_series: 100000       # more are refused
      max_points: 10           # a series may bring in one segment of the finest tier`,
		Example: `  carillon retention check rules.yaml
  carillon retention check rules.yaml --tiers 1s:1d,10s:10d --url http://metrics:9480 --json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			parsed, err := store.ParseTiers(tiers)
			if err != nil {
				return fmt.Errorf("--tiers: %w", err)
			}
			rules, err := loadRules(args[0], parsed)
			if err != nil {
				return err
			}
			counts := countRules(cmd.Context(), server, rules)
			if counts == nil && cmd.Flags().Changed("url") {
				fmt.Fprintf(cmd.ErrOrStderr(), "no server answers at %s: how many series match is not known\n", server)
			}
			return showRules(cmd.OutOrStdout(), rules, parsed, counts, asJSON)
		},
	}
	cmd.Flags().StringVar(&tiers, "tiers", store.DefaultTiers, "resolution:retention of each tier of the server")
	cmd.Flags().StringVar(&server, "url", "http://127.0.0.1:9480", "the server")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// loadRules reads a file of retention rules; none without a path.
func loadRules(path string, tiers []store.Tier) (retention.Rules, error) {
	if path == "" {
		return nil, nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("retention rules: %w", err)
	}
	rules, err := retention.Parse(text, tiers)
	if err != nil {
		return nil, fmt.Errorf("retention rules: %s: %w", path, err)
	}
	return rules, nil
}

// countRules is how many series each rule's selector matches; nil without a server.
func countRules(ctx context.Context, server string, rules retention.Rules) []int {
	if len(rules) == 0 {
		return nil
	}
	var match []string
	for _, r := range rules {
		match = append(match, r.Match)
	}
	found, err := countMatches(ctx, server, match)
	if err != nil || len(found.Match) != len(rules) {
		return nil
	}
	counts := make([]int, len(rules))
	for i, m := range found.Match {
		counts[i] = m.Series
	}
	return counts
}

// shownRule is a rule as people and programs are shown it.
type shownRule struct {
	Rule      int    `json:"rule"`
	Match     string `json:"match"`
	Tiers     string `json:"tiers"`
	MaxSeries int    `json:"maxSeries,omitempty"`
	MaxPoints int    `json:"maxPoints,omitempty"`
	Series    *int   `json:"series"` // null if not known
}

func showRules(w io.Writer, rules retention.Rules, tiers []store.Tier, counts []int, asJSON bool) error {
	shown := make([]shownRule, len(rules))
	for i, r := range rules {
		var kept []string
		for _, t := range retention.Shorten(tiers, r.Keep) {
			kept = append(kept, t.String())
		}
		shown[i] = shownRule{i + 1, r.Match, strings.Join(kept, ","), r.MaxSeries, r.MaxPoints, nil}
		if counts != nil {
			shown[i].Series = &counts[i]
		}
	}
	if asJSON {
		return json.NewEncoder(w).Encode(shown)
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "rule\tmatch\ttiers\tmax series\tmax points\tseries now")
	for _, r := range shown {
		now := "?"
		if r.Series != nil {
			now = strconv.Itoa(*r.Series)
		}
		fmt.Fprintf(table, "%d\t%s\t%s\t%s\t%s\t%s\n", r.Rule, r.Match, r.Tiers, limit(r.MaxSeries), limit(r.MaxPoints), now)
	}
	return table.Flush()
}

// limit is a number that 0 means there is none.
func limit(n int) string {
	if n == 0 {
		return "-"
	}
	return strconv.Itoa(n)
}
