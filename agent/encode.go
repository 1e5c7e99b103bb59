package agent

import (
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/VictoriaMetrics/easyproto"
	"github.com/klauspost/compress/s2"

	"carillon/series"
)

const (
	hostLabel         = "host"
	maxPointsPerBody  = 10_000 // about 1 MB before compression
	describeEvery     = time.Minute
	maxDescribedNames = 10_000 // families remembered as described
)

// encoder turns collections into bodies of Prometheus remote write 1.0
// (https://prometheus.io/docs/specs/prw/remote_write_spec/): protobuf in a snappy
// block. A family's metadata goes along when the family is new, so that its series
// get the right kind at once, and again every minute, since a body can get lost and
// a server be replaced.
type encoder struct {
	host      string
	described map[string]bool // families described since describedAt
	since     time.Time       // when described was last emptied
}

// bodies encodes the points of families, all at the time at, into as few bodies as
// maxPointsPerBody allows. Metadata is in the body with the family's first points.
func (e *encoder) bodies(families []family, at time.Time) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		if age := at.Sub(e.since); age < 0 || age >= describeEvery || len(e.described) > maxDescribedNames {
			e.described, e.since = make(map[string]bool), at
		}
		body := &easyproto.Marshaler{}
		points := 0
		for _, f := range families {
			if !e.described[f.Family] {
				appendMetadata(body, f.Metadata)
				e.described[f.Family] = true
			}
			for _, p := range f.points {
				if points == maxPointsPerBody {
					if !yield(compress(body)) {
						return
					}
					body, points = &easyproto.Marshaler{}, 0
				}
				appendSeries(body, e.labels(p), p.value, at.UnixMilli())
				points++
			}
		}
		if points > 0 {
			yield(compress(body))
		}
	}
}

func compress(body *easyproto.Marshaler) []byte { return s2.EncodeSnappy(nil, body.Marshal(nil)) }

// labels is all labels of p, sorted by name as the protocol demands. A point that
// has a host of its own keeps it. Paths need not be UTF-8, labels must.
func (e *encoder) labels(p point) []series.Label {
	labels := make([]series.Label, 0, len(p.labels)+2)
	labels = append(labels, series.Label{Name: series.MetricName, Value: p.name})
	if !slices.ContainsFunc(p.labels, func(l series.Label) bool { return l.Name == hostLabel }) {
		labels = append(labels, series.Label{Name: hostLabel, Value: e.host})
	}
	for _, l := range p.labels {
		if l.Value != "" {
			labels = append(labels, series.Label{Name: l.Name, Value: strings.ToValidUTF8(l.Value, "\uFFFD")})
		}
	}
	slices.SortFunc(labels, func(a, b series.Label) int { return strings.Compare(a.Name, b.Name) })
	return labels
}

// appendSeries appends WriteRequest.timeseries with one sample.
func appendSeries(m *easyproto.Marshaler, labels []series.Label, value float64, ms int64) {
	ts := m.MessageMarshaler().AppendMessage(1)
	for _, l := range labels {
		label := ts.AppendMessage(1)
		label.AppendString(1, l.Name)
		label.AppendString(2, l.Value)
	}
	sample := ts.AppendMessage(2)
	sample.AppendDouble(1, value)
	sample.AppendInt64(2, ms)
}

// appendMetadata appends WriteRequest.metadata.
func appendMetadata(m *easyproto.Marshaler, md series.Metadata) {
	message := m.MessageMarshaler().AppendMessage(3)
	message.AppendInt32(1, metricType(md.Type))
	message.AppendString(2, md.Family)
	message.AppendString(4, md.Help)
	message.AppendString(5, md.Unit)
}

// metricType is the number of MetricMetadata.MetricType; 0 is unknown.
func metricType(name string) int32 {
	switch name {
	case "counter":
		return 1
	case "gauge":
		return 2
	case "histogram":
		return 3
	case "gaugehistogram":
		return 4
	case "summary":
		return 5
	}
	return 0
}
