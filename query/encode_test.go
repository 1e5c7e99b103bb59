package query

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"pgregory.net/rapid"

	"carillon/query/querytest"
)

func TestAppendFloat(t *testing.T) {
	for want, value := range map[string]float64{
		"0": 0, "-0": math.Copysign(0, -1), "1": 1, "0.1": 0.1, "1e-07": 1e-7, "0.000001": 1e-6,
		"100000000000000000000": 1e20, "1e+21": 1e21, "NaN": math.NaN(), "+Inf": math.Inf(1), "-Inf": math.Inf(-1),
	} {
		if got := string(appendFloat(nil, value)); got != want {
			t.Errorf("%v: %s, want %s", value, got, want)
		}
	}
}

func TestAppendSeconds(t *testing.T) {
	for want, ms := range map[string]int64{
		"0": 0, "1": 1000, "1.001": 1001, "0.010": 10, "-0.001": -1, "-1.500": -1500, "1435781451.781": 1435781451781,
	} {
		if got := string(appendSeconds(nil, ms)); got != want {
			t.Errorf("%d: %s, want %s", ms, got, want)
		}
	}
}

func TestAppendString(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.String(), rapid.StringMatching(`[\x00-\x22\\\x7f<>&]*`)).Draw(t, "text")
		var got string
		if err := json.Unmarshal(appendString(nil, text), &got); err != nil || got != text {
			t.Fatalf("%q became %q: %v", text, got, err)
		}
	})
	if got := string(appendString(nil, "a\xffb")); got != "\"a\ufffdb\"" {
		t.Errorf("invalid UTF-8: %q", got)
	}
}

// pieces counts the writes.
type pieces struct {
	bytes.Buffer
	writes int
}

func (p *pieces) Write(b []byte) (int, error) {
	p.writes++
	return p.Buffer.Write(b)
}

func TestLargeAnswersAreSentInPieces(t *testing.T) {
	matrix := make(promql.Matrix, 30)
	for i := range matrix {
		matrix[i].Metric = labels.FromStrings("a", strings.Repeat("x", i))
		for j := range int64(1000) {
			matrix[i].Floats = append(matrix[i].Floats, promql.FPoint{T: j * 15000, F: float64(j) / 7})
		}
	}
	var w pieces
	e := &encoder{w: &w}
	e.result(matrix)
	if err := e.flush(); err != nil {
		t.Fatal(err)
	}
	if !json.Valid(w.Bytes()) || w.writes < w.Len()/(2*flushBytes) || cap(e.buf) > 2*flushBytes {
		t.Errorf("valid %v, %d writes of %d bytes, buffer %d", json.Valid(w.Bytes()), w.writes, w.Len(), cap(e.buf))
	}
}

type broken struct{ err error }

func (b broken) Write([]byte) (int, error) { return 0, b.err }

func TestEncoderKeepsTheFirstError(t *testing.T) {
	gone := errors.New("gone")
	e := &encoder{w: broken{gone}}
	for range 3 {
		e.raw("x")
		if err := e.flush(); !errors.Is(err, gone) {
			t.Fatal(err)
		}
	}
}

// TestBuildInfo: what Grafana reads of it.
func TestBuildInfo(t *testing.T) {
	status, body := get(t, newAPI(querytest.New(defaultTiers()...), epoch), "/api/v1/status/buildinfo", nil)
	var got struct {
		Status string
		Data   struct{ Version, Application, CarillonVersion string }
	}
	if err := json.Unmarshal([]byte(body), &got); err != nil || status != http.StatusOK {
		t.Fatal(status, body, err)
	}
	if got.Status != "success" || got.Data.Version != likePrometheus || got.Data.Application != "Carillon" || got.Data.CarillonVersion != "test" {
		t.Error(body)
	}
}
