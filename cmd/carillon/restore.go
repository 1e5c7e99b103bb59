package main

import (
	"fmt"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"carillon/server"
)

func restoreCommand() *cobra.Command {
	var c server.RestoreConfig
	var archive string
	cmd := &cobra.Command{
		Use:   "restore BACKUP DIR | restore --archive URL DIR",
		Short: "Make a data directory of a backup, or of an archive",
		Long: `Copy a backup to DIR, which must be empty or not there yet, and check every
checksum on the way. Then carillon serve --data DIR goes on with what the server had
when it was backed up. BACKUP is one backup, or a target of carillon backup, of which the
newest is taken. With --archive it is the newest copy that carillon serve --archive URL has made.

A restore that was interrupted leaves a directory that nothing serves from; run it
again, and it goes on.`,
		Example: `  carillon restore /mnt/backups/carillon ./carillon-data
  carillon restore /mnt/backups/carillon/20260304T050607.000Z /var/lib/carillon
  carillon restore --archive s3://backups/carillon /var/lib/carillon`,
		Args: func(cmd *cobra.Command, args []string) error {
			if archive != "" {
				return cobra.ExactArgs(1)(cmd, args)
			}
			return cobra.ExactArgs(2)(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			c.Backup, c.Dir = args[0], args[len(args)-1]
			c.Logger = logger(slog.LevelWarn)
			progress := newProgress(cmd.ErrOrStderr(), c.Logger)
			c.Progress = progress.update
			var restored server.Restored
			var err error
			if archive != "" {
				restored, err = server.RestoreArchive(cmd.Context(), c, archive, os.Getenv(tokenVariable), c.Logger)
			} else {
				restored, err = server.Restore(cmd.Context(), c)
			}
			progress.close()
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s is %s of %s: %d files, %s; journal position %d\n", c.Dir, restored.Backup,
				restored.Made.Format("2006-01-02 15:04:05 MST"), len(restored.Files), byteSize(restored.Bytes()), restored.Position)
			return nil
		},
	}
	cmd.Flags().StringVar(&archive, "archive", "", "URL of an archive, as of carillon serve --archive")
	cmd.Flags().BoolVar(&c.ExternalJournal, "external-journal", false, "the journal is on an external NATS server, which still has what was not sealed: begin none")
	return cmd
}
