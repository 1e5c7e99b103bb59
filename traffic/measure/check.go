package measure

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"carillon/peer"
	"carillon/traffic"
)

const (
	// mostSelected is how many series one query is about, so that it is within the
	// limits that servers have unless told otherwise.
	mostSelected = 50_000

	// sumTolerance is how far, in parts of it, a sum may be off: servers add up in
	// their own order, and round.
	sumTolerance = 1e-9
)

// ErrWrongSum is wrapped by the error of a run after which a server did not have
// what was sent to it.
var ErrWrongSum = errors.New("not what was sent")

// check fails unless a server, started again, has what it acknowledged.
func check(ctx context.Context, s *peer.Process, l *load, want traffic.Sum) error {
	if s.Peer.Name == peer.CarbonCache {
		return expectFiles(s, want)
	}
	return expect(ctx, s, l, want)
}

// expect fails unless a server has exactly what it should.
func expect(ctx context.Context, s *peer.Process, l *load, want traffic.Sum) error {
	points, sum, err := stored(ctx, s, l)
	if err != nil {
		return err
	}
	if points != want.Points || math.Abs(sum-want.Value()) > sumTolerance*math.Abs(want.Value()) {
		return fmt.Errorf("%s has %d points with the sum %v, sent were %d with %v: %w", s.Peer.Name, points, sum, want.Points, want.Value(), ErrWrongSum)
	}
	return nil
}

// stored asks a server for the count and the sum of all points of a load.
func stored(ctx context.Context, s *peer.Process, l *load) (points int64, sum float64, err error) {
	for _, selector := range l.generator.Selectors(l.format, mostSelected) {
		if l.format == traffic.Istatd { // a function would leave equal labels: none
			series, err := query(ctx, s, selector+"[1d]")
			if err != nil {
				return 0, 0, err
			}
			for _, one := range series {
				points += int64(len(one.Values))
				for _, v := range one.Values {
					sum += v.Value
				}
			}
			continue
		}
		for _, part := range []struct {
			function string
			add      func(float64)
		}{
			{"count_over_time", func(n float64) { points += int64(n) }},
			{"sum_over_time", func(v float64) { sum += v }},
		} {
			result, err := query(ctx, s, fmt.Sprintf("sum(%s(%s[1d]))", part.function, selector))
			if err != nil {
				return 0, 0, err
			}
			for _, one := range result { // none, if no series matches
				part.add(one.Value.Value)
			}
		}
	}
	return points, sum, nil
}

// query asks about now.
func query(ctx context.Context, s *peer.Process, expression string) ([]peer.Result, error) {
	return s.Query(ctx, time.Now(), expression)
}
