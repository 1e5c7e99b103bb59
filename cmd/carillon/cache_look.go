package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"carillon/cache/client"
)

func cacheStats(c *cacheClient) *cobra.Command {
	return &cobra.Command{
		Use:   "stats [settings|items|slabs|sizes|conns]",
		Short: "Show the statistics of every server",
		Long: `Show the statistics of every server, in memcached's words. Those of a kernel program begin with
kernel_: hits, misses, and what it passed on to user space, by reason.`,
		Example: `  carillon cache stats
  carillon cache stats slabs --server a:11211,b:11211 --json`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			part := ""
			if len(args) == 1 {
				part = args[0]
			}
			return c.do(cmd, func(ctx context.Context, cl *client.Client) error {
				all := make(map[string]map[string]string)
				w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
				for _, server := range cl.Servers() {
					stats, err := cl.Stats(ctx, server, part)
					if err != nil {
						return err
					}
					all[server] = make(map[string]string)
					fmt.Fprintf(w, "server\t%s\n", server)
					for _, s := range stats {
						all[server][s.Name] = s.Value
						fmt.Fprintf(w, "%s\t%s\n", s.Name, s.Value)
					}
				}
				if c.json {
					return json.NewEncoder(cmd.OutOrStdout()).Encode(all)
				}
				return w.Flush()
			})
		},
	}
}

func cacheDump(c *cacheClient) *cobra.Command {
	return &cobra.Command{
		Use:   "dump",
		Short: "List all items of all servers, without their values",
		Long: `List all items of all servers, without their values: when they end, when they were last read or written, and
the bytes they take. What changes meanwhile may be missing or be listed as it was. With --json a line an item.`,
		Example: `  carillon cache dump
  carillon cache dump --json > items.jsonl`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.do(cmd, func(ctx context.Context, cl *client.Client) error {
				total, err := itemsOf(ctx, cl)
				if err != nil {
					return err
				}
				p := newProgress(cmd.ErrOrStderr(), logger(slog.LevelWarn))
				defer p.close()
				return c.dump(ctx, cl, cmd.OutOrStdout(), func(done uint64) { p.update("items", done, max(done, total)) })
			})
		},
	}
}

// itemsOf is how many items the servers have.
func itemsOf(ctx context.Context, cl *client.Client) (total uint64, err error) {
	for _, server := range cl.Servers() {
		stats, err := cl.Stats(ctx, server, "")
		if err != nil {
			return 0, err
		}
		for _, s := range stats {
			if s.Name == "curr_items" {
				n, err := strconv.ParseUint(s.Value, 10, 64)
				if err != nil {
					return 0, fmt.Errorf("%s: curr_items: %w", server, err)
				}
				total += n
			}
		}
	}
	return total, nil
}

// dumpProgress is the items after which the progress is shown.
const dumpProgress = 10_000

func (c *cacheClient) dump(ctx context.Context, cl *client.Client, out io.Writer, progress func(done uint64)) error {
	encoder := json.NewEncoder(out)
	if !c.json {
		fmt.Fprintf(out, "%-19s  %-19s  %7s  %-7s  %s\n", "expires", "last used", "bytes", "read", "key")
	}
	done := uint64(0)
	return cl.Dump(ctx, func(e client.Entry) (err error) {
		if done++; done%dumpProgress == 0 {
			progress(done)
		}
		if c.json {
			return encoder.Encode(e)
		}
		expires, read := "never", "no"
		if e.Expiry >= 0 {
			expires = time.Unix(e.Expiry, 0).Format(time.DateTime)
		}
		if e.Fetched {
			read = "yes"
		}
		_, err = fmt.Fprintf(out, "%-19s  %-19s  %7d  %-7s  %s\n", expires, time.Unix(e.Access, 0).Format(time.DateTime), e.Bytes, read, strconv.QuoteToGraphic(e.Key))
		return err
	})
}

func cacheHot(c *cacheClient) *cobra.Command {
	var top int
	cmd := &cobra.Command{
		Use:   "hot",
		Short: "Show the keys that are asked for most",
		Long: `Show the keys that are asked for most, of all servers, hits and misses, in the kernel and outside. The counts are
estimated from a sample and halve every minute. memcached does not tell.`,
		Example: `  carillon cache hot --top 5`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if top < 1 {
				return fmt.Errorf("--top %d: want 1 or more", top)
			}
			return c.do(cmd, func(ctx context.Context, cl *client.Client) error {
				hot, err := cl.Hot(ctx)
				if err != nil {
					return err
				}
				hot = hot[:min(top, len(hot))]
				return c.show(cmd.OutOrStdout(), hot, func(w io.Writer) {
					if len(hot) == 0 {
						fmt.Fprintln(w, "no key was asked for often")
						return
					}
					fmt.Fprintln(w, "asked\tserver\tkey")
					for _, h := range hot {
						fmt.Fprintf(w, "%d\t%s\t%s\n", h.Count, h.Server, strconv.QuoteToGraphic(h.Key))
					}
				})
			})
		},
	}
	cmd.Flags().IntVar(&top, "top", 20, "how many to show")
	return cmd
}
