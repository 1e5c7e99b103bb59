package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"carillon/cache/client"
)

// cacheClient is what the flags say of the servers and the answers' form.
type cacheClient struct {
	servers []string
	config  client.Config
	json    bool
}

func (c *cacheClient) flags(f *pflag.FlagSet) {
	f.SortFlags = false
	f.StringSliceVar(&c.servers, "server", []string{"127.0.0.1:11211"}, "the servers between which the keys are shared out, or paths of Unix sockets")
	f.BoolVar(&c.json, "json", false, "print JSON, for programs")
	f.DurationVar(&c.config.Timeout, "timeout", client.DefaultTimeout, "longest wait for a reply by TCP")
	f.StringVar(&c.config.User, "user", "", "user, if the servers want to know; the password is CARILLON_CACHE_PASSWORD of the environment")
}

// do calls f with a client.
func (c *cacheClient) do(cmd *cobra.Command, f func(ctx context.Context, cl *client.Client) error) error {
	c.config.Password = os.Getenv("CARILLON_CACHE_PASSWORD")
	cl, err := client.New(c.servers, c.config)
	if err != nil {
		return err
	}
	defer cl.Close()
	return f(cmd.Context(), cl)
}

// show prints v as JSON, or a table of it.
func (c *cacheClient) show(out io.Writer, v any, table func(io.Writer)) error {
	if c.json {
		return json.NewEncoder(out).Encode(v)
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	table(w)
	return w.Flush()
}

func cacheGet(c *cacheClient) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "get KEY...",
		Short: "Show the values of keys",
		Long: `Show the values of keys: of one key just the value, of several a table. The exit status is 1 if
one is not there. With --udp they are asked for by datagrams, which the kernel may answer; then
no reply counts as not there.`,
		Example: `  carillon cache get cpu.idle.host13
  carillon cache get --udp a b c --json`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, keys []string) error {
			return c.do(cmd, func(ctx context.Context, cl *client.Client) error {
				items, absent, err := getAll(ctx, cl, keys)
				if err != nil {
					return err
				}
				if err := c.showItems(cmd.OutOrStdout(), keys, items); err != nil {
					return err
				}
				if len(absent) > 0 {
					return fmt.Errorf("not there: %q", absent)
				}
				return nil
			})
		},
	}
	cmd.Flags().BoolVar(&c.config.UDP, "udp", false, "ask by datagrams")
	cmd.Flags().DurationVar(&c.config.ReplyWithin, "reply-within", client.DefaultReplyWithin, "longest wait for a datagram before it is asked for again, twice")
	return cmd
}

func getAll(ctx context.Context, cl *client.Client, keys []string) (items []cacheItem, absent []string, err error) {
	for _, key := range keys {
		item, err := cl.Get(ctx, key)
		switch {
		case errors.Is(err, client.ErrMiss):
			absent = append(absent, key)
		case err != nil:
			return nil, nil, err
		default:
			items = append(items, cacheItem{Key: key, Value: string(item.Value), Flags: item.Flags, Server: cl.ServerOf(key)})
		}
	}
	return items, absent, nil
}

type cacheItem struct {
	Key    string `json:"key"`
	Value  string `json:"value"`
	Flags  uint32 `json:"flags"`
	Server string `json:"server"`
}

func (c *cacheClient) showItems(out io.Writer, keys []string, items []cacheItem) error {
	if len(keys) == 1 && !c.json {
		for _, item := range items {
			fmt.Fprintln(out, item.Value)
		}
		return nil
	}
	return c.show(out, items, func(w io.Writer) {
		fmt.Fprintln(w, "key\tflags\tbytes\tserver\tvalue")
		for _, item := range items {
			fmt.Fprintf(w, "%s\t%d\t%d\t%s\t%q\n", item.Key, item.Flags, len(item.Value), item.Server, item.Value)
		}
	})
}

// maxCacheInput is the largest value that is read from standard input, in bytes.
const maxCacheInput = 1 << 30

func cacheSet(c *cacheClient) *cobra.Command {
	var ttl time.Duration
	var flags uint32
	var add, replace bool
	cmd := &cobra.Command{
		Use:   "set KEY VALUE",
		Short: "Store a value; - reads it from standard input",
		Example: `  carillon cache set greeting hello --ttl 1h
  carillon cache set picture - < picture.png`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			mode := client.Set
			switch {
			case add && replace:
				return errors.New("--add and --replace exclude each other")
			case add:
				mode = client.Add
			case replace:
				mode = client.Replace
			}
			value := []byte(args[1])
			if args[1] == "-" {
				var err error
				if value, err = io.ReadAll(io.LimitReader(cmd.InOrStdin(), maxCacheInput)); err != nil {
					return fmt.Errorf("reading the value: %w", err)
				}
			}
			return c.do(cmd, func(ctx context.Context, cl *client.Client) error {
				if err := cl.Store(ctx, mode, client.Item{Key: args[0], Value: value, Flags: flags}, ttl); err != nil {
					return err
				}
				stored := cacheStored{args[0], len(value), cl.ServerOf(args[0])}
				return c.show(cmd.OutOrStdout(), stored, func(w io.Writer) {
					fmt.Fprintf(w, "stored %s: %d bytes on %s\n", stored.Key, stored.Bytes, stored.Server)
				})
			})
		},
	}
	cmd.Flags().DurationVar(&ttl, "ttl", 0, "how long it shall last, to the second; 0 for ever")
	cmd.Flags().Uint32Var(&flags, "flags", 0, "number that is stored with the value")
	cmd.Flags().BoolVar(&add, "add", false, "only if the key is not there")
	cmd.Flags().BoolVar(&replace, "replace", false, "only if it is")
	return cmd
}

type cacheStored struct {
	Key    string `json:"key"`
	Bytes  int    `json:"bytes"`
	Server string `json:"server"`
}

func cacheDelete(c *cacheClient) *cobra.Command {
	var prefix string
	cmd := &cobra.Command{
		Use:   "delete KEY... | --prefix PREFIX",
		Short: "Delete keys, or all that begin with a prefix",
		Long: `Delete keys, or with --prefix all keys of all servers that begin with a prefix, which looks at every
item and which memcached cannot do. The exit status is 1 if a key is not there.`,
		Example: `  carillon cache delete greeting
  carillon cache delete --prefix session:`,
		RunE: func(cmd *cobra.Command, keys []string) error {
			if (prefix == "") == (len(keys) == 0) {
				return errors.New("want keys, or --prefix")
			}
			return c.do(cmd, func(ctx context.Context, cl *client.Client) error {
				deleted, absent, err := deleteAll(ctx, cl, keys, prefix)
				if err != nil {
					return err
				}
				if err := c.show(cmd.OutOrStdout(), map[string]uint64{"deleted": deleted}, func(w io.Writer) {
					fmt.Fprintf(w, "deleted %d\n", deleted)
				}); err != nil {
					return err
				}
				if len(absent) > 0 {
					return fmt.Errorf("not there: %q", absent)
				}
				return nil
			})
		},
	}
	cmd.Flags().StringVar(&prefix, "prefix", "", "delete all keys that begin so")
	return cmd
}

func deleteAll(ctx context.Context, cl *client.Client, keys []string, prefix string) (deleted uint64, absent []string, err error) {
	if prefix != "" {
		deleted, err = cl.DeletePrefix(ctx, prefix)
		return deleted, nil, err
	}
	for _, key := range keys {
		switch err := cl.Delete(ctx, key); {
		case errors.Is(err, client.ErrMiss):
			absent = append(absent, key)
		case err != nil:
			return deleted, absent, err
		default:
			deleted++
		}
	}
	return deleted, absent, nil
}
