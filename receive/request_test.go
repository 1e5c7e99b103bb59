package receive

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"carillon/bucket"
	"carillon/journal"
	"carillon/series"
)

func named(name string) []series.Label {
	return []series.Label{{Name: series.MetricName, Value: name}}
}

func TestRequestDefinesOnce(t *testing.T) {
	r := newRig(t)
	for range 2 { // unknown first, known second
		request := r.Begin(ProtocolGraphite)
		for i := range 3 {
			h, err := request.Series([]series.Label{{Name: "z", Value: "1"}, {Name: "__name__", Value: "a_total"}})
			if err != nil {
				t.Fatal(err)
			}
			request.Point(h, start+int64(i), float64(i))
		}
		if err := request.Commit(t.Context(), journal.Hash{1}); err != nil {
			t.Fatal(err)
		}
		request.Release()
	}
	want := []point{{start, 0}, {start + 1, 1}, {start + 2, 2}, {start, 0}, {start + 1, 1}, {start + 2, 2}}
	if got := r.got(`a_total{z="1"}`); !cmp.Equal(got, want, cmp.AllowUnexported(point{})) {
		t.Errorf("got %v", got)
	}
	if len(r.directory.ids) != 1 {
		t.Errorf("%d series defined", len(r.directory.ids))
	}
	for key, kind := range r.directory.kinds {
		if kind != series.Counter {
			t.Errorf("%s is a %v", key.Format(), kind)
		}
	}
	if got := r.Received()[ProtocolGraphite.index()].Points; got != 6 {
		t.Errorf("received %d points", got)
	}
}

func TestSeriesWithoutPointsIsNotDefined(t *testing.T) {
	r := newRig(t)
	request := r.Begin(ProtocolIstatd)
	if _, err := request.SeriesOf(series.Event, named("ghost")); err != nil {
		t.Fatal(err)
	}
	if err := request.Commit(t.Context(), journal.Hash{}); err != nil {
		t.Fatal(err)
	}
	if r.journal.appends != 0 || len(r.directory.ids) != 0 {
		t.Error("an empty request reached the journal")
	}
}

func TestArrivedPointsStayApart(t *testing.T) {
	r := newRig(t)
	arrive := func(values ...float64) {
		request := r.Begin(ProtocolIstatd)
		for _, v := range values {
			h, err := request.SeriesOf(series.Event, named("hits"))
			if err != nil {
				t.Fatal(err)
			}
			request.Arrived(h, func() series.Kind { return series.Event }, v)
		}
		r.journal.fail = []error{journal.ErrBusy}
		if err := request.Commit(t.Context(), journal.Hash{}); !errors.Is(err, journal.ErrBusy) {
			t.Fatal(err)
		}
		if err := request.Commit(t.Context(), journal.Hash{}); err != nil { // again: stamped once
			t.Fatal(err)
		}
		request.Release()
	}
	arrive(1) // unknown
	arrive(1) // known, same value, same millisecond
	arrive(2, 2, 5)
	if got, want := r.got("hits"), []point{{start, 1}, {start + 1, 1}}; !cmp.Equal(got, want, cmp.AllowUnexported(point{})) {
		t.Errorf("points %v", got)
	}
	want := []bucket.Bucket{{
		FirstTime: start + 2, LastTime: start + 2, First: 2, Last: 5, Count: 3, Sum: 9, Min: 2, Max: 5, M2: 6,
	}}
	if got := r.journal.aggregates["hits"]; !cmp.Equal(got, want) {
		t.Errorf("aggregates %+v", got)
	}
	if got := r.Received()[ProtocolIstatd.index()].Points; got != 5 {
		t.Errorf("received %d points", got)
	}
}

func TestArrivalClockIsBounded(t *testing.T) {
	var a arrivals
	last := int64(0)
	for range 20_000 {
		last = a.next(7, start)
	}
	if last != start+maxAhead.Milliseconds() {
		t.Errorf("clock is %d ms ahead", last-start)
	}
	if got := a.next(7, start-3_600_000); got != start-3_600_000+maxAhead.Milliseconds() {
		t.Errorf("after a step back it is %d ms ahead", got-(start-3_600_000))
	}
}

func TestDescribe(t *testing.T) {
	r := newRig(t)
	old := series.Metadata{Family: "old", Type: "gauge", Help: "h"}
	r.directory.known[old] = true
	request := r.Begin(ProtocolRemoteWrite)
	for _, m := range []series.Metadata{old, {Family: "new", Type: "counter", Help: strings.Repeat("ü", maxMetadataBytes)}} {
		if err := request.Describe(m); err != nil {
			t.Fatal(err)
		}
	}
	for _, m := range []series.Metadata{{}, {Family: "a\xff"}, {Family: "a", Help: "\xff"}} {
		if err := request.Describe(m); !errors.Is(err, ErrBadMetadata) {
			t.Errorf("%+v: %v", m, err)
		}
	}
	if err := request.Commit(t.Context(), journal.Hash{}); err != nil {
		t.Fatal(err)
	}
	for _, part := range request.parts {
		if len(part.Metadata) != 1 || part.Metadata[0].Family != "new" {
			t.Errorf("a partition got metadata %v", part.Metadata)
		}
	}
	if got := request.parts[0].Metadata[0].Help; len(got) != maxMetadataBytes || strings.Contains(got, "\ufffd") {
		t.Errorf("help has %d bytes", len(got))
	}
}
