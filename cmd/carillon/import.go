package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"carillon/importer"
	"carillon/importer/istatd"
	"carillon/importer/openmetrics"
	"carillon/importer/remotewrite"
	"carillon/importer/tsdb"
	"carillon/importer/whisper"
	"carillon/server"
	"carillon/store"
)

// importSettings is what the flags of `carillon import` say.
type importSettings struct {
	server.ImportConfig
	tiers   string
	json    bool
	notices []string
}

func importCommand() *cobra.Command {
	var s importSettings
	cmd := &cobra.Command{
		Use:   "import",
		Short: "Take in the history that other systems have kept",
		Long: `Read what istatd, Graphite or Prometheus have on disk, or text files and dumps, into a
data directory. The server must not be running on it: stop it, import, start it again. A
directory that is not there yet is made, with --tiers and --partitions.

An import that is interrupted, even by kill -9, is run again and goes on where it was, and
nothing is taken twice. Run once more after its end it takes what has come since. What
cannot be taken is counted, with the reason.`,
		Example: `  carillon import istatd /var/db/istatd --data /var/lib/carillon
  carillon import whisper /var/lib/graphite/whisper
  carillon import prometheus /var/lib/prometheus/metrics2
  carillon import openmetrics week.om
  carillon import remote-write /mnt/export/*.rw`,
	}
	f := cmd.PersistentFlags()
	f.StringVar(&s.Data, "data", "./carillon-data", "the data directory, which no server may be using")
	f.StringVar(&s.tiers, "tiers", store.DefaultTiers, "the tiers of the server: what is older than a tier's retention is left out of it")
	f.IntVar(&s.Partitions, "partitions", 8, "partitions, if the data directory is new")
	f.Var((*sizeFlag)(&s.DiskMax), "disk-max", "most that the data directory may take, as the server has it; 0 for no bound")
	f.StringVar(&s.JournalURL, "journal-url", "", "external NATS server of the journal, if the server has one")
	f.BoolVar(&s.json, "json", false, "report the counts as JSON")
	cmd.AddCommand(s.istatd(), s.whisper(), s.prometheus(), s.openMetrics(), s.remoteWrite())
	return cmd
}

func (s *importSettings) istatd() *cobra.Command {
	return &cobra.Command{
		Use:   "istatd DIR",
		Short: "Import the counters of an istatd",
		Long: `Read the folder that istatd was started with: a folder for each counter, with a file for
each interval. Each time comes from the finest file that has it. Counters of events become
events, as if they had been sent here; the others are gauges. Seasonal files are left out.`,
		Example: `  carillon import istatd /var/db/istatd --data /var/lib/carillon`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.catalogue(cmd, func() (importer.Catalogue, io.Closer, error) {
				d, err := istatd.Open(args[0], time.Now(), s.Ledger)
				return d, io.NopCloser(nil), err
			})
		},
	}
}

func (s *importSettings) whisper() *cobra.Command {
	return &cobra.Command{
		Use:   "whisper DIR",
		Short: "Import the whisper files of a Graphite",
		Long: `Read all .wsp files below a folder. Their paths are the names of the metrics, tags
included. Each time comes from the finest archive that has it.`,
		Example: `  carillon import whisper /var/lib/graphite/whisper --tiers 10s:10d,1m:90d,1h:6y`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.catalogue(cmd, func() (importer.Catalogue, io.Closer, error) {
				d, err := whisper.Open(args[0], time.Now(), s.Ledger)
				return d, io.NopCloser(nil), err
			})
		},
	}
}

func (s *importSettings) prometheus() *cobra.Command {
	return &cobra.Command{
		Use:   "prometheus DIR",
		Short: "Import the blocks of a Prometheus",
		Long: `Read the blocks in the folder that Prometheus, or a Thanos store, keeps its data in, or in
a snapshot. Nothing is written there. Samples are taken exactly, staleness markers too;
native histograms are not. What Prometheus has not yet made blocks of, some hours, is in its
log: a snapshot has it.`,
		Example: `  carillon import prometheus /var/lib/prometheus/metrics2
  curl -XPOST http://localhost:9090/api/v1/admin/tsdb/snapshot    # Prometheus has --web.enable-admin-api
  carillon import prometheus /var/lib/prometheus/metrics2/snapshots/20260304T050607Z-1a2b3c`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.catalogue(cmd, func() (importer.Catalogue, io.Closer, error) {
				b, err := tsdb.Open(args[0], s.Ledger)
				if err == nil && b.Log() {
					s.notices = append(s.notices, "there is a write-ahead log beside the blocks, and what is only in it was not read: import a snapshot of Prometheus to have it, too")
				}
				return b, b, err
			})
		},
	}
}

func (s *importSettings) openMetrics() *cobra.Command {
	return &cobra.Command{
		Use:   "openmetrics FILE...",
		Short: "Import OpenMetrics or Prometheus text with times",
		Long: `Read text files in which each sample has its time: OpenMetrics, as carillon export writes
it, or what does not end with # EOF as the older text format of Prometheus. A file is
known by its contents: it is taken once, wherever it lies.`,
		Example: `  carillon import openmetrics week.om
  carillon import openmetrics /mnt/export/*.om --data /var/lib/carillon`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.streams(cmd, args, func(path string) (importer.Stream, io.Closer, error) {
				f, err := openmetrics.Open(path, s.Ledger)
				return f, f, err
			})
		},
	}
}

func (s *importSettings) remoteWrite() *cobra.Command {
	return &cobra.Command{
		Use:   "remote-write FILE...",
		Short: "Import dumps of remote-write bodies",
		Long: `Read dumps of remote-write bodies, as carillon export --format remote-write writes them. A
file is known by its contents: it is taken once, wherever it lies.`,
		Example: `  carillon import remote-write /mnt/export/*.rw --data /var/lib/carillon`,
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.streams(cmd, args, func(path string) (importer.Stream, io.Closer, error) {
				f, err := remotewrite.Open(path, s.Ledger)
				return f, f, err
			})
		},
	}
}

// catalogue imports a catalogue. It is opened first: if there is none, no data directory is
// made.
func (s *importSettings) catalogue(cmd *cobra.Command, open func() (importer.Catalogue, io.Closer, error)) error {
	s.Ledger = importer.NewLedger()
	c, closer, err := open()
	if err != nil {
		return err
	}
	err = s.run(cmd, func(ctx context.Context, im *importer.Importer) error { return im.Catalogue(ctx, c) })
	return errors.Join(err, closer.Close())
}

// streams imports one file after the other, if all of them can be opened.
func (s *importSettings) streams(cmd *cobra.Command, paths []string, open func(path string) (importer.Stream, io.Closer, error)) error {
	s.Ledger = importer.NewLedger()
	for _, path := range paths {
		_, closer, err := open(path)
		if err != nil {
			return err
		}
		if err := closer.Close(); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	return s.run(cmd, func(ctx context.Context, im *importer.Importer) error {
		for _, path := range paths {
			stream, closer, err := open(path)
			if err != nil {
				return err
			}
			if err := errors.Join(im.Stream(ctx, stream), closer.Close()); err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
		}
		return nil
	})
}

// run opens the data directory for some work, and reports what it did, also if it ended
// early.
func (s *importSettings) run(cmd *cobra.Command, work func(context.Context, *importer.Importer) error) error {
	var err error
	if s.Tiers, err = store.ParseTiers(s.tiers); err != nil {
		return fmt.Errorf("--tiers: %w", err)
	}
	s.Logger = logger(slog.LevelWarn)
	progress := newProgress(cmd.ErrOrStderr(), s.Logger)
	s.Progress = progress.update
	var counts *importer.Counts
	err = server.Import(cmd.Context(), s.ImportConfig, func(ctx context.Context, im *importer.Importer) error {
		err := work(ctx, im)
		taken := im.Counts()
		counts = &taken
		return err
	})
	progress.close()
	if errors.Is(err, context.Canceled) {
		err = fmt.Errorf("interrupted; run it again, and it goes on: %w", err)
	}
	if counts != nil {
		err = errors.Join(err, s.report(cmd.OutOrStdout(), *counts))
	}
	return err
}

// report says what was taken, and what was not.
func (s *importSettings) report(w io.Writer, counts importer.Counts) error {
	refusals := s.Ledger.Refusals()
	if s.json {
		return json.NewEncoder(w).Encode(struct {
			importer.Counts
			Refused []importer.Refusal `json:"refused"`
			Notices []string           `json:"notices,omitempty"`
		}{counts, refusals, s.notices})
	}
	fmt.Fprintf(w, "%d series, %d samples in %d buckets\n", counts.Series, counts.Samples, counts.Buckets)
	for _, r := range refusals {
		fmt.Fprintf(w, "%d %s", r.Count, r.Why)
		if r.Example != "" {
			fmt.Fprintf(w, " (%s)", r.Example)
		}
		fmt.Fprintln(w)
	}
	for _, notice := range s.notices {
		fmt.Fprintln(w, notice)
	}
	return nil
}
