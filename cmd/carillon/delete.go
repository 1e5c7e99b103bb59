package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/prometheus/common/model"
	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// deletion is what `carillon delete` was asked for.
type deletion struct {
	server      string
	match       []string
	from, to    string
	dryRun, yes bool
	json        bool
}

func deleteCommand() *cobra.Command {
	var d deletion
	cmd := &cobra.Command{
		Use:   "delete --match SELECTOR [--from TIME] [--to TIME]",
		Short: "Delete samples of a running server by selector and range",
		Long: `Delete the samples of all series that a selector matches, in a range of time, both
ends included, from every tier. They are hidden at once, and for good once the
command has ended; their bytes go as files are merged. What comes in afterwards is
kept, of whatever time. The series stay known by name.

TIME is RFC 3339 (2026-05-01T12:00:00Z), a date, seconds since the epoch, or a
duration back from now (2h, 7d). Without --from the range begins with the oldest
sample, without --to it ends with the newest.

Without --yes it says what would be deleted and asks.`,
		Example: `  carillon delete --match '{job="batch"}' --dry-run
  carillon delete --match 'cpu_seconds_total{host="h13"}' --from 2026-05-01 --to 2026-05-02
  carillon delete --match '{job="a"}' --match '{job="b"}' --from 2h --yes --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return d.run(cmd.Context(), cmd.InOrStdin(), cmd.OutOrStdout(), time.Now())
		},
	}
	f := cmd.Flags()
	f.StringArrayVar(&d.match, "match", nil, "series selector; may be given several times")
	f.StringVar(&d.from, "from", "", "begin of the range")
	f.StringVar(&d.to, "to", "", "end of the range")
	f.BoolVar(&d.dryRun, "dry-run", false, "only say what would be deleted")
	f.BoolVar(&d.yes, "yes", false, "do not ask")
	f.BoolVar(&d.json, "json", false, "print JSON")
	f.StringVar(&d.server, "url", "http://127.0.0.1:9480", "the server")
	return cmd
}

// matched is the answer of /api/v1/series/count.
type matched struct {
	Series int `json:"series"`
	Match  []struct {
		Match  string `json:"match"`
		Series int    `json:"series"`
	} `json:"match"`
}

func (d *deletion) run(ctx context.Context, in io.Reader, out io.Writer, now time.Time) error {
	if len(d.match) == 0 {
		return errors.New("--match is missing: say which series, like --match '{job=\"batch\"}'")
	}
	q := url.Values{"match[]": d.match}
	var err error
	from, to := "the oldest sample", "the newest sample"
	if d.from != "" {
		if from, err = setMoment(q, "start", d.from, now); err != nil {
			return fmt.Errorf("--from: %w", err)
		}
	}
	if d.to != "" {
		if to, err = setMoment(q, "end", d.to, now); err != nil {
			return fmt.Errorf("--to: %w", err)
		}
	}
	found, err := countMatches(ctx, d.server, d.match)
	if err != nil {
		return err
	}
	if !d.json {
		if err := printMatches(out, found); err != nil {
			return err
		}
	}
	done := false
	if !d.dryRun && found.Series > 0 {
		if err := d.confirm(in, out, fmt.Sprintf("Delete the samples of %d series from %s to %s?", found.Series, from, to)); err != nil {
			return err
		}
		if err := call(ctx, d.server, "/api/v1/admin/tsdb/delete_series", q, nil); err != nil {
			return err
		}
		done = true
	}
	switch {
	case d.json:
		return json.NewEncoder(out).Encode(struct {
			*matched
			Deleted bool   `json:"deleted"`
			Start   string `json:"start,omitempty"`
			End     string `json:"end,omitempty"`
		}{found, done, q.Get("start"), q.Get("end")})
	case done:
		_, err = fmt.Fprintf(out, "deleted from %d series, from %s to %s\n", found.Series, from, to)
	default:
		_, err = fmt.Fprintln(out, "nothing was deleted")
	}
	return err
}

// confirm asks, unless --yes says that nobody need.
func (d *deletion) confirm(in io.Reader, out io.Writer, question string) error {
	if d.yes {
		return nil
	}
	f, ok := in.(*os.File)
	if d.json || !ok || !term.IsTerminal(int(f.Fd())) {
		return errors.New("nobody is there to be asked: say --yes to delete, or --dry-run to look")
	}
	fmt.Fprintf(out, "%s [y/N] ", question)
	line, err := bufio.NewReader(in).ReadString('\n')
	if err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	if answer := strings.ToLower(strings.TrimSpace(line)); answer != "y" && answer != "yes" {
		return errors.New("not deleted")
	}
	return nil
}

func printMatches(out io.Writer, found *matched) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "selector\tseries")
	for _, m := range found.Match {
		fmt.Fprintf(table, "%s\t%d\n", m.Match, m.Series)
	}
	if len(found.Match) > 1 {
		fmt.Fprintf(table, "together\t%d\n", found.Series)
	}
	return table.Flush()
}

// setMoment sets a parameter to a time as people write it, and returns it as they
// read it.
func setMoment(q url.Values, name, text string, now time.Time) (string, error) {
	t, err := parseMoment(text, now)
	if err != nil {
		return "", err
	}
	q.Set(name, seconds(t))
	return t.UTC().Format(time.RFC3339Nano), nil
}

func parseMoment(text string, now time.Time) (time.Time, error) {
	for _, layout := range []string{time.RFC3339Nano, time.DateTime, time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, nil
		}
	}
	var number json.Number
	if json.Unmarshal([]byte(text), &number) == nil {
		if s, err := number.Float64(); err == nil {
			return time.UnixMilli(int64(s * 1000)), nil
		}
	}
	back, err := model.ParseDuration(text)
	if err != nil {
		return time.Time{}, fmt.Errorf("%q is no time: want 2026-05-01T12:00:00Z, 2026-05-01, seconds since the epoch, or a duration back from now like 2h", text)
	}
	return now.Add(-time.Duration(back)), nil
}

func countMatches(ctx context.Context, server string, match []string) (*matched, error) {
	var m matched
	return &m, call(ctx, server, "/api/v1/series/count", url.Values{"match[]": match}, &m)
}

// call posts a form to the API and reads the data of the answer; into is nil where
// there is none.
func call(ctx context.Context, server, path string, q url.Values, into any) error {
	address := strings.TrimSuffix(server, "/") + path
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, address, strings.NewReader(q.Encode()))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("is the server running? %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode == http.StatusNoContent && into == nil {
		return nil
	}
	var a struct {
		Status string          `json:"status"`
		Error  string          `json:"error"`
		Data   json.RawMessage `json:"data"`
	}
	if err := json.NewDecoder(io.LimitReader(response.Body, answerMaxBytes)).Decode(&a); err != nil {
		return fmt.Errorf("%s: %s: not an answer of the API: %w", address, response.Status, err)
	}
	if a.Status != "success" {
		return errors.New(a.Error)
	}
	if err := json.Unmarshal(a.Data, into); err != nil {
		return fmt.Errorf("%s: answer: %w", address, err)
	}
	return nil
}
