package receive

import (
	"fmt"
	"strconv"
	"strings"

	"carillon/rejects"
	"carillon/series"
)

// tally collects what one request does not take, so that the ledger is told once
// a reason and request, however bad the input is.
type tally struct {
	refusals []refusal // one a reason, in order of appearance
}

type refusal struct {
	reason string
	count  int
	sample rejects.Sample // the first one
}

// add counts n refusals. It is true if the reason is new: then the caller says by
// sample what it was.
func (t *tally) add(reason string, n int) (sample *rejects.Sample, isNew bool) {
	for i := range t.refusals {
		if t.refusals[i].reason == reason {
			t.refusals[i].count += n
			return nil, false
		}
	}
	t.refusals = append(t.refusals, refusal{reason: reason, count: n})
	return &t.refusals[len(t.refusals)-1].sample, true
}

// flush hands everything to the ledger and forgets it.
func (t *tally) flush(ledger *rejects.Ledger, protocol Protocol) {
	for i := range t.refusals {
		r := &t.refusals[i]
		ledger.Add(string(protocol), r.reason, r.count, r.sample)
	}
	t.reset()
}

func (t *tally) reset() {
	clear(t.refusals)
	t.refusals = t.refusals[:0]
}

// shownBytes is how much of a refused piece of input is kept.
const shownBytes = 256

// shown copies the start of a refused line.
func shown(line []byte) string { return string(line[:min(len(line), shownBytes)]) }

// shownSeries writes labels, which may be anything, as a person can read them.
func shownSeries(labels []series.Label) string {
	var b strings.Builder
	b.WriteByte('{')
	for i, l := range labels {
		if i > 0 {
			b.WriteByte(',')
		}
		if b.Len() > shownBytes {
			b.WriteString("...")
			break
		}
		b.WriteString(strconv.QuoteToGraphic(l.Name[:min(len(l.Name), shownBytes)]))
		b.WriteByte('=')
		b.WriteString(strconv.QuoteToGraphic(l.Value[:min(len(l.Value), shownBytes)]))
	}
	b.WriteByte('}')
	return b.String()
}

// String lists the reasons for the sender: "2 duplicate_label ({…}: label name
// stands twice: "a"), 1 no_name (…)". It is one line.
func (t *tally) String() string {
	var b strings.Builder
	for i := range t.refusals {
		r := &t.refusals[i]
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%d %s (first: %s", r.count, r.reason, r.sample.Input)
		if r.sample.Detail != "" {
			b.WriteString(": " + r.sample.Detail)
		}
		b.WriteByte(')')
	}
	return b.String()
}
