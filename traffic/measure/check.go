package measure

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"time"

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

// expect fails unless a server has exactly what it should.
func expect(ctx context.Context, s *process, l *load, want traffic.Sum) error {
	points, sum, err := stored(ctx, s, l)
	if err != nil {
		return err
	}
	if points != want.Points || math.Abs(sum-want.Value()) > sumTolerance*math.Abs(want.Value()) {
		return fmt.Errorf("%s has %d points with the sum %v, sent were %d with %v: %w", s.peer.name, points, sum, want.Points, want.Value(), ErrWrongSum)
	}
	return nil
}

// stored asks a server for the count and the sum of all points of a load.
func stored(ctx context.Context, s *process, l *load) (points int64, sum float64, err error) {
	for _, selector := range l.generator.Selectors(l.format, mostSelected) {
		if l.format == traffic.Istatd { // a function would leave equal labels: none
			series, err := query(ctx, s, selector+"[1d]")
			if err != nil {
				return 0, 0, err
			}
			for _, one := range series {
				points += int64(len(one.Values))
				for _, v := range one.Values {
					sum += v.value
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
				part.add(one.Value.value)
			}
		}
	}
	return points, sum, nil
}

// result is one series of an answer.
type result struct {
	Value  sample   // of an instant
	Values []sample // of a range
}

type sample struct{ value float64 }

// UnmarshalJSON reads a time and a value, [1700000000.5,"1"].
func (s *sample) UnmarshalJSON(b []byte) error {
	var pair [2]json.RawMessage
	if err := json.Unmarshal(b, &pair); err != nil {
		return err
	}
	var text string
	if err := json.Unmarshal(pair[1], &text); err != nil {
		return err
	}
	var err error
	s.value, err = strconv.ParseFloat(text, 64)
	return err
}

// query asks about now.
func query(ctx context.Context, s *process, expression string) ([]result, error) {
	return queryAt(ctx, s, time.Now(), expression)
}

func queryAt(ctx context.Context, s *process, at time.Time, expression string) ([]result, error) {
	q := url.Values{"query": {expression}, "time": {strconv.FormatFloat(float64(at.UnixMilli())/1000, 'f', 3, 64)}, "nocache": {"1"}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url("/api/v1/query?"+q.Encode()), nil)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	var answer struct {
		Error string
		Data  struct{ Result []result }
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return nil, fmt.Errorf("%s: %s: %w", s.peer.name, expression, err)
	}
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s: %s: %s", s.peer.name, expression, response.Status, answer.Error)
	}
	return answer.Data.Result, nil
}
