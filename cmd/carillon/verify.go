package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"carillon/agent"
	"carillon/server"
)

func verifyCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "verify DIR",
		Short: "Check every checksum of a data directory or a backup",
		Long: `Read everything in a data directory and check every checksum, and that the parts
agree with each other: the page files of all tiers, manifests and deletes, the directory
of series, the location directory, the journal's messages and the feed's changes. The
server must not be running on it.

DIR may also be a backup, or a target of carillon backup, of which the newest is
checked; or the buffer of an agent. The exit status is 0 if all is well, 1 if anything
is damaged.`,
		Example: `  carillon verify ./carillon-data
  carillon verify /mnt/backups/carillon
  carillon verify ./carillon-agent`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir := args[0]
			var problems int
			var err error
			if _, missing := os.Stat(filepath.Join(dir, server.IdentityName)); errors.Is(missing, fs.ErrNotExist) && agent.IsQueue(dir) {
				problems, err = verifyBuffer(cmd.OutOrStdout(), dir)
			} else {
				problems, err = verifyData(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr(), dir)
			}
			if err == nil && problems > 0 {
				err = fmt.Errorf("%s is damaged", dir)
			}
			return err
		},
	}
}

func verifyData(ctx context.Context, out, progressOut io.Writer, dir string) (problems int, err error) {
	progress := newProgress(progressOut, logger(slog.LevelWarn))
	report, err := server.Verify(ctx, dir, progress.update)
	progress.close()
	if err != nil {
		return 0, err
	}
	for _, problem := range report.Problems {
		fmt.Fprintln(out, problem)
	}
	for _, path := range report.Strangers {
		fmt.Fprintf(out, "%s: no part of the data directory\n", path)
	}
	if report.Copied > 0 {
		fmt.Fprintf(out, "%d files of a backup, ", report.Copied)
	}
	fmt.Fprintf(out, "%d page files, %d pages, %d buckets, %d journal messages, %d series, %d locations, %d changes of them: %d problems\n",
		report.Files, report.Pages, report.Buckets, report.Messages, report.Series, report.Locations, report.Changes, len(report.Problems))
	return len(report.Problems), nil
}

func verifyBuffer(out io.Writer, dir string) (problems int, err error) {
	bodies := 0
	err = agent.VerifyQueue(dir, func(path string, err error) {
		bodies++
		if err != nil {
			problems++
			fmt.Fprintf(out, "%s: %v\n", path, err)
		}
	})
	fmt.Fprintf(out, "%d bodies of an agent: %d problems\n", bodies, problems)
	return problems, err
}
