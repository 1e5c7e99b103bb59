package export

import (
	"math"
	"strconv"

	"github.com/prometheus/common/model"

	"carillon/bucket"
	"carillon/series"
)

// OpenMetrics writes samples as OpenMetrics text 1.0. A name or a label that the text
// cannot hold as it stands is quoted, as Prometheus 3 reads it. It has no staleness
// markers.
type OpenMetrics struct {
	counter
	samples samples
	prefix  []byte // of each line of the series: name and labels
	name    string // of the family at hand
}

// SortByName is true: the samples of a family stand together.
func (e *OpenMetrics) SortByName() bool { return true }

// Append appends a chunk. Series without a name are left out.
func (e *OpenMetrics) Append(dst []byte, c *Chunk) ([]byte, error) {
	if e.begin(c) {
		labels, err := c.Key.Labels()
		if err != nil {
			return dst, err
		}
		name := c.Key.Get(series.MetricName)
		if name == "" {
			e.counts.Nameless++
		} else if name != e.name {
			e.name = name
			dst = appendType(dst, name, c.Kind)
		}
		e.prefix = appendSeries(e.prefix[:0], name, labels)
	}
	if c.Key.Get(series.MetricName) == "" {
		return dst, nil
	}
	e.samples.take(c, &e.counts)
	for i, t := range e.samples.times {
		value := e.samples.values[i]
		if math.Float64bits(value) == bucket.StaleNaN {
			e.counts.Stale++
			continue
		}
		dst = append(dst, e.prefix...)
		dst = appendValue(dst, value)
		dst = append(dst, ' ')
		dst = strconv.AppendFloat(dst, float64(t)/1000, 'f', -1, 64)
		dst = append(dst, '\n')
		e.counts.Samples++
	}
	return dst, nil
}

// Finish appends the mark without which a reader takes the file for cut short.
func (e *OpenMetrics) Finish(dst []byte) []byte { return append(dst, "# EOF\n"...) }

// appendType says what a family is. OpenMetrics calls the family of a counter without
// the _total of its samples, and that name may be another family's: so counters are of
// unknown type, and a reader knows them by their names, as the server does.
func appendType(dst []byte, name string, kind series.Kind) []byte {
	dst = append(dst, "# TYPE "...)
	dst = appendName(dst, name, model.LegacyValidation.IsValidMetricName(name))
	if kind == series.Counter {
		return append(dst, " unknown\n"...)
	}
	return append(dst, " gauge\n"...)
}

func appendSeries(dst []byte, name string, labels []series.Label) []byte {
	plain := model.LegacyValidation.IsValidMetricName(name)
	separator := byte('{')
	if plain {
		dst = append(dst, name...)
	} else {
		dst = appendName(append(dst, '{'), name, false)
		separator = ','
	}
	for _, l := range labels {
		if l.Name == series.MetricName {
			continue
		}
		dst = appendName(append(dst, separator), l.Name, model.LegacyValidation.IsValidLabelName(l.Name))
		dst = append(appendQuoted(append(dst, '=', '"'), l.Value), '"')
		separator = ','
	}
	if separator == ',' {
		dst = append(dst, '}')
	}
	return append(dst, ' ')
}

func appendName(dst []byte, name string, plain bool) []byte {
	if plain {
		return append(dst, name...)
	}
	return append(appendQuoted(append(dst, '"'), name), '"')
}

func appendQuoted(dst []byte, s string) []byte {
	for i := range len(s) {
		switch s[i] {
		case '\\', '"':
			dst = append(dst, '\\', s[i])
		case '\n':
			dst = append(dst, '\\', 'n')
		default:
			dst = append(dst, s[i])
		}
	}
	return dst
}

// appendValue is exact but for the payload of a NaN.
func appendValue(dst []byte, value float64) []byte {
	switch {
	case math.IsNaN(value):
		return append(dst, "NaN"...)
	case math.IsInf(value, 1):
		return append(dst, "+Inf"...)
	case math.IsInf(value, -1):
		return append(dst, "-Inf"...)
	}
	return strconv.AppendFloat(dst, value, 'g', -1, 64)
}
