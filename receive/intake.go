package receive

import (
	"errors"
	"fmt"
	"net/http"

	"carillon/receive/remotewrite"
	"carillon/rejects"
	"carillon/retention"
	"carillon/series"
)

// intake is the visitor of one body: it turns what the scanner finds into a
// Request, and what is wrong into a tally.
type intake struct {
	scanner remotewrite.Scanner
	lookups lookups
	request *Request
	from    string

	refused int
	tally   tally // of what is refused
	ignored tally // of what is left out without complaint
}

func (in *intake) begin(request *Request, from string) {
	in.request, in.from, in.refused = request, from, 0
	in.lookups.learnt = in.lookups.learnt[:0] // a body may have ended inside a batch
	in.tally.reset()
	in.ignored.reset()
}

// read scans a body. The error is a *RefusedError about the body as a whole.
func (in *intake) read(body []byte) error {
	err := in.scanner.Scan(body, in)
	switch {
	case errors.Is(err, ErrTooLarge):
		return tooLarge(err.Error())
	case err != nil:
		return malformed("protobuf: this is no WriteRequest of remote write 1.0: " + err.Error())
	}
	return nil
}

// TimeSeries implements remotewrite.Visitor.
func (in *intake) TimeSeries(batch []remotewrite.Series) error {
	l := &in.lookups
	l.begin(in.request.writer.spellings)
	for i := range batch {
		l.spell(i, labelFields, in.scanner.Spelling(&batch[i]))
	}
	l.find(len(batch))
	for i := range batch {
		handle, known := l.known(i)
		if !known {
			var ok bool
			var err error
			if handle, ok, err = in.series(&batch[i]); err != nil {
				return err
			}
			if !ok {
				continue
			}
			l.learn(i, handle)
		}
		if err := in.samples(&batch[i], handle); err != nil {
			return err
		}
	}
	l.end(len(batch))
	return nil
}

// samples adds the samples of a series. The error concerns the body as a whole.
func (in *intake) samples(ts *remotewrite.Series, handle Handle) error {
	if milliseconds, value, ok := ts.Single(); ok {
		return in.sample(ts, handle, milliseconds, value)
	}
	samples := in.scanner.Samples(ts)
	for samples.Next() {
		if err := in.sample(ts, handle, samples.Time, samples.Value); err != nil {
			return err
		}
	}
	return samples.Err()
}

func (in *intake) sample(ts *remotewrite.Series, handle Handle, milliseconds int64, value float64) error {
	switch {
	case !validTime(milliseconds):
		return in.refuseTime(ts)
	case in.request.full():
		return ErrTooLarge
	}
	in.request.Point(handle, milliseconds, value)
	return nil
}

// refuseTime refuses one sample of a series.
func (in *intake) refuseTime(ts *remotewrite.Series) error {
	in.refused++
	sample, isNew := in.tally.add("bad_time", 1)
	if !isNew { // there may be millions behind many labels
		return nil
	}
	labels, _, err := in.scanner.Labels(ts)
	*sample = rejects.Sample{From: in.from, Input: shownSeries(labels), Detail: badTimeDetail}
	return err
}

// series finds out whose samples follow, from the labels. It is false if they are
// refused.
func (in *intake) series(ts *remotewrite.Series) (handle Handle, ok bool, err error) {
	labels, has, err := in.scanner.Labels(ts)
	if err != nil {
		return 0, false, err
	}
	if has.Exemplars > 0 {
		in.count(&in.ignored, "exemplar_ignored", has.Exemplars, labels, "exemplars are not kept")
	}
	handle, err = in.resolve(labels)
	if errors.Is(err, ErrTooLarge) {
		return 0, false, err
	}
	if err != nil {
		in.refuse(seriesReason(err), max(1, has.Samples+has.Histograms), labels, err.Error())
		return 0, false, nil
	}
	if has.Histograms > 0 {
		in.refuse("native_histogram", has.Histograms, labels, "native histograms are not supported")
	}
	return handle, true, nil
}

var errNoName = errors.New("series has no metric name")

func (in *intake) resolve(labels []series.Label) (Handle, error) {
	if n := len(labels); n > 0 && n <= series.MaxLabels && !hasName(labels) {
		return 0, errNoName
	}
	return in.request.Series(labels)
}

func hasName(labels []series.Label) bool {
	for i := range labels {
		if labels[i].Name == series.MetricName && labels[i].Value != "" {
			return true
		}
	}
	return false
}

// Metadata implements remotewrite.Visitor.
func (in *intake) Metadata(m series.Metadata) error {
	err := in.request.Describe(m)
	if errors.Is(err, ErrTooLarge) {
		return err
	}
	if err != nil {
		in.refuse("bad_metadata", 1, []series.Label{{Name: "family", Value: m.Family}}, err.Error())
	}
	return nil
}

func (in *intake) refuse(reason string, n int, labels []series.Label, detail string) {
	in.refused += n
	in.count(&in.tally, reason, n, labels, detail)
}

func (in *intake) count(t *tally, reason string, n int, labels []series.Label, detail string) {
	if sample, isNew := t.add(reason, n); isNew {
		*sample = rejects.Sample{From: in.from, Input: shownSeries(labels), Detail: detail}
	}
}

// conclude counts what was not taken, and makes it the answer.
func (in *intake) conclude(ledger *rejects.Ledger, protocol Protocol, written Written) error {
	in.ignored.flush(ledger, protocol)
	if written.Refused == 0 {
		return nil
	}
	text := fmt.Sprintf("%d refused, the other %d points are kept; refused: %s", written.Refused, written.Points, in.tally.String())
	in.tally.flush(ledger, protocol)
	return &RefusedError{http.StatusBadRequest, text}
}

// seriesReason is the short name of an error of Request.Series.
func seriesReason(err error) string {
	for _, r := range [...]struct {
		err    error
		reason string
	}{
		{errNoName, "no_name"},
		{series.ErrNoLabels, "no_labels"},
		{series.ErrTooManyLabels, "too_many_labels"},
		{series.ErrDuplicateLabel, "duplicate_label"},
		{series.ErrNotUTF8, "not_utf8"},
		{series.ErrLabelTooLong, "label_too_long"},
		{series.ErrNoLabelName, "empty_label_name"},
		{series.ErrKeyTooLong, "labels_too_long"},
		{retention.ErrSeriesLimit, limitReason},
	} {
		if errors.Is(err, r.err) {
			return r.reason
		}
	}
	return "bad_series"
}
