package main

import (
	"log/slog"

	"github.com/spf13/cobra"

	"carillon/figure"
	"carillon/store/measure"
)

func benchStoreCommand() *cobra.Command {
	var b benchmark
	cmd := &cobra.Command{
		Use:   "store",
		Short: "Measure what points take on disk, what work they make there, and how fast they are read",
		Long: `Feed generated points to stores of this build, at the times of years, and to a server of this
build and another one that is installed: bytes on disk, what is written again, memory, time of
queries, and what is lost when the server is killed. Everything is read back and compared. It
takes about 25 minutes on free cores and 2 GB of disk, or less than a minute with --quick; files are
removed at the end. docs/benchmarks-store.md says what each figure is.`,
		Example: `  carillon bench store --quick
  carillon bench store --json --only bytes,query --peers victoria-metrics`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return b.run(cmd, storeNotes, func(dir string, progress func(string, uint64, uint64)) ([]figure.Figure, error) {
				return measure.Run(cmd.Context(), measure.Config{
					Dir: dir, Command: b.command, Peers: b.peers, Stages: b.only, Scale: scaleOf(b, measure.Full, measure.Quick), Seed: b.seed, Logger: logger(slog.LevelWarn), Progress: progress,
					Missing: b.missing,
				})
			})
		},
	}
	b.flags(cmd.Flags())
	b.dirFlag(cmd.Flags())
	b.peersFlag(cmd.Flags(), measure.Peers(), "servers to compare with")
	b.onlyFlag(cmd.Flags(), measure.Stages())
	return cmd
}

const storeNotes = `
Points are 40 % rising counters, 30 % walks with two decimals, 20 % constants and 10 % noise with three
decimals, one every 10 s. Of another server only the files of points count, after it was asked to
merge them. Queries are timed from the request to the last byte of the answer, in turns, with no
cache of answers.
`
