package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/prometheus/common/model"
	"github.com/spf13/cobra"

	"carillon/backup"
	"carillon/bucket"
	"carillon/store"
	"carillon/store/page"
)

func dumpCommand() *cobra.Command {
	d := &dumper{}
	cmd := &cobra.Command{
		Use:   "dump FILE",
		Short: "Show what is in a file of Carillon's",
		Long: `Show what is in a page file (header, pages, series), in the MANIFEST of a store, in its
file of deletes, or in the BACKUP of a backup. A server may be running: none of these
files ever changes. What is damaged is named with its offset, and the rest is shown; the
exit status is 1 then.`,
		Example: `  carillon dump ./carillon-data/store/000/MANIFEST
  carillon dump ./carillon-data/store/000/10s/0000000000000001.pages
  carillon dump --values --json ./carillon-data/store/000/10s/0000000000000001.pages`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			out := bufio.NewWriter(cmd.OutOrStdout())
			d.out = out
			d.table = tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
			err := d.file(args[0])
			return errors.Join(err, d.table.Flush(), out.Flush())
		},
	}
	cmd.Flags().BoolVar(&d.values, "values", false, "show all buckets of a page file")
	cmd.Flags().BoolVar(&d.json, "json", false, "print JSON, one line a thing")
	return cmd
}

// dumper prints one file, as a table or as JSON.
type dumper struct {
	values, json bool
	out          io.Writer
	table        *tabwriter.Writer
}

// line prints a thing as JSON, or a line of a table.
func (d *dumper) line(name string, v any, format string, args ...any) error {
	if d.json {
		return json.NewEncoder(d.out).Encode(map[string]any{name: v})
	}
	_, err := fmt.Fprintf(d.table, format+"\n", args...)
	return err
}

func (d *dumper) file(path string) error {
	head, err := firstBytes(path)
	if err != nil {
		return err
	}
	switch store.TypeOf(head) {
	case store.FilePages:
		return d.pages(path)
	case store.FileManifest:
		return d.manifest(path)
	case store.FileDeletes:
		return d.deletes(path)
	}
	if bytes.HasPrefix(head, []byte("carillon backup")) {
		return d.backup(path)
	}
	return fmt.Errorf("%s: at 0: it begins like no file of Carillon's: %q", path, head)
}

// firstBytes is enough of a file to tell what it is.
func firstBytes(path string) ([]byte, error) {
	in, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	head := make([]byte, 16)
	n, err := io.ReadFull(in, head)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil
	}
	return head[:n], errors.Join(err, in.Close())
}

func (d *dumper) manifest(path string) error {
	l, err := store.ReadListing(path)
	if err != nil {
		return err
	}
	if d.json {
		return d.line("manifest", l, "")
	}
	fmt.Fprintf(d.table, "sealed through journal message\t%d\nwatermark\t%s\nnext file\t%d\n", l.Sealed, moment(l.Watermark), l.Sequence)
	if l.Deletes != nil {
		fmt.Fprintf(d.table, "deletes\t%s\t%d bytes\n", l.Deletes.Path, l.Deletes.Bytes)
	}
	for _, t := range l.Tiers {
		fmt.Fprintf(d.table, "tier %s\t%d files\tkept from %s\n", resolutionText(t.Resolution), len(t.Files), moment(t.Horizon))
		for _, f := range t.Files {
			fmt.Fprintf(d.table, "  %s\t%d bytes\t%d buckets\t%s to %s\tchecksum %08x\n", f.Path, f.Bytes, f.Buckets, moment(f.First), moment(f.Last), f.Checksum)
		}
	}
	return nil
}

func resolutionText(milliseconds int64) string {
	return model.Duration(time.Duration(milliseconds) * time.Millisecond).String()
}

func (d *dumper) deletes(path string) error {
	deletes, err := store.ReadDeletes(path)
	if err != nil {
		return err
	}
	for _, one := range deletes {
		var spans []string
		for _, s := range one.Spans {
			spans = append(spans, "["+moment(s[0])+", "+moment(s[1])+")")
		}
		if err := d.line("delete", one, "in files below %d\t%d series\t%s", one.Below, len(one.Numbers), strings.Join(spans, " ")); err != nil {
			return err
		}
	}
	return nil
}

func (d *dumper) backup(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	m, err := backup.ParseManifest(text)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	err = d.line("backup", m, "made\t%s\njournal position\t%d\nfiles\t%d\nbytes\t%d", m.Made.Format(time.RFC3339Nano), m.Position, len(m.Files), m.Bytes())
	if err != nil || d.json {
		return err
	}
	for _, e := range m.Files {
		fmt.Fprintf(d.table, "  %s\t%d bytes\tchecksum %08x\n", e.Path, e.Size, e.CRC)
	}
	return nil
}

// pages shows as much of a page file as can be read.
func (d *dumper) pages(path string) (err error) {
	f, err := store.OpenPageFile(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	i := f.Info()
	action := "merge with"
	if i.Replaces {
		action = "replace"
	}
	err = d.line("file", i, "version %d, %d bytes, checksum %08x\nresolution %s, window from %s, segments %s to %s\n%d pages, %d series, %d buckets, which %s older ones; level %d\nindex at %d",
		i.Version, i.Size, i.Checksum, resolutionText(i.Resolution), moment(i.Window), moment(i.First), moment(i.Last),
		i.Pages, i.Series, i.Buckets, action, i.Level, i.IndexOffset)
	if err != nil {
		return err
	}
	damaged := 0
	for p, bad := range f.Pages() {
		if bad == nil {
			err = d.line("page", p, "page %d at %d\t%d bytes\tseries %d to %d\t%d buckets\t%s to %s",
				p.Position, p.Offset, p.Bytes, p.Low, p.High, p.Buckets, moment(p.First), moment(p.Last))
			if err != nil {
				return err
			}
			bad, err = d.strips(f, p)
		}
		if bad != nil {
			damaged++
			err = d.line("damage", bad.Error(), "DAMAGED\t%v", bad)
		}
		if err = errors.Join(err, d.table.Flush()); err != nil { // a page at a time: a file may be long
			return err
		}
	}
	if damaged > 0 {
		return fmt.Errorf("%s is damaged in %d places", path, damaged)
	}
	return nil
}

// stripLine is a strip as JSON shows it.
type stripLine struct {
	Series  uint32         `json:"series"`
	Offset  int64          `json:"offset"` // in the file
	Bytes   int            `json:"bytes"`
	Count   int            `json:"count"`
	Parts   map[string]int `json:"parts"` // bytes by what they are for
	Buckets []bucketLine   `json:"buckets,omitempty"`
}

// strips shows what a page has of each series. What is bad about the page is not an
// error of showing it.
func (d *dumper) strips(f *store.PageFile, of store.PageInfo) (bad, err error) {
	var buckets []bucket.Bucket
	for s, bad := range f.Strips(of) {
		if bad != nil {
			return bad, nil
		}
		if buckets, bad = f.Buckets(s, buckets[:0]); bad != nil {
			return bad, nil
		}
		sizes, bad := f.Sizes(s)
		if bad != nil {
			return bad, nil
		}
		line := stripLine{
			Series: s.Number, Offset: int64(of.Offset) + int64(s.Offset()), Bytes: s.Bytes(), Count: len(buckets), Parts: make(map[string]int),
		}
		var parts []string
		for part, bytes := range sizes {
			if bytes > 0 {
				line.Parts[page.PartNames[part]] = bytes
				parts = append(parts, fmt.Sprintf("%s %d", page.PartNames[part], bytes))
			}
		}
		if d.values && d.json {
			line.Buckets = bucketLines(buckets)
		}
		err := d.line("strip", line, "  series %d at %d\t%d bytes\t%d buckets\t%s", line.Series, line.Offset, line.Bytes, line.Count, strings.Join(parts, ", "))
		if err != nil {
			return nil, err
		}
		if d.values && !d.json {
			printBuckets(d.table, buckets)
		}
	}
	return nil, nil
}

// bucketLine is a bucket as JSON shows it. Values that are not numbers of JSON's are
// strings.
type bucketLine struct {
	FirstTime int64  `json:"firstTime"`
	LastTime  int64  `json:"lastTime"`
	Count     uint64 `json:"count"`
	First     number `json:"first"`
	Last      number `json:"last"`
	Sum       number `json:"sum"`
	Min       number `json:"min"`
	Max       number `json:"max"`
	M2        number `json:"m2"`
	Resets    number `json:"resets"`
	StaleTime int64  `json:"staleTime,omitempty"`
}

// number is a value of any kind.
type number float64

func (n number) MarshalJSON() ([]byte, error) {
	if v := float64(n); math.IsNaN(v) || math.IsInf(v, 0) {
		return json.Marshal(fmt.Sprint(v))
	}
	return json.Marshal(float64(n))
}

func bucketLines(buckets []bucket.Bucket) []bucketLine {
	lines := make([]bucketLine, len(buckets))
	for i := range buckets {
		b := &buckets[i]
		lines[i] = bucketLine{
			FirstTime: b.FirstTime, LastTime: b.LastTime, Count: b.Count, First: number(b.First), Last: number(b.Last), Sum: number(b.Sum),
			Min: number(b.Min), Max: number(b.Max), M2: number(b.M2), Resets: number(b.Resets), StaleTime: b.StaleTime,
		}
	}
	return lines
}

func printBuckets(w io.Writer, buckets []bucket.Bucket) {
	const layout = "2006-01-02 15:04:05.000"
	for i := range buckets {
		b := &buckets[i]
		at := time.UnixMilli(b.FirstTime).Format(layout)
		stale := ""
		if b.StaleTime != 0 {
			stale = "stale at " + time.UnixMilli(b.StaleTime).Format(layout)
		}
		switch b.Count {
		case 0:
			fmt.Fprintf(w, "    %s\t%s\n", at, stale)
		case 1:
			fmt.Fprintf(w, "    %s\t%v\t%s\n", at, b.Last, stale)
		default:
			fmt.Fprintf(w, "    %s\tcount %d\tfirst %v, last %v, min %v, max %v, sum %v, m2 %v, resets %v\t%s\n",
				at, b.Count, b.First, b.Last, b.Min, b.Max, b.Sum, b.M2, b.Resets, stale)
		}
	}
}
