package server_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/klauspost/compress/snappy"
	"github.com/prometheus/prometheus/prompb"

	"carillon/pause"
)

const noiseSeries = 100

// noise is an hour of samples of all series, which does not compress, that ends at a
// time.
func noise(end time.Time, random *rand.Rand) []byte {
	var request prompb.WriteRequest
	for i := range noiseSeries {
		s := prompb.TimeSeries{Labels: []prompb.Label{{Name: "__name__", Value: "noise"}, {Name: "i", Value: fmt.Sprint(i)}}}
		for at := end.Add(-time.Hour); at.Before(end); at = at.Add(10 * time.Second) {
			s.Samples = append(s.Samples, prompb.Sample{Timestamp: at.UnixMilli(), Value: random.NormFloat64()})
		}
		request.Timeseries = append(request.Timeseries, s)
	}
	raw, err := request.Marshal()
	if err != nil {
		panic(err)
	}
	return snappy.Encode(nil, raw)
}

// post sends a body once; the error is that it could not be sent.
func post(base string, body []byte) (status int, answer string, err error) {
	response, err := http.Post(base+"/api/v1/write", "application/x-protobuf", bytes.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return response.StatusCode, string(text), err
}

// sendUntil repeats a body until it is taken, and returns how often that was refused.
func sendUntil(t *testing.T, base string, body []byte) (refused int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	for {
		code, answer, err := post(base, body)
		switch {
		case err != nil:
			t.Fatal(err)
		case code == http.StatusNoContent:
			return refused
		case code == http.StatusServiceUnavailable:
			refused++
		case code != http.StatusTooManyRequests:
			t.Fatalf("%d: %s", code, answer)
		}
		if pause.For(ctx, 50*time.Millisecond) != nil { // as a sender does
			t.Fatalf("refused for two minutes: %s", answer)
		}
	}
}

type diskAnswer struct {
	Disk struct {
		MaxBytes, Bytes int64
		Full            string
		DroppedEarly    []struct {
			Resolution string
			KeptSince  int64
			Files      int
			Buckets    uint64
		}
	}
	Notices    []string
	Partitions []struct {
		Activity, Waiting string
	}
}

func diskOf(t *testing.T, base string) (a diskAnswer) {
	t.Helper()
	_, body := get(t, base+"/api/v1/status")
	if err := json.Unmarshal([]byte(body), &a); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	return a
}

// countOver is the number of samples of all series in the length before a time, as a
// query over so long a range counts them.
func countOver(t *testing.T, base, length string, at time.Time) string {
	t.Helper()
	q := url.Values{"query": {"sum(count_over_time(noise[" + length + "]))"}, "time": {fmt.Sprint(at.Unix())}}
	_, body := get(t, base+"/api/v1/query?"+q.Encode())
	var a struct {
		Data struct {
			Result []struct{ Value [2]any }
		}
	}
	if err := json.Unmarshal([]byte(body), &a); err != nil || len(a.Data.Result) != 1 {
		t.Fatalf("%v: %s", err, body)
	}
	return a.Data.Result[0].Value[1].(string)
}
