package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"time"

	"github.com/spf13/cobra"

	"carillon/traffic/recording"
)

func benchRecordCommand() *cobra.Command {
	var listen, forward, linesListen, linesForward string
	cmd := &cobra.Command{
		Use:   "record FILE",
		Short: "Stand between senders and a server, and record what is sent",
		Long: `Take remote write and lines, pass them on to a server, pass its answers back, and write
what was sent to a new file, with its timing, until Ctrl-C. Point senders at the addresses given
here instead of the server's. Of a request's header only what a server may decide on is recorded,
no credentials. The file's format: docs/format/recording.md.`,
		Example: `  carillon bench record monday.rec
  carillon bench record --listen 127.0.0.1:9481 --forward http://127.0.0.1:9480 \
      --lines-listen 127.0.0.1:2004 --lines-forward 127.0.0.1:2003 monday.rec`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			target, err := url.Parse(forward)
			if err != nil || target.Host == "" {
				return fmt.Errorf("--forward %s: want a URL like http://127.0.0.1:9480", forward)
			}
			requests, err := listenUnlessEmpty("--listen", listen)
			if err != nil {
				return err
			}
			lines, err := listenUnlessEmpty("--lines-listen", linesListen)
			if err != nil {
				return err
			}
			file, err := os.OpenFile(args[0], os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, file.Close()) }()
			for what, l := range map[string]net.Listener{"remote write at http://%s/api/v1/write\n": requests, "lines at %s\n": lines} {
				if l != nil {
					fmt.Fprintf(cmd.OutOrStdout(), "recording "+what, l.Addr())
				}
			}
			recorder := &recording.Recorder{Forward: target, ForwardLines: linesForward, Logger: logger(slog.LevelInfo)}
			return recorder.Run(cmd.Context(), requests, lines, file)
		},
	}
	cmd.Flags().StringVar(&listen, "listen", "127.0.0.1:9481", "address that takes remote write; empty for none")
	cmd.Flags().StringVar(&forward, "forward", "http://127.0.0.1:9480", "URL of the server that requests go to")
	cmd.Flags().StringVar(&linesListen, "lines-listen", "", "address that takes lines by TCP, Graphite's or istatd's; empty for none")
	cmd.Flags().StringVar(&linesForward, "lines-forward", "127.0.0.1:2003", "address of the server that lines go to")
	return cmd
}

// listenUnlessEmpty listens on TCP; no address is no listener.
func listenUnlessEmpty(flag, address string) (net.Listener, error) {
	if address == "" {
		return nil, nil
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", flag, err)
	}
	return l, nil
}

func benchReplayCommand() *cobra.Command {
	var player recording.Player
	var check bool
	cmd := &cobra.Command{
		Use:   "replay FILE",
		Short: "Send a recording to a server, with its timing",
		Long: `Send what was recorded to a server, at the times and over as many connections as it was
recorded. Points keep the times that they have: a server that has them already counts them as repeated,
and so does one that was sent the same requests within ten minutes.`,
		Example: `  carillon bench replay monday.rec --to http://127.0.0.1:9480
  carillon bench replay monday.rec --speed 10
  carillon bench replay monday.rec --check`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if player.Speed < 0 {
				return fmt.Errorf("--speed %g: want 0 or more", player.Speed)
			}
			file, err := os.Open(args[0])
			if err != nil {
				return err
			}
			defer file.Close()
			summary, err := recording.Summarize(file)
			if check || err != nil && !errors.Is(err, recording.ErrCutOff) {
				fmt.Fprintln(cmd.OutOrStdout(), summary)
				return err
			}
			if _, err := file.Seek(0, 0); err != nil {
				return err
			}
			bar := newProgress(cmd.ErrOrStderr(), logger(slog.LevelInfo))
			player.Progress = func(at time.Duration) {
				bar.update("play, in milliseconds", uint64(at.Milliseconds()), uint64(summary.Lasts.Milliseconds()))
			}
			played, err := player.Play(cmd.Context(), file)
			bar.close()
			fmt.Fprintln(cmd.OutOrStdout(), played)
			if err == nil && played.Refused > 0 {
				err = fmt.Errorf("%d requests were refused, the first with %s", played.Refused, played.FirstRefusal)
			}
			return err
		},
	}
	cmd.Flags().StringVar(&player.To, "to", "http://127.0.0.1:9480", "URL of the server that requests go to")
	cmd.Flags().StringVar(&player.ToLines, "lines-to", "127.0.0.1:2003", "address of the server that lines go to")
	cmd.Flags().Float64Var(&player.Speed, "speed", 1, "2 is twice as fast as recorded; 0 as fast as the server takes it")
	cmd.Flags().BoolVar(&check, "check", false, "only read the file and check it, send nothing")
	return cmd
}
