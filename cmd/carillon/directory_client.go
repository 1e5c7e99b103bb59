package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"carillon/cuckoo"
	"carillon/directory/httpapi"
	"carillon/directory/location"
)

// directoryClient is what the flags say of the server and the answers' form.
type directoryClient struct {
	server string
	json   bool
}

// directoryCall is one command's conversation with the server.
type directoryCall struct {
	*directoryClient
	ctx        context.Context
	out, notes io.Writer
}

func (c *directoryClient) to(cmd *cobra.Command) *directoryCall {
	return &directoryCall{directoryClient: c, ctx: cmd.Context(), out: cmd.OutOrStdout(), notes: cmd.ErrOrStderr()}
}

// directoryError is a refusal by the server.
type directoryError struct{ kind, text string }

func (e *directoryError) Error() string { return e.text }

// do sends a request, with body as JSON if there is one, and reads the answer's
// data. What the server warns of goes to standard error.
func (c *directoryCall) do(method, path string, q url.Values, body, into any) error {
	address := strings.TrimSuffix(c.server, "/") + httpapi.Root + path
	if len(q) > 0 {
		address += "?" + q.Encode()
	}
	var sent io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return err
		}
		sent = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(c.ctx, method, address, sent)
	if err != nil {
		return err
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("is the server running? %w", err)
	}
	defer response.Body.Close()
	var a struct {
		Status    string          `json:"status"`
		Data      json.RawMessage `json:"data"`
		ErrorType string          `json:"errorType"`
		Error     string          `json:"error"`
		Warnings  []string        `json:"warnings"`
	}
	if err := json.NewDecoder(io.LimitReader(response.Body, answerMaxBytes)).Decode(&a); err != nil {
		return fmt.Errorf("%s: %s: not an answer of the directory API: %w", address, response.Status, err)
	}
	for _, warning := range a.Warnings {
		fmt.Fprintln(c.notes, "warning:", warning)
	}
	if a.Status != "success" {
		return &directoryError{a.ErrorType, a.Error}
	}
	if err := json.Unmarshal(a.Data, into); err != nil {
		return fmt.Errorf("%s: answer: %w", address, err)
	}
	return nil
}

// show prints v as JSON, or a table of it.
func (c *directoryCall) show(v any, table func(io.Writer)) error {
	if c.json {
		return json.NewEncoder(c.out).Encode(v)
	}
	w := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	table(w)
	return w.Flush()
}

func moment(millis int64) string { return time.UnixMilli(millis).Format(time.DateTime) }

func printEntries(w io.Writer, entries []location.Entry) {
	if len(entries) == 0 {
		fmt.Fprintln(w, "no entries")
		return
	}
	fmt.Fprintln(w, "name\trw\tro\tbk\tflags\tversion\tmodified\tsites\tlock")
	for i := range entries {
		e := &entries[i]
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t0x%x\t%d\t%s\t%s\t%s\n", e.Name, orDash(e.IDs.RW), orDash(e.IDs.RO), orDash(e.IDs.BK),
			e.Flags, e.Version, moment(e.Modified), siteList(e.Sites), lockText(e.Lock))
	}
}

func orDash(id uint64) string {
	if id == 0 {
		return "-"
	}
	return fmt.Sprint(id)
}

// siteList is in the form that put reads.
func siteList(sites []location.Site) string {
	if len(sites) == 0 {
		return "-"
	}
	texts := make([]string, len(sites))
	for i, s := range sites {
		texts[i] = fmt.Sprintf("%s:%d", s.Server, s.Partition)
		if s.Flags != 0 || strings.Contains(s.Server, ":") {
			texts[i] += fmt.Sprintf(":0x%x", s.Flags)
		}
	}
	return strings.Join(texts, " ")
}

func lockText(l location.Lock) string {
	if l.Owner == "" {
		return "-"
	}
	return l.Owner + " until " + moment(l.Expires)
}

func printDirectoryStats(w io.Writer, s *httpapi.Stats) {
	d := &s.Directory
	live := "live"
	if !s.Feed.Live {
		live = "not live: " + s.Feed.Reason
	}
	fmt.Fprintf(w, "entries\t%d\nservers\t%d\non disk\t%d bytes\nrevision\t%d of %d, feed %s\n",
		d.Entries, d.Servers, d.DiskBytes, s.Feed.Revision, s.Feed.Last, live)
	if d.NegativesOff {
		fmt.Fprintln(w, "absences\tare read from disk until the feed is live")
	}
	if d.Stopped != "" {
		fmt.Fprintf(w, "stopped\t%s\n", d.Stopped)
	}
	if d.Names.Whole {
		fmt.Fprintln(w, "absent names\tneed no cache: every name is cached")
	}
	fmt.Fprintln(w, "\ncache\tlook-ups\thit rate\tentries\tof\tbytes\tevicted\tdropped\t")
	printCache(w, "names", &d.Names.Positive, d.Names.SlotBytes)
	printCache(w, "absent names", &d.Names.Negative, 0)
	printCache(w, "ids", &d.IDs.Positive, d.IDs.SlotBytes)
	printCache(w, "absent ids", &d.IDs.Negative, 0)
	if s.Series != nil {
		printCache(w, "series", &s.Series.Positive, 0)
		printCache(w, "absent series", &s.Series.Negative, 0)
	}
	fmt.Fprintln(w, "\nchange\tdone\trefused")
	for op := range location.UnregisterServer + 1 {
		n := d.Changes[op]
		fmt.Fprintf(w, "%s\t%d\t%d\n", op, n.Done, n.Refused)
	}
}

// printCache prints one line; more is the bytes beside the table's.
func printCache(w io.Writer, name string, s *cuckoo.Stats, more int) {
	if s.Slots == 0 {
		fmt.Fprintf(w, "%s\toff\t\t\t\t\t\t\t\n", name)
		return
	}
	rate := "-"
	if s.Lookups > 0 {
		rate = fmt.Sprintf("%.1f %%", 100*float64(s.Hits)/float64(s.Lookups))
	}
	fmt.Fprintf(w, "%s\t%d\t%s\t%d\t%d\t%d\t%d\t%d\t\n", name, s.Lookups, rate, s.Entries, s.Slots, s.Bytes+more, s.Evictions, s.Invalidations)
}
