package query

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
)

// maxSeconds bounds times and durations: the engine counts nanoseconds in an
// int64, which reaches from 1678 to 2262.
const maxSeconds = 9_200_000_000

// parseTime reads seconds since the epoch, with at most milliseconds, or RFC 3339.
func parseTime(s string) (time.Time, error) {
	seconds, err := strconv.ParseFloat(s, 64)
	if err == nil {
		if !(math.Abs(seconds) <= maxSeconds) {
			return time.Time{}, fmt.Errorf("time %q is not between the years 1678 and 2261", s)
		}
		whole, fraction := math.Modf(seconds)
		return time.Unix(int64(whole), int64(math.Round(fraction*1000))*int64(time.Millisecond)).UTC(), nil
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return time.Time{}, fmt.Errorf("cannot parse %q to a valid timestamp", s)
	}
	if t.Unix() < -maxSeconds || t.Unix() > maxSeconds {
		return time.Time{}, fmt.Errorf("time %q is not between the years 1678 and 2261", s)
	}
	return t, nil
}

// parseDuration reads seconds, or a duration like 1h30m.
func parseDuration(s string) (time.Duration, error) {
	seconds, err := strconv.ParseFloat(s, 64)
	if err == nil {
		if !(math.Abs(seconds) <= maxSeconds) {
			return 0, fmt.Errorf("cannot parse %q to a valid duration. It overflows int64", s)
		}
		return time.Duration(seconds * float64(time.Second)), nil
	}
	d, err := model.ParseDuration(s)
	if err != nil {
		return 0, fmt.Errorf("cannot parse %q to a valid duration", s)
	}
	return time.Duration(d), nil
}

// timeParameter is a time of the request, or fallback if it has none.
func timeParameter(r *http.Request, name string, fallback time.Time) (time.Time, error) {
	text := r.FormValue(name)
	if text == "" {
		return fallback, nil
	}
	t, err := parseTime(text)
	if err != nil {
		return time.Time{}, badParameter(name, err)
	}
	return t, nil
}

// durationParameter is a duration of the request, 0 if it has none. It must be
// a millisecond at least.
func durationParameter(r *http.Request, name string) (time.Duration, error) {
	text := r.FormValue(name)
	if text == "" {
		return 0, nil
	}
	d, err := parseDuration(text)
	if err != nil {
		return 0, badParameter(name, err)
	}
	if d < time.Millisecond {
		return 0, badParameter(name, errors.New("less than a millisecond is not accepted. Try a positive integer"))
	}
	return d, nil
}

// limitParameter is the number of results asked for, 0 if there is no limit.
func limitParameter(r *http.Request, name string) (int, error) {
	text := r.FormValue(name)
	if text == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(text)
	if err == nil && n < 0 {
		err = errors.New("limit must be non-negative")
	}
	if err != nil {
		return 0, badParameter(name, err)
	}
	return n, nil
}

// truncated says in an answer that there was more than its caller asked for.
const truncated = "results truncated due to limit"

// truncate keeps at most limit of all, if limit is not 0, and warns if it did.
func truncate[S ~[]T, T any](all S, limit int) (S, []string) {
	if limit > 0 && len(all) > limit {
		return all[:limit], []string{truncated}
	}
	return all, nil
}

// selectors parses the match[] parameters. Each must ask for something: one that
// also takes series without any label is refused, as in Prometheus.
func (a *API) selectors(r *http.Request) ([][]*labels.Matcher, error) {
	var sets [][]*labels.Matcher
	for _, text := range r.Form["match[]"] {
		set, err := a.parser.ParseMetricSelector(text)
		if err != nil {
			return nil, badParameter("match[]", err)
		}
		sets = append(sets, set)
	}
next:
	for _, set := range sets {
		for _, m := range set {
			if !m.Matches("") {
				continue next
			}
		}
		return nil, badParameter("match[]", errors.New("match[] must contain at least one non-empty matcher"))
	}
	return sets, nil
}

var errNoSelector = &failure{badData, errors.New("no match[] parameter provided")}
