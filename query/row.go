package query

import (
	"strconv"

	"carillon/bucket"
	"carillon/series"
)

// row is one bucket as /api/v1/buckets and /api/v1/live show it.
type row struct {
	bucket.Bucket
	start   int64 // of the segment, milliseconds
	length  int64 // of the segment, milliseconds
	rate    float64
	hasRate bool
}

const rowBytes = 128

// rowColumns are the names of what encoder.row writes.
const rowColumns = `["time","count","avg","sdev","min","max","first","last","sum","rate"]`

// setRate works out what the series did a second: events, their sum over the
// length of the segment; counters, the increase since the last sample of the
// previous row (nil if there is none). Gauges have no rate.
func (r *row) setRate(kind series.Kind, previous *row) {
	switch kind {
	case series.Event:
		r.rate, r.hasRate = r.Sum/(float64(r.length)/1000), true
	case series.Counter:
		rise, since := r.Increase(), r.FirstTime
		if previous != nil {
			since = previous.LastTime
			step := r.First - previous.Last
			if step < 0 { // reset in between: it counted up from zero
				step = r.First
			}
			rise += step
		}
		if r.LastTime > since {
			r.rate, r.hasRate = rise/(float64(r.LastTime-since)/1000), true
		}
	}
}

// average is the mean of the samples, or of events, their rate.
func (r *row) average(kind series.Kind) float64 {
	if kind == series.Event {
		return r.rate
	}
	return r.Mean()
}

func (e *encoder) row(r *row, kind series.Kind) {
	e.raw("[")
	e.buf = appendSeconds(e.buf, r.start)
	e.raw(",")
	e.buf = strconv.AppendUint(e.buf, r.Count, 10)
	columns := [...]float64{r.average(kind), r.Deviation(), r.Min, r.Max, r.First, r.Last, r.Sum}
	for _, value := range columns {
		e.raw(",")
		e.buf = appendNumber(e.buf, value)
	}
	if r.hasRate {
		e.raw(",")
		e.buf = appendNumber(e.buf, r.rate)
	} else {
		e.raw(",null")
	}
	e.raw("]")
}
