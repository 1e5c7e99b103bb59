package measure

import (
	"context"
	"fmt"
	"slices"
	"time"

	"carillon/figure"
	"carillon/peer"
	"carillon/traffic"
)

// Units of figures.
const (
	ratio     = "x"
	nanos     = "ns"
	perSecond = "points/s"
	bytesUnit = "B"
	seconds   = "s"
	percent   = "%"
	pointUnit = "points"
)

// roughTraffic is what a server must cope with.
var roughTraffic = traffic.Rough{Jitter: 200 * time.Millisecond, Late: 0.01, Duplicate: 0.01, Future: 0.01}

const roughNote = "times jitter, 1 % each late, repeated and of the future"

func (r *run) few(ctx context.Context) ([]figure.Figure, error) {
	w := work{title: "remote write", population: r.Scale.Few}
	trials, err := r.compare(ctx, w, peer.Victoria, peer.Prometheus)
	figures := ratioTo(trials, peer.Victoria, figure.Figure{ID: "ingest.cpu_ratio_100k", Goal: 1. / 7, Floor: 1. / 4}, nanos, (*trial).perPoint)
	figures = append(figures, cpuRow(trials, "ingest.cpu_per_point_100k")...)
	figures = append(figures, row(trials, "ingest.points_per_second_100k", perSecond, func(t *trial) float64 { return t.points() / t.sending.Seconds() })...)
	figures = append(figures, row(trials, "ingest.disk_per_point_100k", bytesUnit, (*trial).diskPerPoint)...)
	for _, t := range trials {
		if t.peer.Name == peer.Ours {
			figures = append(figures, figure.Figure{ID: "ingest.journal_per_point_100k", Value: float64(t.journal) / t.allPoints(), Unit: bytesUnit, Note: "before anything is sealed, definitions included"})
		}
	}
	return figures, err
}

// variants are the same with other traffic. Peers that keep what is repeated or
// of the future would fail the check of what they stored, so that there is only us.
func (r *run) variants(ctx context.Context) (figures []figure.Figure, err error) {
	for _, v := range []struct {
		id, note string
		work     work
	}{
		{"ingest.cpu_per_point_sequential", "all series in the same order every step", work{title: "remote write in sequence", sequential: true}},
		{"ingest.cpu_per_point_rough", roughNote, work{title: "rough remote write", rough: roughTraffic}},
		{"ingest.cpu_per_point_istatd", "istatd lines", work{title: "istatd", format: traffic.Istatd}},
	} {
		v.work.population = r.Scale.Variants
		t, err := r.try(ctx, peer.Own(r.Command), v.work)
		if err != nil {
			return figures, err
		}
		figures = append(figures, figure.Figure{ID: v.id, Value: t.perPoint(), Unit: nanos, Note: v.note + "; " + v.work.population.String()})
	}
	return figures, nil
}

func (r *run) many(ctx context.Context) ([]figure.Figure, error) {
	w := work{title: "remote write", population: r.Scale.Many}
	trials, err := r.compare(ctx, w, peer.Victoria)
	figures := ratioTo(trials, peer.Victoria, figure.Figure{ID: "ingest.cpu_ratio_500k", Goal: 1. / 7, Floor: 1. / 4}, nanos, (*trial).perPoint)
	figures = append(figures, ratioTo(trials, peer.Victoria, figure.Figure{ID: "ingest.new_series_ratio", Goal: 1. / 10, Floor: 1. / 4}, nanos, (*trial).perNewSeries)...)
	figures = append(figures, ratioTo(trials, peer.Victoria, figure.Figure{ID: "ingest.memory_ratio", Goal: 0.4, Floor: 0.7}, bytesUnit, (*trial).peakBytes)...)
	figures = append(figures, cpuRow(trials, "ingest.cpu_per_point_500k")...)
	figures = append(figures, row(trials, "ingest.cpu_per_new_series", nanos, (*trial).perNewSeries)...)
	figures = append(figures, row(trials, "ingest.peak_memory_500k", bytesUnit, (*trial).peakBytes)...)
	figures = append(figures, row(trials, "ingest.restart_500k", seconds, func(t *trial) float64 { return t.restart.Seconds() })...)
	return figures, err
}

func (r *run) graphite(ctx context.Context) ([]figure.Figure, error) {
	w := work{title: "graphite", population: r.Scale.Graphite, format: traffic.Graphite}
	trials, err := r.compare(ctx, w, peer.Victoria)
	figures := ratioTo(trials, peer.Victoria, figure.Figure{ID: "ingest.graphite_ratio", Goal: 1. / 5, Floor: 1. / 3}, nanos, (*trial).perPoint)
	figures = append(figures, cpuRow(trials, "ingest.cpu_per_point_graphite")...)
	return figures, err
}

// files compares with what keeps a file a series.
func (r *run) files(ctx context.Context) ([]figure.Figure, error) {
	if !slices.Contains(r.Peers, peer.CarbonCache) {
		return nil, nil
	}
	trials, err := r.compare(ctx, work{title: "graphite into files", population: r.Scale.Files, format: traffic.Graphite}, peer.CarbonCache)
	figures := cpuRow(trials, "ingest.cpu_per_point_files")
	figures = append(figures, row(trials, "ingest.cpu_per_new_series_files", nanos, (*trial).perNewSeries)...)
	figures = append(figures, row(trials, "ingest.disk_per_point_files", bytesUnit, (*trial).diskPerPoint)...)
	return append(figures, row(trials, "ingest.peak_memory_files", bytesUnit, (*trial).peakBytes)...), err
}

// compare gives the same work to this build and to those of some peers that are to be
// compared with, one after the other.
func (r *run) compare(ctx context.Context, w work, some ...string) (trials []*trial, err error) {
	for _, p := range r.servers(some...) {
		t, err := r.try(ctx, p, w)
		if err != nil {
			return trials, err
		}
		trials = append(trials, t)
	}
	return trials, nil
}

// ratioTo is how much this build needs of what a peer needs: no figure if either was
// not measured.
func ratioTo(trials []*trial, than string, f figure.Figure, unit string, of func(*trial) float64) []figure.Figure {
	var ours, theirs *trial
	for _, t := range trials {
		switch t.peer.Name {
		case peer.Ours:
			ours = t
		case than:
			theirs = t
		}
	}
	if ours == nil || theirs == nil {
		return nil
	}
	f.Value, f.Unit, f.Better = of(ours)/of(theirs), ratio, figure.Lower
	f.Note = fmt.Sprintf("%s, %s %s; %s", figure.Amount(of(ours), unit), than, figure.Amount(of(theirs), unit), ours.work.population)
	return []figure.Figure{f}
}

// row is a figure of each server, under the id with the peer's name behind it.
func row(trials []*trial, id, unit string, of func(*trial) float64) (figures []figure.Figure) {
	for _, t := range trials {
		f := figure.Figure{ID: id, Value: of(t), Unit: unit, Note: t.work.population.String()}
		if t.peer.Name != peer.Ours {
			f.ID += "." + t.peer.Name
		}
		figures = append(figures, f)
	}
	return figures
}

// cpuRow is the row of CPU time a point, with how much of it was spent before the server was
// asked to end.
func cpuRow(trials []*trial, id string) []figure.Figure {
	figures := row(trials, id, nanos, (*trial).perPoint)
	for i, t := range trials {
		figures[i].Note += fmt.Sprintf("; %.0f ns until it was idle", float64(t.running.Nanoseconds())/t.points())
	}
	return figures
}

func (p Population) String() string {
	return fmt.Sprintf("%d series, %d points each", p.Series, p.Steps+learning)
}
