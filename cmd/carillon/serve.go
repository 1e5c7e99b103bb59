package main

import (
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"carillon/directory"
	"carillon/receive"
	"carillon/server"
	"carillon/store"
	"carillon/timerslack"
)

func serveCommand() *cobra.Command {
	var c server.Config
	var tiers, rules string
	var level levelFlag
	var cache serveCache
	var printConfig bool
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the server",
		Long: `Run the server: take in points, keep them, answer queries, show the page.

Every flag can also be set by an environment variable (--seal-every is
CARILLON_SEAL_EVERY) or in one YAML file (--config FILE, seal-every: 5m). A flag
wins over the environment, the environment over the file. --print-config shows
the outcome.

Everything listens on loopback unless an address says otherwise. SIGTERM or
Ctrl-C stops taking points in, seals what is in memory and ends; a second one
ends at once. Acknowledged points survive either way, and kill -9.`,
		Example: `  carillon serve
  carillon serve --data /var/lib/carillon --listen :9480
  carillon serve --tiers 1s:1d,10s:10d,5m:1y,1h:6y --agent-interval 1s
  carillon serve --disk-max 20GB
  carillon serve --cache 127.0.0.1:11211 --cache-select '{__name__=~"cpu\\..*"}' --cache-format json
  CARILLON_AGENT=false carillon serve --print-config`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			timerslack.Widen()
			s, err := loadSettings(cmd)
			if err != nil {
				return err
			}
			if printConfig {
				return s.print(cmd.OutOrStdout())
			}
			if c.Tiers, err = store.ParseTiers(tiers); err != nil {
				return err
			}
			if c.Retention, err = loadRules(rules, c.Tiers); err != nil {
				return err
			}
			c.Archive.Token = os.Getenv(tokenVariable)
			if err := c.Archive.Check(); err != nil {
				return fmt.Errorf("--archive: %w", err)
			}
			c.HTTP.Asked = s.asked("listen")
			c.Graphite.Asked = s.asked("graphite")
			c.Istatd.Asked = s.asked("istatd")
			c.Version = version()
			c.Logger = logger(level.Level)
			if c.Cache, err = cache.complete(c.Logger); err != nil {
				return err
			}
			progress := newProgress(cmd.ErrOrStderr(), c.Logger)
			c.Progress = progress.update
			c.Ready = func(bound server.Bound) {
				progress.close()
				announce(cmd.OutOrStdout(), bound, c)
			}
			if os.Getenv("GOGC") == "" {
				debug.SetGCPercent(store.GCPercent)
			}
			return server.Run(cmd.Context(), c)
		},
	}
	serveFlags(cmd.Flags(), &c, &tiers, &rules, &level)
	cache.flags(cmd.Flags())
	cmd.Flags().BoolVar(&printConfig, "print-config", false, "print the settings that would be used, as YAML, and end")
	return cmd
}

func serveFlags(f *pflag.FlagSet, c *server.Config, tiers, rules *string, level *levelFlag) {
	level.Level = slog.LevelInfo
	f.SortFlags = false
	f.String("config", "", "YAML file with settings, named as the flags are")
	f.StringVar(&c.Data, "data", "./carillon-data", "directory for everything that is kept")
	f.StringVar(&c.HTTP.Addr, "listen", "127.0.0.1:9480", "HTTP address: page, API, Prometheus remote write")
	f.StringVar(&c.Graphite.Addr, "graphite", "127.0.0.1:2003", "Graphite plaintext address, TCP and UDP; empty for none")
	f.StringVar(&c.Istatd.Addr, "istatd", "127.0.0.1:8111", "istatd line protocol address, TCP and UDP; empty for none")
	f.BoolVar(&c.Agent, "agent", true, "collect this host's own numbers")
	f.DurationVar(&c.AgentInterval, "agent-interval", 10*time.Second, "how often, at least 1s")
	f.StringVar(&c.Host, "host", "", "the host label of those numbers; empty for the host's name")
	f.StringVar(tiers, "tiers", store.DefaultTiers, "resolution:retention of each tier, finest first")
	f.Var((*sizeFlag)(&c.DiskMax), "disk-max", "most that the data directory may take, like 20GB or 500MiB: the oldest fine data go first; 0 for no bound")
	f.StringVar(rules, "retention-rules", "", "YAML file of rules that keep some series for a shorter time, or limit their number")
	f.IntVar(&c.Partitions, "partitions", 8, "partitions of a new data directory; fixed from then on")
	f.StringVar(&c.JournalURL, "journal-url", "", "external NATS server for the journal; empty for the embedded one")
	f.StringVar(&c.Archive.URL, "archive", "", "put copies of sealed files into objects: http://NODE of an object cluster, or file, pack, pebble, s3 or jetstream URL; empty for none")
	f.DurationVar(&c.Archive.Every, "archive-every", time.Hour, "how often")
	f.IntVar(&c.Archive.Keep, "archive-keep", 7, "catalogues of the archive that stay, and the files that they list; 0 for all")
	f.DurationVar(&c.SealEvery, "seal-every", 10*time.Minute, "move points from the journal into files at least this often")
	f.DurationVar(&c.FutureTolerance, "future-tolerance", time.Minute, "refuse points further ahead of the server's clock")
	f.IntVar(&c.SpellingBits, "spelling-cache-bits", receive.DefaultSpellingBits, "log2 of the most series known by the bytes they are sent as, 26 bytes each; grows to it as needed")
	caches := directory.DefaultCaches()
	f.IntVar(&c.SeriesCaches.Series, "series-cache-bits", caches.Series, "log2 of the series whose number is cached, 26 bytes each; 0 for none")
	f.IntVar(&c.SeriesCaches.Absent, "absent-cache-bits", caches.Absent, "log2 of the names cached as being no series; 0 for none")
	f.IntVar(&c.LocationCaches.Names, "name-cache-bits", 16, "log2 of the locations cached by name; 0 for none")
	f.IntVar(&c.LocationCaches.AbsentNames, "absent-name-cache-bits", 16, "log2 of the names cached as absent; 0 for none")
	f.IntVar(&c.LocationCaches.IDs, "id-cache-bits", 16, "log2 of the locations cached by id; 0 for none")
	f.IntVar(&c.LocationCaches.AbsentIDs, "absent-id-cache-bits", 16, "log2 of the ids cached as absent; 0 for none")
	f.DurationVar(&c.QueryTimeout, "query-timeout", 2*time.Minute, "longest time for one query")
	f.IntVar(&c.QuerySamples, "query-max-samples", 50_000_000, "most samples one query may hold in memory")
	f.IntVar(&c.QuerySeries, "query-max-series", 100_000, "most series one query may select")
	f.Var(level, "log-level", "debug, info, warn or error")
}
