package main

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/spf13/pflag"

	"carillon/cache/newest"
	"carillon/server"
)

// serveCache are the flags of a server's cache.
type serveCache struct {
	options   cacheOptions
	selects   []string
	format    string
	expire    time.Duration
	directory bool
}

func (s *serveCache) flags(f *pflag.FlagSet) {
	o := &s.options
	o.prefix, o.unixMode, o.memory, o.item = "cache-", "700", 256<<20, 1<<20
	f.StringVar(&o.config.Server.TCP, "cache", "", "TCP address at which clients of memcached read the newest bucket of each series, like 127.0.0.1:11211; empty for none")
	f.StringVar(&o.config.Server.UDP, "cache-udp", "", "the same by UDP; empty for none")
	f.Var((*sizeFlag)(&o.memory), "cache-memory", "memory of the cache: a series takes about 200 bytes")
	f.StringSliceVar(&o.allow, "cache-allow", []string{"127.0.0.0/8", "::1/128"}, "sources whose datagrams the cache answers, as CIDR; may be repeated")
	f.StringVar(&o.config.Interface, "cache-xdp", "", "network interface whose driver is to answer GETs by UDP; empty for none")
	f.StringVar(&o.mode, "cache-xdp-mode", "detect", "detect, native or generic: where in the receive path")
	f.StringArrayVar(&s.selects, "cache-select", nil, "PromQL selector of series that are in the cache; may be repeated; without one all are")
	f.StringVar(&s.format, "cache-format", newest.Text.String(), "text or json: how a bucket is written")
	f.DurationVar(&s.expire, "cache-expire", 5*time.Minute, "a bucket leaves the cache so long after its end, unless a newer one comes; 0 for never")
	f.BoolVar(&s.directory, "cache-directory", true, "the entries of the location directory are in the cache too")
}

// complete is what the flags ask for; nil for no cache.
func (s *serveCache) complete(log *slog.Logger) (*server.Cache, error) {
	o := &s.options
	if o.config.Server.TCP == "" && o.config.Server.UDP == "" {
		return nil, nil
	}
	if err := o.complete(log); err != nil {
		return nil, err
	}
	c := &server.Cache{Node: o.config, Expire: s.expire, Directory: s.directory}
	var err error
	if c.Format, err = newest.ParseFormat(s.format); err != nil {
		return nil, fmt.Errorf("--cache-format: %w", err)
	}
	for _, text := range s.selects {
		selector, err := newest.ParseSelector(text)
		if err != nil {
			return nil, fmt.Errorf("--cache-select: %w", err)
		}
		c.Select = append(c.Select, selector)
	}
	return c, nil
}
