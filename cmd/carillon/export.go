package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/prometheus/common/model"
	"github.com/spf13/cobra"

	"carillon/export"
	"carillon/server"
)

// exportSettings is what the flags of `carillon export` say.
type exportSettings struct {
	url, data    string
	from, to     string
	tier, format string
	out          string
	every        string
	json         bool
}

func exportCommand() *cobra.Command {
	var s exportSettings
	cmd := &cobra.Command{
		Use:   "export SELECTOR... --from TIME",
		Short: "Write series to files that others read",
		Long: `Write what a server, or a data directory that no server uses, has of some series: as
OpenMetrics text, as a dump of remote-write bodies, or as JSON lines with whole buckets.

Without --out everything goes to standard output. With it, DIR gets a file for each
stretch of --every, named after the times that it covers. A file that has its name is
complete; so an export that was interrupted is run again and goes on with the next one, or
elsewhere with the --from that it names.

TIME is RFC 3339, seconds since the epoch, or how far back from now, like 36h or 7d.`,
		Example: `  carillon export '{job="node"}' --from 7d > week.om
  carillon export 'host_load1' --from 2026-01-01T00:00:00Z --to 2026-02-01T00:00:00Z --format json --out january
  carillon export '{__name__=~".+"}' --from 365d --tier 1h --format remote-write --out all --data ./carillon-data`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, selectors []string) error {
			x, err := s.exporting(selectors, time.Now())
			if err != nil {
				return err
			}
			x.progress = newProgress(cmd.ErrOrStderr(), logger(slog.LevelWarn))
			x.standard = cmd.OutOrStdout()
			if s.data != "" {
				err = withOffline(cmd.Context(), s.data, func(ctx context.Context, url string) error {
					x.url = url
					return x.run(ctx)
				})
			} else {
				err = x.run(cmd.Context())
			}
			x.progress.close()
			if err != nil {
				return err
			}
			return s.report(cmd.ErrOrStderr(), x)
		},
	}
	f := cmd.Flags()
	f.StringVar(&s.url, "url", "http://127.0.0.1:9480", "the server")
	f.StringVar(&s.data, "data", "", "read this data directory, which no server may be using; it is opened as a server would")
	f.StringVar(&s.from, "from", "", "export what is not older")
	f.StringVar(&s.to, "to", "0s", "export what is older; a segment belongs to where it starts")
	f.StringVar(&s.tier, "tier", "", "resolution of the tier, like 5m; empty for the finest")
	f.StringVar(&s.format, "format", "openmetrics", export.Formats)
	f.StringVar(&s.out, "out", "", "write files into this directory")
	f.StringVar(&s.every, "every", "1d", "how much time a file of --out covers")
	f.BoolVar(&s.json, "json", false, "report the counts as JSON")
	cmd.MarkFlagsMutuallyExclusive("url", "data")
	return cmd
}

// exporting checks the settings.
func (s *exportSettings) exporting(selectors []string, now time.Time) (*exporting, error) {
	x := &exporting{url: s.url, selectors: selectors, tier: s.tier, format: s.format, dir: s.out}
	if _, err := export.New(s.format); err != nil {
		return nil, fmt.Errorf("--format: %w", err)
	}
	if s.from == "" {
		return nil, fmt.Errorf("--from: say from when, like 7d or %s", now.UTC().Format(time.RFC3339))
	}
	var err error
	if x.from, err = parseMoment(s.from, now); err != nil {
		return nil, fmt.Errorf("--from: %w", err)
	}
	if x.to, err = parseMoment(s.to, now); err != nil {
		return nil, fmt.Errorf("--to: %w", err)
	}
	if !x.from.Before(x.to) {
		return nil, fmt.Errorf("--to %s: want a time after --from %s", x.to.UTC().Format(time.RFC3339), x.from.UTC().Format(time.RFC3339))
	}
	every, err := model.ParseDuration(s.every)
	if err != nil || time.Duration(every) < time.Minute {
		return nil, fmt.Errorf("--every %q: want a duration of a minute or more", s.every)
	}
	x.every = time.Duration(every)
	return x, nil
}

// withOffline serves a data directory to this process alone while work is done.
func withOffline(ctx context.Context, dir string, work func(ctx context.Context, url string) error) error {
	c, err := server.Offline(dir, logger(slog.LevelWarn))
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	ready := make(chan string, 1)
	c.Version = version()
	c.Progress = func(string, uint64, uint64) {}
	c.Ready = func(b server.Bound) { ready <- b.URL }
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx, c) }()
	select {
	case err := <-ended:
		return err
	case url := <-ready:
		err := work(ctx, url)
		stop()
		if closing := <-ended; err == nil {
			err = closing
		}
		return err
	}
}

func (s *exportSettings) report(w io.Writer, x *exporting) error {
	c := &x.counts
	if s.json {
		return json.NewEncoder(w).Encode(struct {
			Files   int `json:"files"`
			Skipped int `json:"skipped"`
			export.Counts
		}{x.files, x.skipped, *c})
	}
	if x.dir != "" {
		fmt.Fprintf(w, "%d files, %d more were there already; ", x.files, x.skipped)
	}
	fmt.Fprintf(w, "%d series, %d buckets, %d samples\n", c.Series, c.Buckets, c.Samples)
	for _, left := range []struct {
		n    uint64
		what string
	}{
		{c.Summed, "samples stand between the first and the last of their segment, and are only in its sums (--format json has those)"},
		{c.Stale, "staleness markers were left out: the format has none"},
		{c.Nameless, "series were left out: they have no name"},
	} {
		if left.n > 0 {
			fmt.Fprintf(w, "%d %s\n", left.n, left.what)
		}
	}
	return nil
}
