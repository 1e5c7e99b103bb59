// Command carillon is the metrics server, its host agent and its tools in one
// binary. This package holds flags and verbs only; the work is done by the
// packages it wires up.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	os.Exit(run(os.Args[1:]))
}

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "carillon",
		Short: "A metrics server in one binary",
		Long: `Carillon takes in every measurement a fleet sends, aligns each to its time
segment, keeps every counter at several resolutions for years, and answers PromQL.

Start here:   carillon serve
then open the address it prints.`,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(serveCommand(), agentCommand(), queryCommand(), deleteCommand(), retentionCommand(), directoryCommand(), verifyCommand(), dumpCommand(), statsCommand(), backupCommand(), restoreCommand(), exportCommand(), importCommand(), cacheCommand(), objectCommand(), benchCommand(), versionCommand())
	refuseUnknown(root)
	return root
}

// refuseUnknown makes a verb that only has others below it show its help, and fail if it is given
// anything that is none of them.
func refuseUnknown(cmd *cobra.Command) {
	for _, below := range cmd.Commands() {
		refuseUnknown(below)
	}
	if !cmd.Runnable() && cmd.HasSubCommands() {
		cmd.Args = cobra.NoArgs
		cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	}
}

func run(args []string) int {
	root := rootCommand()
	root.SetArgs(args)
	ctx, stop := untilSignal(context.Background())
	defer stop()
	if err := root.ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "carillon:", err)
		return 1
	}
	return 0
}

// untilSignal ends the context at the first SIGINT or SIGTERM, and the process
// at the second: what is acknowledged is safe either way.
func untilSignal(parent context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(parent)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		select {
		case <-signals:
			cancel()
		case <-parent.Done():
			return
		}
		<-signals
		fmt.Fprintln(os.Stderr, "carillon: second signal: quitting at once; the journal has what was acknowledged")
		os.Exit(130)
	}()
	return ctx, func() {
		signal.Stop(signals)
		cancel()
	}
}

// logger writes human-readable lines to standard error.
func logger(level slog.Level) *slog.Logger {
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
}

// levelFlag makes slog.Level a flag.
type levelFlag struct{ slog.Level }

func (l *levelFlag) Set(s string) error { return l.UnmarshalText([]byte(s)) }
func (l *levelFlag) Type() string       { return "level" }
