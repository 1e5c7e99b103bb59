package main

import (
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"

	"carillon/server"
)

func restoreCommand() *cobra.Command {
	var c server.RestoreConfig
	cmd := &cobra.Command{
		Use:   "restore BACKUP DIR",
		Short: "Make a data directory of a backup",
		Long: `Copy a backup to DIR, which must be empty or not there yet, and check every
checksum on the way. Then carillon serve --data DIR goes on with what the server had
when it was backed up. BACKUP is one backup, or a target of carillon backup, of which the
newest is taken.

A restore that was interrupted leaves a directory that nothing serves from; run it
again, and it goes on.`,
		Example: `  carillon restore /mnt/backups/carillon ./carillon-data
  carillon restore /mnt/backups/carillon/20260304T050607.000Z /var/lib/carillon`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			c.Backup, c.Dir = args[0], args[1]
			c.Logger = logger(slog.LevelWarn)
			progress := newProgress(cmd.ErrOrStderr(), c.Logger)
			c.Progress = progress.update
			restored, err := server.Restore(cmd.Context(), c)
			progress.close()
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s is %s of %s: %d files, %s; journal position %d\n", c.Dir, restored.Backup,
				restored.Made.Format("2006-01-02 15:04:05 MST"), len(restored.Files), byteSize(restored.Bytes()), restored.Position)
			return nil
		},
	}
	cmd.Flags().BoolVar(&c.ExternalJournal, "external-journal", false, "the journal is on an external NATS server, which still has what was not sealed: begin none")
	return cmd
}
