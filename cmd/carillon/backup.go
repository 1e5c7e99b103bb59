package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"carillon/backup"
	"carillon/server"
)

// refusalMaxBytes is how much of a server's refusal is shown.
const refusalMaxBytes = 4 << 10

func backupCommand() *cobra.Command {
	var url string
	var request server.BackupRequest
	cmd := &cobra.Command{
		Use:   "backup TARGET",
		Short: "Back up a running server",
		Long: `Back up a running server into a folder of its own in TARGET, named after the time.
The server goes on working. Everything that was acknowledged before is in the backup.

Files that never change are linked: those of the data directory where TARGET is on
the same file system, elsewhere those of TARGET's newest backup; the rest is copied. So
each backup is whole and each but the first takes little room. A backup that is
interrupted is none, and the next run goes on with what it copied.

The server must be on this machine: it is the one to write the files.`,
		Example: `  carillon backup /mnt/backups/carillon
  carillon backup /mnt/backups/carillon --keep 7`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			if request.Dir, err = filepath.Abs(args[0]); err != nil {
				return err
			}
			if request.Keep < 0 {
				return fmt.Errorf("--keep %d: want 0 or more", request.Keep)
			}
			progress := newProgress(cmd.ErrOrStderr(), logger(slog.LevelWarn))
			made, err := requestBackup(cmd.Context(), url, request, progress)
			progress.close()
			if err != nil {
				return err
			}
			printBackup(cmd.OutOrStdout(), made)
			return nil
		},
	}
	cmd.Flags().StringVar(&url, "url", "http://127.0.0.1:9480", "the server")
	cmd.Flags().IntVar(&request.Keep, "keep", 0, "remove all but so many backups of TARGET, the newest; 0 for none")
	return cmd
}

// requestBackup has a server make a backup. That ends when ctx does.
func requestBackup(ctx context.Context, url string, request server.BackupRequest, progress *progress) (*backup.Made, error) {
	body, err := json.Marshal(request)
	if err != nil {
		return nil, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(url, "/")+server.BackupPath, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, fmt.Errorf("is the server running? %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, refusal(response)
	}
	for lines := json.NewDecoder(response.Body); ; {
		var line server.BackupLine
		if err := lines.Decode(&line); err != nil {
			return nil, fmt.Errorf("the backup was interrupted, run it again: %w", err)
		}
		switch {
		case line.Error != "":
			return nil, errors.New(line.Error)
		case line.Result != nil:
			return line.Result, nil
		case line.Total > 0:
			progress.update(line.Stage, uint64(line.Done), uint64(line.Total))
		}
	}
}

// refusal is the error of an answer that is not OK.
func refusal(response *http.Response) error {
	text, err := io.ReadAll(io.LimitReader(response.Body, refusalMaxBytes))
	return errors.Join(fmt.Errorf("%s: %s: %s", response.Request.URL, response.Status, bytes.TrimSpace(text)), err)
}

func printBackup(w io.Writer, made *backup.Made) {
	for _, dir := range made.Removed {
		fmt.Fprintln(w, "removed", dir)
	}
	fmt.Fprintf(w, "%s: %d files, %s, of which %s are linked and %s copied\n", made.Dir, made.Files,
		byteSize(made.Bytes), byteSize(made.Linked), byteSize(made.Copied))
}

// byteSize is a number of bytes for people.
func byteSize(bytes int64) string {
	if bytes < 1<<10 {
		return fmt.Sprintf("%d B", bytes)
	}
	value, unit := float64(bytes), -1
	for value >= 1<<10 && unit < 3 {
		value /= 1 << 10
		unit++
	}
	return fmt.Sprintf("%.1f %ciB", value, "KMGT"[unit])
}
