package main

import (
	"github.com/spf13/cobra"

	"carillon/figure"
	"carillon/peer"
	"carillon/traffic/measure"
)

func benchIngestCommand() *cobra.Command {
	var b benchmark
	var recording string
	cmd := &cobra.Command{
		Use:   "ingest",
		Short: "Measure a server of this build under generated traffic, beside other servers",
		Long: `Send the metrics of a generated fleet to a server of this build, and the same to other
servers that are installed, one after the other: CPU time, memory, disk, and whether
each has exactly what was sent. All of them listen on free ports of loopback, with temporary
folders for their data that are removed at the end. docs/ingest.md says what each figure is.`,
		Example: `  carillon bench ingest --quick
  carillon bench ingest --json --only few,many --peers victoria-metrics`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if b.quick && !cmd.Flags().Changed("peers") {
				b.peers = []string{peer.Victoria}
			}
			return b.run(cmd, ingestNotes, func(dir string, progress func(string, uint64, uint64)) ([]figure.Figure, error) {
				return measure.Run(cmd.Context(), measure.Config{
					Dir: dir, Command: b.command, Peers: b.peers, Stages: b.only, Recording: recording, Scale: scaleOf(b, measure.Full, measure.Quick), Seed: b.seed, Progress: progress,
					Missing: b.missing,
				})
			})
		},
	}
	b.flags(cmd.Flags())
	b.dirFlag(cmd.Flags())
	b.peersFlag(cmd.Flags(), peer.Others(), "servers to compare with; with --quick "+peer.Victoria+", if not given")
	b.onlyFlag(cmd.Flags(), measure.Stages())
	cmd.Flags().StringVar(&recording, "recording", "", "also play this recording of remote write, see carillon bench record")
	return cmd
}

func benchQuantizeCommand() *cobra.Command {
	var b benchmark
	cmd := &cobra.Command{
		Use:   "quantize",
		Short: "Measure the alignment of points alone",
		Long: `Align the points of a million generated series to their segments, in batches, with no server
around: CPU time of one thread. The points that come out are compared with those that went in.`,
		Example: `  carillon bench quantize
  carillon bench quantize --quick --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return b.run(cmd, "", func(_ string, progress func(string, uint64, uint64)) ([]figure.Figure, error) {
				return measure.Quantize(cmd.Context(), measure.Config{Scale: scaleOf(b, measure.Full, measure.Quick), Seed: b.seed, Progress: progress})
			})
		},
	}
	b.flags(cmd.Flags())
	return cmd
}

const ingestNotes = `
CPU is user and system time of the server's process, from /proc, until everything it was sent is
in its files and it has ended. Generator and server share the machine. Every server was started again and
had to answer with the count and the sum of what was sent.
`
