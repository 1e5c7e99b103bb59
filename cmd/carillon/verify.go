package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"carillon/server"
)

func verifyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "verify DIR",
		Short: "Check every checksum of a data directory",
		Long: `Read everything in a data directory and check every checksum: the page files of
all tiers, the manifests, the journal's messages and the directory of series. The server must not be
running on it. The exit status is 0 if all is well, 1 if anything is damaged.`,
		Example: "  carillon verify ./carillon-data",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			progress := newProgress(cmd.ErrOrStderr(), logger(0))
			report, err := server.Verify(cmd.Context(), args[0], progress.update)
			progress.close()
			if err != nil {
				return err
			}
			w := cmd.OutOrStdout()
			for _, problem := range report.Problems {
				fmt.Fprintln(w, problem)
			}
			fmt.Fprintf(w, "%d page files, %d pages, %d buckets, %d journal messages, %d series: %d problems\n",
				report.Files, report.Pages, report.Buckets, report.Messages, report.Series, len(report.Problems))
			if len(report.Problems) > 0 {
				return fmt.Errorf("%s is damaged", args[0])
			}
			return nil
		},
	}
	return cmd
}
