package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"carillon/server"
	"carillon/store"
	"carillon/store/page"
)

func statsCommand() *cobra.Command {
	var top int
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "stats DIR",
		Short: "Show what takes the space of a data directory",
		Long: `Read all page files of a data directory and show how many bytes they take by tier, by
column and by series. A server may be running on it; then series are shown by partition
and number, because their names are in a database that the server has locked.`,
		Example: `  carillon stats ./carillon-data
  carillon stats ./carillon-data --top 100 --json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if top < 0 {
				return fmt.Errorf("--top %d: want 0 or more", top)
			}
			progress := newProgress(cmd.ErrOrStderr(), logger(slog.LevelWarn))
			usage, err := server.ReadUsage(args[0], top, progress.update)
			progress.close()
			if err != nil {
				return err
			}
			a := newStatsAnswer(usage)
			if asJSON {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(a)
			}
			return a.print(cmd.OutOrStdout())
		},
	}
	cmd.Flags().IntVar(&top, "top", 10, "how many series to show, those that take most")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

type statsAnswer struct {
	Tiers  []statsTier      `json:"tiers"`
	Others map[string]int64 `json:"others"` // bytes of what is no page file
	Series int              `json:"series"` // that have anything in files
	Bytes  int64            `json:"seriesBytes"`
	Top    []statsSeries    `json:"top"`
	Note   string           `json:"note,omitempty"`
}

type statsTier struct {
	Resolution string           `json:"resolution"`
	Files      int              `json:"files"`
	Bytes      int64            `json:"bytes"`
	Buckets    uint64           `json:"buckets"`
	Strips     uint64           `json:"strips"`
	Columns    map[string]int64 `json:"columns"` // bytes, by what they are for
}

type statsSeries struct {
	Partition int    `json:"partition"`
	Number    uint32 `json:"number"`
	Name      string `json:"name,omitempty"`
	Bytes     int64  `json:"bytes"`
}

// columnsOf is the bytes of a tier by what they are for, and their names in order.
func columnsOf(t *store.TierUsage) (names []string, columns map[string]int64) {
	names = append([]string{"index", "page"}, page.PartNames[:]...)
	columns = map[string]int64{"index": t.Around, "page": t.Head}
	for part, bytes := range t.Parts {
		columns[page.PartNames[part]] = bytes
	}
	return names, columns
}

func newStatsAnswer(u *server.Usage) *statsAnswer {
	a := &statsAnswer{Others: make(map[string]int64), Series: u.Count, Bytes: u.Bytes, Note: u.Note, Top: []statsSeries{}}
	for i := range u.Tiers {
		t := &u.Tiers[i]
		_, columns := columnsOf(t)
		a.Tiers = append(a.Tiers, statsTier{
			Resolution: resolutionText(t.Resolution), Files: t.Files, Bytes: t.Bytes, Buckets: t.Buckets, Strips: t.Strips, Columns: columns,
		})
	}
	for _, o := range u.Others {
		a.Others[o.Name] = o.Bytes
	}
	for _, s := range u.Series {
		a.Top = append(a.Top, statsSeries{Partition: s.ID.Partition(), Number: s.ID.Number(), Name: s.Name, Bytes: s.Bytes})
	}
	return a
}

func (a *statsAnswer) print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(w, "\t")
	for _, t := range a.Tiers {
		fmt.Fprintf(w, "%s\tbytes a bucket\t", t.Resolution)
	}
	fmt.Fprintln(w)
	row := func(name string, value func(*statsTier) (int64, bool)) {
		fmt.Fprintf(w, "%s\t", name)
		for i := range a.Tiers {
			t := &a.Tiers[i]
			n, each := value(t)
			if each && t.Buckets > 0 {
				fmt.Fprintf(w, "%d\t%.3f\t", n, float64(n)/float64(t.Buckets))
			} else {
				fmt.Fprintf(w, "%d\t\t", n)
			}
		}
		fmt.Fprintln(w)
	}
	row("files", func(t *statsTier) (int64, bool) { return int64(t.Files), false })
	row("buckets", func(t *statsTier) (int64, bool) { return int64(t.Buckets), false })
	row("strips", func(t *statsTier) (int64, bool) { return int64(t.Strips), false })
	row("bytes", func(t *statsTier) (int64, bool) { return t.Bytes, true })
	names, _ := columnsOf(&store.TierUsage{})
	for _, name := range names {
		row(name, func(t *statsTier) (int64, bool) { return t.Columns[name], true })
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return a.printSeries(out)
}

func (a *statsAnswer) printSeries(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, name := range []string{"directory", "locations", "journal"} {
		fmt.Fprintf(w, "%s\t%s\n", name, byteSize(a.Others[name]))
	}
	fmt.Fprintf(w, "%d series\t%s\n", a.Series, byteSize(a.Bytes))
	if a.Note != "" {
		fmt.Fprintln(w, a.Note)
	}
	for _, s := range a.Top {
		name := s.Name
		if name == "" {
			name = fmt.Sprintf("partition %d, number %d", s.Partition, s.Number)
		}
		fmt.Fprintf(w, "%d\t%s\n", s.Bytes, name)
	}
	return w.Flush()
}
