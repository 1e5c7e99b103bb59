package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"carillon/directory/measure"
	"carillon/figure"
)

// smallestBench is how many entries take more room than Pebble's cache by far.
const smallestBench = 100_000

func benchCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure this build on this machine",
		Long: `Measure parts of Carillon on this machine, with real files, and check every answer
while at it. The figures are those of the documentation, under the same names.`,
		Example: `  carillon bench directory
  carillon bench ingest --quick --json
  carillon bench store --quick
  carillon bench cache --quick
  carillon bench object --quick
  carillon bench record monday.rec`,
	}
	cmd.AddCommand(benchDirectoryCommand(), benchIngestCommand(), benchStoreCommand(), benchCacheCommand(), benchObjectCommand(), benchObjectNodeCommand(), benchQuantizeCommand(), benchRecordCommand(), benchReplayCommand())
	return cmd
}

func benchDirectoryCommand() *cobra.Command {
	var b benchmark
	var entries int
	cmd := &cobra.Command{
		Use:   "directory",
		Short: "Measure look-ups of the directory, cached and not, and of the old design",
		Long: `Fill a directory of locations with random names, on disk, and measure look-ups: read
through to Pebble, answered by the caches, and in the design that the directory
replaces. For 2 million entries it takes about 1 GB of memory and 0.6 GB of disk; files are
removed at the end.`,
		Example: `  carillon bench directory --entries 2000000 --json
  carillon bench directory --quick --dir /mnt/disk`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			scale := scaleOf(b, measure.Full, measure.Quick)
			if cmd.Flags().Changed("entries") {
				if entries < smallestBench {
					return fmt.Errorf("--entries %d: want at least %d, so that they do not fit Pebble's cache", entries, smallestBench)
				}
				scale.Entries = entries
			}
			return b.run(cmd, directoryNotes(scale), func(dir string, progress func(string, uint64, uint64)) ([]figure.Figure, error) {
				return measure.Run(cmd.Context(), measure.Config{
					Dir: dir, Scale: scale, Seed: b.seed, Logger: logger(slog.LevelWarn), Progress: progress,
				})
			})
		},
	}
	b.flags(cmd.Flags())
	b.dirFlag(cmd.Flags())
	cmd.Flags().IntVar(&entries, "entries", measure.Full().Entries, "of the directory; with --quick an eighth, if not given")
	return cmd
}

func directoryNotes(scale measure.Scale) string {
	return fmt.Sprintf(`
%d entries; medians of %d rounds. Seconds are CPU seconds of one thread, to which all look-ups
were bound; background work of Pebble and of the Go runtime ran on other ones. Files
were in the system's page cache as far as it had room, so that a read that misses
Pebble's cache still seldom waits for a disk.
cuckoo.time_vs_fastest and cuckoo.bytes_vs_smallest, against other tables, come from the module in bench/.
`, scale.Entries, scale.Rounds)
}

// benchmark is what the verbs that measure have in common.
type benchmark struct {
	dir     string
	asJSON  bool
	quick   bool
	seed    uint64
	peers   []string // to compare with
	only    []string // stages
	command []string // that runs this build
	missing func(peer string)
}

func (b *benchmark) flags(f *pflag.FlagSet) {
	f.BoolVar(&b.asJSON, "json", false, "print a JSON object a figure and line")
	f.BoolVar(&b.quick, "quick", false, "the same figures in less than 50 seconds, from less of everything")
	f.Uint64Var(&b.seed, "seed", 1, "of all that is random")
}

func (b *benchmark) dirFlag(f *pflag.FlagSet) {
	f.StringVar(&b.dir, "dir", os.TempDir(), "where to make a temporary folder for the files")
}

func (b *benchmark) peersFlag(f *pflag.FlagSet, peers []string, usage string) {
	f.StringSliceVar(&b.peers, "peers", peers, usage)
}

func (b *benchmark) onlyFlag(f *pflag.FlagSet, stages []string) {
	f.StringSliceVar(&b.only, "only", nil, "stages to run, of "+strings.Join(stages, ", ")+"; all if not given")
}

// scaleOf is the scale that was asked for.
func scaleOf[S any](b benchmark, full, quick func() S) S {
	if b.quick {
		return quick()
	}
	return full()
}

// run measures in a folder of its own and prints the figures, also those that were there
// before an error; notes go below the table.
func (b *benchmark) run(cmd *cobra.Command, notes string, measure func(dir string, progress func(string, uint64, uint64)) ([]figure.Figure, error)) (err error) {
	executable, err := os.Executable()
	if err != nil {
		return err
	}
	b.command = []string{executable}
	b.missing = func(peer string) {
		fmt.Fprintf(cmd.ErrOrStderr(), "%s is not installed: what compares with it is not measured\n", peer)
	}
	dir, err := os.MkdirTemp(b.dir, "carillon-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	bar := newProgress(cmd.ErrOrStderr(), logger(slog.LevelInfo))
	figures, err := measure(dir, bar.update)
	bar.close()
	out := cmd.OutOrStdout()
	switch {
	case b.asJSON:
		err = errors.Join(err, figure.JSON(out, figures))
	case len(figures) > 0:
		err = errors.Join(err, figure.Table(out, figures))
		_, notesErr := io.WriteString(out, notes)
		err = errors.Join(err, notesErr)
	}
	return err
}
