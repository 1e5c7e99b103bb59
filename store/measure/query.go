package measure

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"carillon/figure"
	"carillon/peer"
)

// Dashboard is what queries are about: hosts with ten series each, which have a point every
// ten seconds for the last thirteen hours, and a counter each that has them for thirty days.
type Dashboard struct {
	Hosts  int
	Rounds int // of timing, after one that does not count
}

const (
	monthLong  = 30 * day
	recentLong = 12 * time.Hour
	margin     = time.Hour // before the first evaluation, for its window
)

// question is a range query, by the id of its figure.
type question struct {
	id, text   string
	long, step time.Duration
	tolerance  float64 // relative, of answers that are alike
}

// Rates differ in what they do at the edges of a window: to look at the point before it is
// VictoriaMetrics' way, to extrapolate is that of Prometheus and ours. The sum over hosts evens that
// out, up to about a point's rise of the 360 in a window.
var questions = []question{
	{"short", "max(max_over_time(bench_load[1m]))", 8 * time.Hour, time.Minute, 0},
	{"long", `avg by (host) (avg_over_time({__name__=~"bench_.+"}[1h]))`, recentLong, time.Hour, 1e-9},
	{"rate30d", "sum(rate(bench_requests_total[1h]))", monthLong, time.Hour, 0.01},
}

// timed is how long a server takes for each question.
type timed struct {
	name  string
	times map[string][]time.Duration // by id
}

func (t *timed) median(id string) float64 {
	sorted := slices.Sorted(slices.Values(t.times[id]))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]).Seconds() / 2
}

// query times the same questions to servers with the same points, in turns. What was sent is in
// files then, and merged, and read before.
func (r *run) query(ctx context.Context) (_ []figure.Figure, err error) {
	dir, done, err := peer.Scratch(r.Dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, done()) }()
	end := time.Now().Truncate(time.Hour)
	var servers []*peer.Process
	defer func() {
		for _, s := range servers {
			s.Kill()
		}
	}()
	peers := []*peer.Peer{peer.Own(r.Command)}
	for _, name := range r.Peers {
		peers = append(peers, peer.Other(name))
	}
	for _, p := range peers {
		s, err := r.load(ctx, p, dir, end)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.Name, err)
		}
		servers = append(servers, s)
	}
	all, err := r.time(ctx, servers, end)
	if err != nil {
		return nil, err
	}
	return r.queryFigures(all), nil
}

// load starts a server that has the points, in its files, and was started again.
func (r *run) load(ctx context.Context, p *peer.Peer, dir string, end time.Time) (*peer.Process, error) {
	s, err := p.Start(ctx, dir)
	if err != nil {
		return nil, err
	}
	err = r.sendHistory(ctx, s, end)
	if err == nil && p.Name == peer.Victoria {
		err = mergeVictoria(ctx, s)
	}
	if err == nil {
		_, _, err = s.Stop()
	}
	if err != nil {
		s.Kill()
		return nil, err
	}
	if s, err = p.Start(ctx, dir); err != nil {
		return nil, err
	}
	if err := s.Settle(ctx, mergeSettles); err != nil {
		s.Kill()
		return nil, err
	}
	return s, nil
}

// sendHistory sends the counters that last for a month, and when the others begin,
// these too, in the order of time.
func (r *run) sendHistory(ctx context.Context, s *peer.Process, end time.Time) error {
	const together = 360 // points of a series: an hour
	m := mix{seed: r.Seed, start: end.Add(-monthLong - margin).UnixMilli()}
	all := m.all(r.Scale.Query.Hosts * perHost)
	var counters, others []uint32
	late := end.Add(-recentLong - margin).UnixMilli()
	for number := range uint32(len(all)) {
		if number%uint32(perHost) == 0 {
			counters = append(counters, number)
			continue
		}
		others = append(others, number)
		all[number].time += late - m.start
	}
	hours := uint64((monthLong + margin) / time.Hour)
	for hour := range hours {
		r.Progress("a month to "+s.Peer.Name, hour, hours)
		which := counters
		if hours-hour <= uint64((recentLong+margin)/time.Hour) {
			which = slices.Concat(counters, others)
		}
		if err := send(ctx, s, which, all, together); err != nil {
			return err
		}
	}
	r.Progress("a month to "+s.Peer.Name, hours, hours)
	return nil
}

func (r *run) time(ctx context.Context, servers []*peer.Process, end time.Time) ([]*timed, error) {
	var all []*timed
	for _, s := range servers {
		all = append(all, &timed{name: s.Peer.Name, times: make(map[string][]time.Duration)})
	}
	for _, q := range questions {
		asked := peer.Range{Expression: q.text, Start: end.Add(-q.long), End: end, Step: q.step}
		if err := alike(ctx, servers, q, asked); err != nil {
			return nil, err
		}
		for round := range r.Scale.Query.Rounds {
			r.Progress("ask "+q.id, uint64(round), uint64(r.Scale.Query.Rounds))
			for i, s := range servers {
				took, err := s.TimeRange(ctx, asked)
				if err != nil {
					return nil, err
				}
				all[i].times[q.id] = append(all[i].times[q.id], took)
			}
		}
		r.Progress("ask "+q.id, uint64(r.Scale.Query.Rounds), uint64(r.Scale.Query.Rounds))
	}
	return all, nil
}

func (r *run) queryFigures(all []*timed) (figures []figure.Figure) {
	ours := all[0]
	for _, q := range questions {
		for _, theirs := range all[1:] {
			figures = append(figures, figure.Figure{
				ID: "store.query_ratio_" + q.id, Value: ours.median(q.id) / theirs.median(q.id), Unit: ratio, Better: figure.Lower, Goal: 0.5, Floor: 1,
				Note: fmt.Sprintf("%s over %s every %s; %s %.1f ms", q.text, q.long, q.step, theirs.name, theirs.median(q.id)*1e3),
			})
		}
		figures = append(figures, figure.Figure{
			ID: "store.query_time_" + q.id, Value: ours.median(q.id), Unit: seconds,
			Note: fmt.Sprintf("%d hosts; median of %d, warm, alike answers", r.Scale.Query.Hosts, r.Scale.Query.Rounds),
		})
	}
	return figures
}

// alike fails unless all servers answer a question, and alike.
func alike(ctx context.Context, servers []*peer.Process, q question, asked peer.Range) error {
	var first map[string][]peer.Sample
	for _, s := range servers {
		results, err := s.QueryRange(ctx, asked)
		if err != nil {
			return err
		}
		answer := byLabels(results)
		if first == nil {
			first = answer
		}
		if len(answer) == 0 {
			return fmt.Errorf("%s: %s has no answer: %w", s.Peer.Name, q.text, ErrWrongAnswer)
		}
		if err := sameAnswer(first, answer, q.tolerance); err != nil {
			return fmt.Errorf("%s and %s: %s: %w", servers[0].Peer.Name, s.Peer.Name, q.text, err)
		}
	}
	return nil
}

func byLabels(results []peer.Result) map[string][]peer.Sample {
	answer := make(map[string][]peer.Sample, len(results))
	for _, one := range results {
		var key []string
		for name, value := range one.Metric {
			key = append(key, name+"="+value)
		}
		slices.Sort(key)
		answer[strings.Join(key, ",")] = one.Values
	}
	return answer
}

func sameAnswer(a, b map[string][]peer.Sample, tolerance float64) error {
	if len(a) != len(b) {
		return fmt.Errorf("%d series and %d: %w", len(a), len(b), ErrWrongAnswer)
	}
	for key, samples := range a {
		others := b[key]
		if len(samples) != len(others) {
			return fmt.Errorf("{%s} has %d points and %d: %w", key, len(samples), len(others), ErrWrongAnswer)
		}
		for i, x := range samples {
			y := others[i]
			if x.Time != y.Time || !(math.Abs(x.Value-y.Value) <= tolerance*math.Abs(x.Value)) {
				return fmt.Errorf("{%s} is %v at %.3f, and %v at %.3f: %w", key, x.Value, x.Time, y.Value, y.Time, ErrWrongAnswer)
			}
		}
	}
	return nil
}
