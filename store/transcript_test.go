package store

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"carillon/bucket"
)

// TestTranscripts plays what testdata tells. Times are durations since 10 January
// 1970, so that they can be read.
//
//	open tiers=10s:1h,1m:1d     closes what is open, and opens; data stay
//	add                         lines of: series, time, values a second apart
//	seal now=T                  with the worker's work
//	maintain now=T
//	read series=N tier=I        buckets as start: count first..last of samples
//	files                       per tier: lines of the manifest
func TestTranscripts(t *testing.T) {
	datadriven.Walk(t, "testdata/transcripts", func(t *testing.T, path string) {
		p := &player{fs: newMemFS()}
		datadriven.RunTest(t, path, p.play)
		if err := stop(p.store); err != nil {
			t.Error(err)
		}
	})
}

const epoch = 9 * day

type player struct {
	fs     *memFS
	store  *Store
	sealed uint64
}

func (p *player) play(t *testing.T, d *datadriven.TestData) string {
	at := func(name string) int64 {
		var s string
		d.ScanArgs(t, name, &s)
		return parseTime(t, s)
	}
	switch d.Cmd {
	case "open":
		var tiers string
		d.ScanArgs(t, "tiers", &tiers)
		return p.open(t, tiers)
	case "add":
		for line := range strings.Lines(d.Input) {
			p.add(t, strings.Fields(line))
		}
		return ""
	case "seal":
		p.sealed++
		if err := p.store.Seal(at("now"), p.sealed, none); err != nil {
			return err.Error()
		}
		drive(p.store)
		return p.lines()
	case "maintain":
		p.store.Maintain(at("now"))
		drive(p.store)
		return p.lines()
	case "read":
		var number uint32
		var tier int
		d.ScanArgs(t, "series", &number)
		d.ScanArgs(t, "tier", &tier)
		return p.read(t, number, tier)
	case "files":
		return p.files()
	}
	t.Fatalf("%s: unknown command %s", d.Pos, d.Cmd)
	return ""
}

func (p *player) open(t *testing.T, tiers string) string {
	if p.store != nil {
		if err := stop(p.store); err != nil {
			t.Fatal(err)
		}
	}
	var err error
	if p.store, err = newStore(testConfig(p.fs, testTiers(t, tiers))); err != nil {
		return err.Error()
	}
	return fmt.Sprintf("sealed %d\n", p.store.Sealed())
}

func (p *player) add(t *testing.T, fields []string) {
	var number uint32
	if _, err := fmt.Sscan(fields[0], &number); err != nil {
		t.Fatal(err)
	}
	at := parseTime(t, fields[1])
	for i, field := range fields[2:] {
		var value float64
		if _, err := fmt.Sscan(field, &value); err != nil {
			t.Fatal(err)
		}
		b := bucket.Of(at+int64(i)*second, value)
		p.store.Add(number, &b)
	}
}

func (p *player) lines() string {
	v := p.store.current
	out := "watermark " + showTime(v.watermark) + ", horizons"
	for _, horizon := range v.horizons {
		out += " " + showTime(horizon)
	}
	return out + "\n"
}

func (p *player) read(t *testing.T, number uint32, tier int) string {
	view := p.store.View([]uint32{number}, nil)
	defer view.Close()
	buckets, err := view.Read(number, tier, math.MinInt64, math.MaxInt64, nil)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for _, b := range buckets {
		fmt.Fprintf(&out, "%s: %d, %v..%v, min %v max %v\n",
			showTime(b.Start(p.store.resolution(tier))), b.Count, b.First, b.Last, b.Min, b.Max)
	}
	return out.String()
}

func (p *player) files() string {
	var out strings.Builder
	for i, files := range p.store.current.files {
		for _, f := range files {
			how := "merges"
			if f.replaces {
				how = "replaces"
			}
			fmt.Fprintf(&out, "%s: file %d, level %d, %s, %d buckets of %d series, %s to %s\n", p.store.config.Tiers[i],
				f.sequence, f.level, how, f.buckets, f.series, showTime(f.first), showTime(f.last))
		}
	}
	return out.String()
}

func parseTime(t *testing.T, s string) int64 {
	d, err := time.ParseDuration(s)
	if err != nil {
		t.Fatal(err)
	}
	return epoch + d.Milliseconds()
}

func showTime(ms int64) string {
	if ms < 0 {
		return "none"
	}
	return (time.Duration(ms-epoch) * time.Millisecond).String()
}
