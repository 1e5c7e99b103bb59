package newest

import (
	"encoding/json"
	"math"
	"testing"

	"pgregory.net/rapid"

	"carillon/bucket"
	"carillon/series"
)

func TestValues(t *testing.T) {
	one := bucket.Of(start+1500, 42.5)
	many := several(start, 5, 10) // 10 to 14
	for _, c := range []struct {
		bucket     bucket.Bucket
		kind       series.Kind
		text, json string
	}{
		{one, series.Gauge, "1700000001.500 42.5 1 42.5 42.5 42.5 0", `{"time":1700000001.500,"value":42.5,"count":1,"avg":42.5,"min":42.5,"max":42.5,"sdev":0}`},
		{one, series.Counter, "1700000001.500 42.5 1 42.5 42.5 42.5 0", `{"time":1700000001.500,"value":42.5,"count":1,"avg":42.5,"min":42.5,"max":42.5,"sdev":0}`},
		{one, series.Event, "1700000001.500 42.5 1 4.25 42.5 42.5 0", `{"time":1700000001.500,"value":42.5,"count":1,"avg":4.25,"min":42.5,"max":42.5,"sdev":0}`},
		{many, series.Gauge, "1700000004 14 5 12 10 14 1.4142135623730951", `{"time":1700000004,"value":14,"count":5,"avg":12,"min":10,"max":14,"sdev":1.4142135623730951}`},
		{many, series.Event, "1700000004 14 5 6 10 14 1.4142135623730951", `{"time":1700000004,"value":14,"count":5,"avg":6,"min":10,"max":14,"sdev":1.4142135623730951}`},
		{bucket.Of(start, math.Inf(-1)), series.Gauge, "1700000000 -Inf 1 -Inf -Inf -Inf 0", `{"time":1700000000,"value":"-Inf","count":1,"avg":"-Inf","min":"-Inf","max":"-Inf","sdev":0}`},
		{bucket.Of(-1500, math.Copysign(0, -1)), series.Gauge, "-1.500 -0 1 -0 -0 -0 0", `{"time":-1.500,"value":-0,"count":1,"avg":-0,"min":-0,"max":-0,"sdev":0}`},
	} {
		if got := string(Text.append(nil, &c.bucket, c.kind, 10_000)); got != c.text {
			t.Errorf("text of %+v:\n%s, want\n%s", c.bucket, got, c.text)
		}
		if got := string(JSON.append(nil, &c.bucket, c.kind, 10_000)); got != c.json {
			t.Errorf("JSON of %+v:\n%s, want\n%s", c.bucket, got, c.json)
		}
	}
}

// TestNumbersMeanTheirValue reads back what was written, to the bit.
func TestNumbersMeanTheirValue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := math.Float64frombits(rapid.Uint64().Draw(t, "bits"))
		if rapid.Bool().Draw(t, "whole") {
			v = math.Trunc(math.Mod(v, 1<<54))
		}
		text := JSON.appendNumber(nil, v)
		if math.IsNaN(v) || math.IsInf(v, 0) {
			if !json.Valid(text) || text[0] != '"' {
				t.Fatalf("%v is %s", v, text)
			}
			return
		}
		var back float64
		if err := json.Unmarshal(text, &back); err != nil || math.Float64bits(back) != math.Float64bits(v) {
			t.Fatalf("%v became %s: %v", v, text, err)
		}
	})
}

func TestFormats(t *testing.T) {
	for _, f := range []Format{Text, JSON} {
		if got, err := ParseFormat(f.String()); got != f || err != nil {
			t.Errorf("%s: %v, %v", f, got, err)
		}
	}
	if _, err := ParseFormat("xml"); err == nil {
		t.Error("there is no XML")
	}
}
