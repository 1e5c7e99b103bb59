package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/spf13/cobra"

	"carillon/agent"
)

func agentCommand() *cobra.Command {
	var to, buffer string
	var bufferMB int64
	var printConfig bool
	config := agent.Config{}
	level := levelFlag{slog.LevelInfo}
	cmd := &cobra.Command{
		Use:   "agent --to URL",
		Short: "Collect this host's numbers and send them to a server",
		Long: `Collect this host's numbers and send them by Prometheus remote write to a Carillon
server, or to any other that takes it. While the server is away they are kept on
disk, up to --buffer-mb, and sent in order when it is back; what does not fit is
dropped, oldest first, and counted.

Flags can also be set by CARILLON_… variables or a YAML file, as for serve.`,
		Example: `  carillon agent --to http://metrics:9480
  carillon agent --to https://token@metrics:9480 --interval 1s --buffer /var/lib/carillon-agent`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := loadSettings(cmd)
			if err != nil {
				return err
			}
			if printConfig {
				return s.print(cmd.OutOrStdout())
			}
			if to == "" {
				return errors.New("--to: say where to send, like --to http://metrics:9480")
			}
			config.Logger = logger(level.Level)
			registry := prometheus.NewRegistry()
			registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
			config.Gatherer, config.Registerer = registry, registry
			sender, err := agent.NewHTTP(to)
			if err != nil {
				return err
			}
			queue, err := agent.OpenQueue(buffer, bufferMB<<20, config.Logger)
			if err != nil {
				return err
			}
			config.Sender, config.Buffer = sender, queue
			a, err := agent.New(config)
			if err != nil {
				return errors.Join(err, queue.Close())
			}
			fmt.Fprintf(cmd.OutOrStdout(), "Collecting every %s, sending to %s, buffering in %s.\n", config.Interval, withoutCredentials(to), buffer)
			return errors.Join(a.Run(cmd.Context()), queue.Close())
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.String("config", "", "YAML file with settings, named as the flags are")
	f.StringVar(&to, "to", "", "the server, like http://metrics:9480; credentials before an @")
	f.DurationVar(&config.Interval, "interval", 10*time.Second, "how often to collect, whole seconds")
	f.StringVar(&config.Host, "host", "", "the host label; empty for the host's name")
	f.BoolVar(&config.PerCPU, "per-cpu", false, "collect the CPU modes of every core, too")
	f.StringVar(&buffer, "buffer", "./carillon-agent", "directory for what could not be sent yet")
	f.Int64Var(&bufferMB, "buffer-mb", 256, "most MiB kept there")
	f.Var(&level, "log-level", "debug, info, warn or error")
	f.BoolVar(&printConfig, "print-config", false, "print the settings that would be used, as YAML, and end")
	return cmd
}

func withoutCredentials(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return "the server"
	}
	u.User = nil
	return u.String()
}
