package main

import (
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"carillon/figure"
	"carillon/object/measure"
)

func benchObjectCommand() *cobra.Command {
	var b benchmark
	cmd := &cobra.Command{
		Use:   "object",
		Short: "Measure how fast objects are kept and read, and whether any is lost",
		Long: `Write generated objects of 10 KB to stores and to three nodes of this build, and to JetStream, read
them through HTTP and from nginx, if that is installed; then kill, stop and replace nodes and flip bits in
their files while objects are written. What is read is compared with what was written. It takes about 3 minutes on free cores and
5 GB of disk, or less than a minute with --quick; files are removed at the end.
docs/benchmarks-object.md says what each figure is.`,
		Example: `  carillon bench object --quick
  carillon bench object --json --only writes,serve --dir /mnt/disk`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := os.Unsetenv(tokenVariable); err != nil { // the nodes that are started here have none
				return err
			}
			return b.run(cmd, objectNotes, func(dir string, progress func(string, uint64, uint64)) ([]figure.Figure, error) {
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

// benchObjectNodeCommand is what bench object starts as processes of their own.
func benchObjectNodeCommand() *cobra.Command {
	return &cobra.Command{
		Use:     measure.NodeVerb()[1] + " CONFIG",
		Short:   "A node that bench object measures",
		Example: `  carillon bench object`,
		Hidden:  true,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			return measure.ServeNode(ctx, args[0], logger(slog.LevelWarn))
		},
	}
}

const objectNotes = `
Writes are by 32 writers at once, times by turns, ratios the medians of turns. CPU seconds are those of
the server's process.
`
