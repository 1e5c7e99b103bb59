package peer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// mostAnswerText is how many bytes of an error's text are kept.
const mostAnswerText = 1 << 10

// Result is one series of an answer.
type Result struct {
	Metric map[string]string
	Value  Sample   // of an instant
	Values []Sample // of a range
}

// Sample is a value at a time, in seconds.
type Sample struct{ Time, Value float64 }

// UnmarshalJSON reads a time and a value, [1700000000.5,"1"].
func (s *Sample) UnmarshalJSON(b []byte) error {
	var pair [2]json.RawMessage
	if err := json.Unmarshal(b, &pair); err != nil {
		return err
	}
	var text string
	if err := errors.Join(json.Unmarshal(pair[0], &s.Time), json.Unmarshal(pair[1], &text)); err != nil {
		return err
	}
	var err error
	s.Value, err = strconv.ParseFloat(text, 64)
	return err
}

// Query evaluates an expression of PromQL at one time.
func (s *Process) Query(ctx context.Context, at time.Time, expression string) ([]Result, error) {
	return s.results(ctx, expression, "/api/v1/query", url.Values{"time": {seconds(at)}})
}

// Range is an expression, and when it is to be evaluated.
type Range struct {
	Expression string
	Start, End time.Time // both included
	Step       time.Duration
}

// QueryRange evaluates an expression at many times.
func (s *Process) QueryRange(ctx context.Context, r Range) ([]Result, error) {
	return s.results(ctx, r.Expression, rangePath, r.values())
}

const rangePath = "/api/v1/query_range"

func (r Range) values() url.Values {
	return url.Values{"start": {seconds(r.Start)}, "end": {seconds(r.End)}, "step": {strconv.FormatFloat(r.Step.Seconds(), 'f', -1, 64)}}
}

// TimeRange is how long it takes until the last byte of the answer to QueryRange is
// there, unread.
func (s *Process) TimeRange(ctx context.Context, r Range) (time.Duration, error) {
	began := time.Now()
	body, err := s.ask(ctx, r.Expression, rangePath, r.values())
	if err != nil {
		return 0, err
	}
	_, err = io.Copy(io.Discard, body)
	took := time.Since(began)
	return took, errors.Join(err, body.Close())
}

func seconds(t time.Time) string {
	return strconv.FormatFloat(float64(t.UnixMilli())/1000, 'f', 3, 64)
}

func (s *Process) results(ctx context.Context, expression, path string, q url.Values) ([]Result, error) {
	body, err := s.ask(ctx, expression, path, q)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	var answer struct{ Data struct{ Result []Result } }
	if err := json.NewDecoder(body).Decode(&answer); err != nil {
		return nil, fmt.Errorf("%s: %s: %w", s.Peer.Name, expression, err)
	}
	return answer.Data.Result, nil
}

// ask has a question answered anew: not from a cache of answers.
func (s *Process) ask(ctx context.Context, expression, path string, q url.Values) (io.ReadCloser, error) {
	q.Set("query", expression)
	q.Set("nocache", "1")
	body, err := s.get(ctx, path+"?"+q.Encode())
	if err != nil {
		return nil, fmt.Errorf("%s: %s: %w", s.Peer.Name, expression, err)
	}
	return body, nil
}

func (s *Process) get(ctx context.Context, path string) (io.ReadCloser, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL(path), nil)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	if response.StatusCode == http.StatusOK {
		return response.Body, nil
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, mostAnswerText))
	return nil, errors.Join(fmt.Errorf("%s: %s", response.Status, text), err)
}

// Get is what the server answers at a path.
func (s *Process) Get(ctx context.Context, path string) ([]byte, error) {
	body, err := s.get(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("%s: %s: %w", s.Peer.Name, path, err)
	}
	defer body.Close()
	return io.ReadAll(body)
}

// ErrRefused is wrapped by errors that would be the same another time.
var ErrRefused = errors.New("refused")

// Write sends a body of remote write and returns when it is acknowledged.
func (s *Process) Write(ctx context.Context, client *http.Client, body []byte) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL("/api/v1/write"), bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header = http.Header{
		"Content-Type": {"application/x-protobuf"}, "Content-Encoding": {"snappy"},
		"X-Prometheus-Remote-Write-Version": {"0.1.0"},
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, mostAnswerText))
	if err != nil {
		return err
	}
	switch {
	case response.StatusCode/100 == 2:
		return nil
	case response.StatusCode/100 == 4 && response.StatusCode != http.StatusTooManyRequests:
		return fmt.Errorf("%s: %s %s: %w", s.Peer.Name, response.Status, text, ErrRefused)
	}
	return fmt.Errorf("%s: %s %s", s.Peer.Name, response.Status, text)
}
