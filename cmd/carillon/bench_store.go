package main

import (
	"fmt"
	"log/slog"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"carillon/figure"
	"carillon/store/measure"
)

func benchStoreCommand() *cobra.Command {
	var b benchmark
	var peers, only []string
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
			executable, err := os.Executable()
			if err != nil {
				return err
			}
			scale := measure.Full()
			if b.quick {
				scale = measure.Quick()
			}
			return b.run(cmd, storeNotes, func(dir string, progress func(string, uint64, uint64)) ([]figure.Figure, error) {
				return measure.Run(cmd.Context(), measure.Config{
					Dir: dir, Command: []string{executable}, Peers: peers, Stages: only, Scale: scale, Seed: b.seed, Logger: logger(slog.LevelWarn), Progress: progress,
					Missing: func(peer string) {
						fmt.Fprintf(cmd.ErrOrStderr(), "%s is not installed: what compares with it is not measured\n", peer)
					},
				})
			})
		},
	}
	b.flags(cmd.Flags())
	b.dirFlag(cmd.Flags())
	cmd.Flags().StringSliceVar(&peers, "peers", measure.Peers(), "servers to compare with")
	cmd.Flags().StringSliceVar(&only, "only", nil, "stages to run, of "+strings.Join(measure.Stages(), ", ")+"; all if not given")
	return cmd
}

const storeNotes = `
Points are 40 % rising counters, 30 % walks with two decimals, 20 % constants and 10 % noise with three
decimals, one every 10 s. Of another server only the files of points count, after it was asked to
merge them. Queries are timed from the request to the last byte of the answer, in turns, with no
cache of answers.
`
