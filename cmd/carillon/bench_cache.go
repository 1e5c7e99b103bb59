package main

import (
	"github.com/spf13/cobra"

	"carillon/cache/measure"
	"carillon/figure"
)

func benchCacheCommand() *cobra.Command {
	var b benchmark
	cmd := &cobra.Command{
		Use:   "cache",
		Short: "Measure what a GET of the cache costs, in the kernel and in user space, beside memcached",
		Long: `Start caches of this build and memcached in a network namespace, and send them the same requests from
another one, over a veth pair: processor time of the whole machine a GET, replies a second, hit
ratio and memory. Requests are made inside the kernel, so that making them is not what is
measured; what they cost is measured alone and taken off. Replies are compared with what was stored.

It needs root, Linux 6.6 or later and iproute2, and takes about 6 minutes, or less than one with --quick.
Nothing is left behind, however it ends. docs/benchmarks-cache.md says what each figure is.`,
		Example: `  carillon bench cache --quick
  carillon bench cache --json --only udp,mixes`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return b.run(cmd, cacheNotes, func(dir string, progress func(string, uint64, uint64)) ([]figure.Figure, error) {
				return measure.Run(cmd.Context(), measure.Config{
					Dir: dir, Command: b.command, Stages: b.only, Scale: scaleOf(b, measure.Full, measure.Quick), Seed: b.seed, Progress: progress,
					Missing: b.missing,
				})
			})
		},
	}
	b.flags(cmd.Flags())
	b.onlyFlag(cmd.Flags(), measure.Stages())
	return cmd
}

const cacheNotes = `
CPU of a GET is that of all processes that take part and of the kernel's threads for interrupts, less what
generator and sink take alone; medians of rounds in turns. By /proc/stat is the time of the whole
machine that was not idle, less that of processes that do not take part: the same, but for noise.
`
