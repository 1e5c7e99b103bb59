package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"github.com/spf13/cobra"

	"carillon/directory/httpapi"
	"carillon/directory/location"
)

const listPage = 1000 // entries a request of list and dump

func directoryList(client *directoryClient) *cobra.Command {
	var fresh freshness
	var server, partition, flags, pattern string
	var limit int
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List entries by server, partition, flags or a pattern of names",
		Long: `List entries that pass all the filters given: that have a site on a server, or in a
partition, or all of some flags, or a name that matches an RE2 pattern. With --json
there is one entry a line.`,
		Example: `  carillon directory list --server s1 --partition 2
  carillon directory list --pattern '^user\.' --flags 0x4 --limit 100`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			q := fresh.query()
			for name, value := range map[string]string{"server": server, "partition": partition, "flags": flags, "pattern": pattern} {
				if value != "" {
					q.Set(name, value)
				}
			}
			call := client.to(cmd)
			if call.json {
				return call.pages(q, limit, func(entries []location.Entry) error { return writeLines(call.out, entries) })
			}
			var all []location.Entry
			err := call.pages(q, limit, func(entries []location.Entry) error {
				all = append(all, entries...)
				return nil
			})
			if err != nil {
				return err
			}
			return call.show(all, func(w io.Writer) { printEntries(w, all) })
		},
	}
	cmd.Flags().StringVar(&server, "server", "", "has a site on this server")
	cmd.Flags().StringVar(&partition, "partition", "", "has a site in this partition")
	cmd.Flags().StringVar(&flags, "flags", "", "has all these flags, decimal or 0x hexadecimal")
	cmd.Flags().StringVar(&pattern, "pattern", "", "name matches this RE2 pattern, anywhere unless it is anchored")
	cmd.Flags().IntVar(&limit, "limit", listPage, "entries at most; 0 for all, which a table holds in memory")
	fresh.flags(cmd)
	return cmd
}

func directoryDump(client *directoryClient) *cobra.Command {
	var fresh freshness
	cmd := &cobra.Command{
		Use:   "dump",
		Short: "Print all entries as JSON, one a line",
		Long: `Print all entries as JSON, one a line. Changes made meanwhile may or may not be in
it; for a copy as of one moment there is backup. Without the versions, put - reads it
into an empty directory.`,
		Example: `  carillon directory dump > entries.jsonl
  carillon directory dump | jq -c 'del(.version)' | carillon directory put - --url http://other:9480`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			call := client.to(cmd)
			return call.pages(fresh.query(), 0, func(entries []location.Entry) error { return writeLines(call.out, entries) })
		},
	}
	fresh.flags(cmd)
	return cmd
}

// pages hands on the entries that a list has, page by page, up to a limit; 0 is
// all.
func (c *directoryCall) pages(q url.Values, limit int, each func([]location.Entry) error) error {
	for left := limit; ; {
		size := listPage
		if limit > 0 {
			size = min(size, left)
		}
		q.Set("limit", strconv.Itoa(size))
		var page location.Page
		if err := c.do(http.MethodGet, "/entries", q, nil, &page); err != nil {
			return err
		}
		if err := each(page.Entries); err != nil {
			return err
		}
		left -= len(page.Entries)
		if page.Next == "" {
			return nil
		}
		if limit > 0 && left <= 0 {
			fmt.Fprintf(c.notes, "there are more: --limit is %d\n", limit)
			return nil
		}
		q.Set("cursor", page.Next)
	}
}

func writeLines(w io.Writer, entries []location.Entry) error {
	encoder := json.NewEncoder(w)
	for i := range entries {
		if err := encoder.Encode(&entries[i]); err != nil {
			return err
		}
	}
	return nil
}

func directoryServers(client *directoryClient) *cobra.Command {
	var fresh freshness
	cmd := &cobra.Command{
		Use:   "servers",
		Short: "List, add and remove the servers that sites may name",
		Example: `  carillon directory servers
  carillon directory servers add s1
  carillon directory servers remove s1`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var names []string
			call := client.to(cmd)
			if err := call.do(http.MethodGet, "/servers", fresh.query(), nil, &names); err != nil {
				return err
			}
			return call.show(names, func(w io.Writer) {
				for _, name := range names {
					fmt.Fprintln(w, name)
				}
				if len(names) == 0 {
					fmt.Fprintln(w, "no servers")
				}
			})
		},
	}
	fresh.flags(cmd)
	cmd.AddCommand(
		directoryServer(client, "add", "Register a server", http.MethodPut, "registered"),
		directoryServer(client, "remove", "Unregister a server that no entry has a site on", http.MethodDelete, "unregistered"),
	)
	return cmd
}

func directoryServer(client *directoryClient, verb, short, method, did string) *cobra.Command {
	return &cobra.Command{
		Use:     verb + " SERVER",
		Short:   short,
		Example: "  carillon directory servers " + verb + " s1",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var done httpapi.Server
			call := client.to(cmd)
			if err := call.do(method, "/servers/"+url.PathEscape(args[0]), nil, nil, &done); err != nil {
				return err
			}
			return call.show(done, func(w io.Writer) { fmt.Fprintf(w, "%s %s\n", did, done.Name) })
		},
	}
}

func directoryStats(client *directoryClient) *cobra.Command {
	return &cobra.Command{
		Use:     "stats",
		Short:   "Show sizes, caches with their hit rates, and what was done",
		Example: `  carillon directory stats`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var stats httpapi.Stats
			call := client.to(cmd)
			if err := call.do(http.MethodGet, "/stats", nil, nil, &stats); err != nil {
				return err
			}
			return call.show(stats, func(w io.Writer) { printDirectoryStats(w, &stats) })
		},
	}
}
