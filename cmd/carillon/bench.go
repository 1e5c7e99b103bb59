package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"carillon/directory/measure"
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
  carillon bench directory --quick --json`,
	}
	cmd.AddCommand(benchDirectoryCommand())
	return cmd
}

func benchDirectoryCommand() *cobra.Command {
	var (
		dir     string
		entries int
		asJSON  bool
		quick   bool
		seed    uint64
	)
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
			scale := measure.Full()
			if quick {
				scale = measure.Quick()
			}
			if cmd.Flags().Changed("entries") {
				if entries < smallestBench {
					return fmt.Errorf("--entries %d: want at least %d, so that they do not fit Pebble's cache", entries, smallestBench)
				}
				scale.Entries = entries
			}
			figures, err := measureDirectory(cmd, dir, measure.Config{Scale: scale, Seed: seed})
			if err != nil {
				return err
			}
			if asJSON {
				return printFigures(cmd.OutOrStdout(), figures)
			}
			return tableFigures(cmd.OutOrStdout(), scale, figures)
		},
	}
	cmd.Flags().StringVar(&dir, "dir", os.TempDir(), "where to make a temporary folder for the files")
	cmd.Flags().IntVar(&entries, "entries", measure.Full().Entries, "of the directory; with --quick an eighth, if not given")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON object a figure and line")
	cmd.Flags().BoolVar(&quick, "quick", false, "the same figures in less than 50 seconds, from less of everything")
	cmd.Flags().Uint64Var(&seed, "seed", 1, "of the random names and orders")
	return cmd
}

func measureDirectory(cmd *cobra.Command, dir string, config measure.Config) (figures []measure.Figure, err error) {
	config.Dir, err = os.MkdirTemp(dir, "carillon-bench-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(config.Dir)) }()
	bar := newProgress(cmd.ErrOrStderr(), logger(slog.LevelInfo))
	defer bar.close()
	config.Progress = bar.update
	config.Logger = logger(slog.LevelWarn)
	return measure.Run(cmd.Context(), config)
}

func printFigures(w io.Writer, figures []measure.Figure) error {
	encoder := json.NewEncoder(w)
	for _, f := range figures {
		if err := encoder.Encode(f); err != nil {
			return err
		}
	}
	return nil
}

func tableFigures(w io.Writer, scale measure.Scale, figures []measure.Figure) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "FIGURE\tVALUE\tGOAL\tFLOOR\t\tNOTE")
	for _, f := range figures {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", f.ID, amount(f.Value, f.Unit), amount(f.Goal, f.Unit), amount(f.Floor, f.Unit), verdict(f), f.Note)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, `
%d entries; medians of %d rounds. Seconds are CPU seconds of one thread, to which all look-ups
were bound; background work of Pebble and of the Go runtime ran on other ones. Files
were in the system's page cache as far as it had room, so that a read that misses
Pebble's cache still seldom waits for a disk.
cuckoo.time_vs_fastest and cuckoo.bytes_vs_smallest, against other tables, come from the module in bench/.
`, scale.Entries, scale.Rounds)
	return err
}

// amount is a number for people; 0 is none.
func amount(v float64, unit string) string {
	switch {
	case v == 0:
		return ""
	case v >= 1e6:
		return strings.TrimSpace(fmt.Sprintf("%.3g M %s", v/1e6, unit))
	case v >= 1e3:
		return strings.TrimSpace(fmt.Sprintf("%.3g k %s", v/1e3, unit))
	}
	return strings.TrimSpace(fmt.Sprintf("%.4g %s", v, unit))
}

// verdict compares with goal and floor, where there are any.
func verdict(f measure.Figure) string {
	switch {
	case f.Goal == 0:
		return ""
	case f.Value >= f.Goal:
		return "goal met"
	case f.Value >= f.Floor:
		return "floor met"
	}
	return "BELOW FLOOR"
}
