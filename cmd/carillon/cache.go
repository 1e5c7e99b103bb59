package main

import (
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"carillon/cache/memcached"
	"carillon/cache/node"
	"carillon/cache/xdp"
)

// cacheOptions are the flags of the verb that starts a cache, and, with a prefix before their
// names, of the one that starts a server with a cache.
type cacheOptions struct {
	prefix   string
	config   node.Config
	memory   int64
	item     int64
	mode     string
	unixMode string
	authFile string
	allow    []string
	level    levelFlag
}

func cacheCommand() *cobra.Command {
	o := &cacheOptions{}
	cmd := &cobra.Command{
		Use:   "cache",
		Short: "Run a cache that speaks memcached's protocol, or ask one",
		Long: `Run a cache in memory that clients of memcached can use: the text protocol with the meta
commands, by TCP, by UDP and at a Unix socket. With --xdp the network driver answers GETs
by UDP itself, and the server never sees them. docs/cache.md says where it differs from memcached.

Datagrams are answered only if their source is in --allow: UDP has no way to know who asks, and
whoever is asked in the name of another would flood him with replies.

The other verbs ask a cache that runs, ours or memcached.`,
		Example: `  carillon cache
  carillon cache --listen 127.0.0.1:11211 --udp 127.0.0.1:11211 --memory 1GiB
  carillon cache --udp :11211 --listen :11211 --xdp eth0 --allow 10.0.0.0/8
  carillon cache get cpu.idle.host13
  carillon cache stats`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.complete(logger(o.level.Level)); err != nil {
				return err
			}
			return runCache(cmd, o)
		},
	}
	o.flags(cmd.Flags())
	client := &cacheClient{}
	for _, verb := range []*cobra.Command{cacheGet(client), cacheSet(client), cacheDelete(client), cacheStats(client), cacheDump(client), cacheHot(client)} {
		client.flags(verb.Flags())
		cmd.AddCommand(verb)
	}
	return cmd
}

func (o *cacheOptions) flags(f *pflag.FlagSet) {
	o.memory, o.item, o.level.Level = 64<<20, 1<<20, slog.LevelInfo
	f.SortFlags = false
	s := &o.config.Server
	f.StringVar(&s.TCP, "listen", "127.0.0.1:11211", "TCP address; empty for none")
	f.StringVar(&s.UDP, "udp", "", "UDP address; empty for none")
	f.StringVar(&s.Unix, "unix", "", "path of a Unix socket; empty for none")
	f.StringVar(&o.unixMode, "unix-mode", "700", "its permissions, in octal")
	f.Var((*sizeFlag)(&o.memory), "memory", "memory for items and the index")
	f.Var((*sizeFlag)(&o.item), "item-max", "largest item: its key, its value and about 50 bytes")
	f.BoolVar(&o.config.Keep, "keep", false, "refuse new items where memory is full, instead of evicting old ones")
	f.StringSliceVar(&o.allow, "allow", []string{"127.0.0.0/8", "::1/128"}, "sources whose datagrams are answered, as CIDR")
	f.StringVar(&o.config.Interface, "xdp", "", "network interface whose driver is to answer GETs by UDP; empty for none")
	f.StringVar(&o.mode, "xdp-mode", "detect", "detect, native or generic: where in the receive path")
	f.IntVar(&s.Connections, "connections", memcached.DefaultConnections, "most connections at a time")
	f.DurationVar(&s.IdleTimeout, "idle-timeout", 0, "close connections without a request for so long; 0 for never")
	s.BufferBytes = memcached.DefaultBufferBytes
	f.Var((*sizeFlag)(&s.BufferBytes), "buffers", "memory for large requests and replies that are under way, of all connections together")
	f.StringVar(&o.authFile, "auth-file", "", "file with lines of user:password; who is not in it may do nothing")
	f.StringVar(&o.config.Metrics, "metrics", "", "HTTP address at which Prometheus gets /metrics; empty for none")
	f.Var(&o.level, "log-level", "debug, info, warn or error")
}

// complete makes a configuration of the flags.
func (o *cacheOptions) complete(log *slog.Logger) (err error) {
	s := &o.config.Server
	s.Logger = log
	s.Version = memcached.Compatible + "-carillon-" + version()
	o.config.Memory, o.config.ItemBytes = o.memory, int(o.item)
	if o.memory < node.MinMemory {
		return fmt.Errorf("--%smemory %s: want at least %s", o.prefix, (*sizeFlag)(&o.memory), byteSize(node.MinMemory))
	}
	if o.config.Mode, err = xdp.ParseMode(o.mode); err != nil {
		return fmt.Errorf("--%sxdp-mode: %w", o.prefix, err)
	}
	for _, text := range o.allow {
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			return fmt.Errorf("--%sallow: %q is no prefix like 10.0.0.0/8", o.prefix, text)
		}
		s.Allow = append(s.Allow, prefix)
	}
	mode, err := strconv.ParseUint(o.unixMode, 8, 9)
	if err != nil {
		return fmt.Errorf("--unix-mode %s: want permissions in octal, like 700", o.unixMode)
	}
	s.UnixMode = fs.FileMode(mode)
	if o.authFile == "" {
		return nil
	}
	file, err := os.Open(o.authFile)
	if err != nil {
		return fmt.Errorf("--auth-file: %w", err)
	}
	defer file.Close()
	if s.Users, err = memcached.ReadUsers(file); err != nil {
		return fmt.Errorf("--auth-file %s: %w", o.authFile, err)
	}
	return nil
}

func runCache(cmd *cobra.Command, o *cacheOptions) error {
	began := time.Now()
	n, err := node.Start(cmd.Context(), o.config)
	if err != nil {
		return err
	}
	announceCache(cmd.OutOrStdout(), n, o)
	o.config.Server.Logger.Debug("ready", "after", time.Since(began))
	return n.Run(cmd.Context())
}

func announceCache(w io.Writer, n *node.Node, o *cacheOptions) {
	fmt.Fprintf(w, "\nCarillon's cache %s is ready.\n\n", version())
	if a := n.Server().TCPAddr(); a != nil {
		fmt.Fprintf(w, "  TCP       %s\n", a)
	}
	if a := n.Server().UDPAddr(); a != nil {
		fmt.Fprintf(w, "  UDP       %s, from %v\n", a, o.config.Server.Allow)
	}
	if o.config.Server.Unix != "" {
		fmt.Fprintf(w, "  socket    %s\n", o.config.Server.Unix)
	}
	if a := n.MetricsAddr(); a != nil {
		fmt.Fprintf(w, "  metrics   http://%s/metrics\n", a)
	}
	if mode, ok := n.Mode(); ok {
		fmt.Fprintf(w, "  kernel    answers on %s, %s mode\n", o.config.Interface, mode)
	}
	fmt.Fprintf(w, "  memory    %s\n\n", byteSize(o.memory))
}
