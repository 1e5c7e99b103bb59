package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"carillon/directory/httpapi"
	"carillon/directory/location"
)

func directoryCommand() *cobra.Command {
	client := &directoryClient{}
	cmd := &cobra.Command{
		Use:   "directory",
		Short: "Ask and change the location directory of a running server",
		Long: `Ask and change the location directory of a running server: which name has which
ids, and which servers hold it. Tables are for people; with --json the answers are
those of the HTTP API under /api/v1/directory/, for programs.`,
		Example: `  carillon directory servers add s1
  carillon directory put root.cell --rw 7 --site s1:0
  carillon directory get root.cell 7
  carillon directory list --server s1 --pattern '^root'`,
	}
	cmd.PersistentFlags().StringVar(&client.server, "url", "http://127.0.0.1:9480", "the server")
	cmd.PersistentFlags().BoolVar(&client.json, "json", false, "print JSON, for programs")
	cmd.AddCommand(
		directoryGet(client), directoryPut(client), directoryDelete(client), directoryList(client),
		directoryLock(client), directoryUnlock(client), directoryServers(client), directoryStats(client),
		directoryDump(client), directoryBackup(client), directoryRestore(client),
	)
	return cmd
}

// freshness is how new an answer must be.
type freshness struct {
	current bool
	atLeast uint64
}

func (f *freshness) flags(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&f.current, "current", false, "include all that was acknowledged on any node before")
	cmd.Flags().Uint64Var(&f.atLeast, "at-least", 0, "wait until the node is at this revision")
}

func (f *freshness) query() url.Values {
	q := url.Values{}
	if f.current {
		q.Set("consistency", "current")
	}
	if f.atLeast > 0 {
		q.Set("revision", strconv.FormatUint(f.atLeast, 10))
	}
	return q
}

func directoryGet(client *directoryClient) *cobra.Command {
	var fresh freshness
	cmd := &cobra.Command{
		Use:   "get NAME...",
		Short: "Show entries by name or id",
		Long: `Show entries by name or id. A name of digits only is an id; the suffixes .readonly
and .backup are stripped. The exit status is 1 if one is not there.`,
		Example: `  carillon directory get root.cell
  carillon directory get 7 home.readonly --current
  carillon directory get root.cell --json`,
		Args: cobra.RangeArgs(1, httpapi.MaxNames),
		RunE: func(cmd *cobra.Command, names []string) error {
			call := client.to(cmd)
			if len(names) == 1 {
				var entry location.Entry
				if err := call.do(http.MethodGet, "/entries/"+url.PathEscape(names[0]), fresh.query(), nil, &entry); err != nil {
					return err
				}
				return call.show(entry, func(w io.Writer) { printEntries(w, []location.Entry{entry}) })
			}
			var found []*location.Entry
			if err := call.do(http.MethodPost, "/lookup", fresh.query(), httpapi.Names{Names: names}, &found); err != nil {
				return err
			}
			return showFound(call, names, found)
		},
	}
	fresh.flags(cmd)
	return cmd
}

func showFound(call *directoryCall, names []string, found []*location.Entry) error {
	var entries []location.Entry
	var absent []string
	for i, e := range found {
		if e == nil {
			absent = append(absent, names[i])
		} else {
			entries = append(entries, *e)
		}
	}
	if err := call.show(found, func(w io.Writer) { printEntries(w, entries) }); err != nil {
		return err
	}
	if len(absent) > 0 {
		return fmt.Errorf("not found: %s", strings.Join(absent, ", "))
	}
	return nil
}

func directoryPut(client *directoryClient) *cobra.Command {
	var entry location.Entry
	var sites []string
	var flags, owner string
	cmd := &cobra.Command{
		Use:   "put NAME | put -",
		Short: "Create an entry, or replace one whose version you name",
		Long: `Create an entry; with --version, replace the one that has this version (it is
compare-and-set: nobody else's change is overwritten). With - entries are read as
JSON from standard input, one after the other, each created or, if it has a version,
replaced. A site on a server whose name has a colon is written with its flags, in
hexadecimal: host:9000:2:0x0.`,
		Example: `  carillon directory put root.cell --rw 7 --ro 8 --site s1:0 --site s2:0:0x1
  carillon directory put root.cell --rw 7 --site s2:0 --version 12
  carillon directory get root.cell --json | sed s/s1/s2/ | carillon directory put -`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			call := client.to(cmd)
			if args[0] == "-" {
				if err := onlyFlags(cmd, "owner"); err != nil {
					return err
				}
				return putAll(call, cmd.InOrStdin(), owner)
			}
			entry.Name = args[0]
			bits, err := strconv.ParseUint(flags, 0, 32)
			if err != nil {
				return fmt.Errorf("--flags: %w", err)
			}
			entry.Flags = uint32(bits)
			for _, s := range sites {
				site, err := parseSite(s)
				if err != nil {
					return fmt.Errorf("--site %s: %w", s, err)
				}
				entry.Sites = append(entry.Sites, site)
			}
			return putOne(call, entry, owner)
		},
	}
	cmd.Flags().Uint64Var(&entry.IDs.RW, "rw", 0, "read-write id")
	cmd.Flags().Uint64Var(&entry.IDs.RO, "ro", 0, "read-only id")
	cmd.Flags().Uint64Var(&entry.IDs.BK, "bk", 0, "backup id")
	cmd.Flags().StringArrayVar(&sites, "site", nil, "server:partition[:flags], may be repeated")
	cmd.Flags().StringVar(&flags, "flags", "0", "flags, decimal or 0x hexadecimal")
	cmd.Flags().Uint64Var(&entry.Version, "version", 0, "replace the entry that has this version")
	cmd.Flags().StringVar(&owner, "owner", "", "pass the lock of this owner")
	return cmd
}

// onlyFlags refuses flags of put beside entries that come as JSON.
func onlyFlags(cmd *cobra.Command, allowed string) error {
	for _, name := range []string{"rw", "ro", "bk", "site", "flags", "version"} {
		if cmd.Flags().Changed(name) {
			return fmt.Errorf("--%s cannot go with entries from standard input, only --%s can", name, allowed)
		}
	}
	return nil
}

func putAll(call *directoryCall, in io.Reader, owner string) error {
	decoder := json.NewDecoder(in)
	decoder.DisallowUnknownFields()
	for {
		var entry location.Entry
		if err := decoder.Decode(&entry); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("standard input: %w", err)
		}
		if err := putOne(call, entry, owner); err != nil {
			return fmt.Errorf("%s: %w", entry.Name, err)
		}
	}
}

func putOne(call *directoryCall, entry location.Entry, owner string) error {
	var done location.Result
	var err error
	if entry.Version == 0 {
		err = call.do(http.MethodPost, "/entries", nil, entry, &done)
	} else {
		err = call.do(http.MethodPut, "/entries/"+url.PathEscape(entry.Name), ownerQuery(owner), entry, &done)
	}
	var refused *directoryError
	if errors.As(err, &refused) && refused.kind == "exists" && entry.Version == 0 {
		return fmt.Errorf("%w; to replace it, name its version with --version", err)
	}
	if err != nil {
		return err
	}
	return call.show(done, func(w io.Writer) { printEntries(w, []location.Entry{done.Entry}) })
}

func ownerQuery(owner string) url.Values {
	if owner == "" {
		return nil
	}
	return url.Values{"owner": {owner}}
}

// parseSite reads server:partition[:flags]. The name of a server may have colons,
// as host:9000 has; behind such a one flags are needed, and begin with 0x.
func parseSite(s string) (location.Site, error) {
	parts := strings.Split(s, ":")
	var site location.Site
	last := parts[len(parts)-1]
	if len(parts) == 3 || len(parts) > 3 && strings.HasPrefix(last, "0x") {
		flags, err := strconv.ParseUint(last, 0, 32)
		if err != nil {
			return site, fmt.Errorf("flags: %w", err)
		}
		site.Flags = uint32(flags)
		parts = parts[:len(parts)-1]
	}
	if len(parts) < 2 {
		return site, errors.New("want server:partition[:flags]")
	}
	partition, err := strconv.ParseUint(parts[len(parts)-1], 10, 32)
	if err != nil {
		return site, fmt.Errorf("partition: %w", err)
	}
	site.Partition = uint32(partition)
	site.Server = strings.Join(parts[:len(parts)-1], ":")
	return site, nil
}

func directoryDelete(client *directoryClient) *cobra.Command {
	var version uint64
	var owner string
	cmd := &cobra.Command{
		Use:   "delete NAME",
		Short: "Delete an entry by name or id",
		Example: `  carillon directory delete root.cell
  carillon directory delete root.cell --version 12`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			q := url.Values{"version": {strconv.FormatUint(version, 10)}, "owner": {owner}}
			var done location.Result
			call := client.to(cmd)
			if err := call.do(http.MethodDelete, "/entries/"+url.PathEscape(args[0]), q, nil, &done); err != nil {
				return err
			}
			return call.show(done, func(w io.Writer) { fmt.Fprintf(w, "deleted %s\n", done.Entry.Name) })
		},
	}
	cmd.Flags().Uint64Var(&version, "version", 0, "only if it has this version")
	cmd.Flags().StringVar(&owner, "owner", "", "pass the lock of this owner")
	return cmd
}

func directoryLock(client *directoryClient) *cobra.Command {
	var lock httpapi.LockRequest
	var lasts time.Duration
	cmd := &cobra.Command{
		Use:   "lock NAME",
		Short: "Keep changes by others away from an entry, for a time",
		Long: `Keep changes by others away from an entry until the lock is released or expires,
at most 24 hours. The owner passes it by --owner with put and delete, and renews it
by locking again.`,
		Example: `  carillon directory lock root.cell --owner mover-1 --ttl 10m
  carillon directory delete root.cell --owner mover-1`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			lock.Millis = lasts.Milliseconds()
			var done location.Result
			call := client.to(cmd)
			if err := call.do(http.MethodPost, lockPath(args[0]), nil, lock, &done); err != nil {
				return err
			}
			return call.show(done, func(w io.Writer) {
				fmt.Fprintf(w, "%s holds %s until %s\n", done.Entry.Lock.Owner, done.Entry.Name, moment(done.Entry.Lock.Expires))
			})
		},
	}
	cmd.Flags().StringVar(&lock.Owner, "owner", "", "who holds the lock (required)")
	cmd.Flags().Uint8Var(&lock.Kind, "kind", 0, "what the lock is for; a number that is only kept")
	cmd.Flags().DurationVar(&lasts, "ttl", time.Minute, "how long the lock lasts")
	return cmd
}

func directoryUnlock(client *directoryClient) *cobra.Command {
	var owner string
	cmd := &cobra.Command{
		Use:     "unlock NAME",
		Short:   "Release the lock of an entry",
		Example: `  carillon directory unlock root.cell --owner mover-1`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var done location.Result
			call := client.to(cmd)
			if err := call.do(http.MethodDelete, lockPath(args[0]), ownerQuery(owner), nil, &done); err != nil {
				return err
			}
			return call.show(done, func(w io.Writer) { fmt.Fprintf(w, "%s is free\n", done.Entry.Name) })
		},
	}
	cmd.Flags().StringVar(&owner, "owner", "", "who holds the lock (required)")
	return cmd
}

func lockPath(name string) string { return "/entries/" + url.PathEscape(name) + "/lock" }

func directoryBackup(client *directoryClient) *cobra.Command {
	return directoryCopy(client, "backup", "Write a backup to a folder of the server's machine",
		`Write a backup of the directory to a folder of the server's machine, which must not
exist. The server does this only for clients on its own machine.`, "backed up to")
}

func directoryRestore(client *directoryClient) *cobra.Command {
	return directoryCopy(client, "restore", "Put a backup in the place of the directory",
		`Put a backup, of this directory or of another, in the place of the node's directory,
and empty its caches. The server does this only for clients on its own machine.`, "restored from")
}

func directoryCopy(client *directoryClient, verb, short, long, did string) *cobra.Command {
	return &cobra.Command{
		Use:     verb + " DIR",
		Short:   short,
		Long:    long,
		Example: "  carillon directory " + verb + " /var/backups/directory-2026-03-01",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, err := filepath.Abs(args[0])
			if err != nil {
				return err
			}
			var done httpapi.Copied
			call := client.to(cmd)
			if err := call.do(http.MethodPost, "/"+verb, nil, httpapi.Folder{Dir: dir}, &done); err != nil {
				return err
			}
			return call.show(done, func(w io.Writer) { fmt.Fprintf(w, "%s %s at revision %d\n", did, done.Dir, done.Revision) })
		},
	}
}
