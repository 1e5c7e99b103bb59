package traffic

import (
	"encoding/binary"
	"fmt"
	"math"
	"strconv"

	"github.com/klauspost/compress/snappy"
)

// Format is how points travel.
type Format uint8

const (
	RemoteWrite Format = iota // 1.0: protobuf in a snappy block
	Graphite                  // plaintext, with tags
	Istatd                    // lines name time value: no labels, so that host and instance stand in the name
	formats
)

func (f Format) String() string {
	return [...]string{"remote write", "graphite", "istatd"}[f]
}

// Encoder makes bytes of points. One goroutine uses it.
type Encoder struct {
	format   Format
	patterns [families]pattern
	raw      []byte
}

// NewEncoder is one for a format.
func NewEncoder(format Format) *Encoder {
	e := &Encoder{format: format}
	for i, family := range familyTable {
		switch format {
		case RemoteWrite:
			var labels []byte
			for _, l := range [...][2]string{
				{"__name__", family.name}, {"host", "web-" + hostMark}, {"instance", instanceMark},
				{"region", "eu-" + regionMark}, {"shard", shardMark},
			} {
				labels = appendLabel(labels, l[0], l[1])
			}
			e.patterns[i] = newPattern(string(labels))
		case Graphite:
			e.patterns[i] = newPattern(fmt.Sprintf("%s;host=web-%s;instance=%s;region=eu-%s;shard=%s ", family.name, hostMark, instanceMark, regionMark, shardMark))
		case Istatd:
			e.patterns[i] = newPattern(fmt.Sprintf("%s.web-%s.%s ", family.name, hostMark, instanceMark))
		}
	}
	return e
}

// Append adds the points to dst, which is one body of remote write or lines.
func (e *Encoder) Append(dst []byte, p *Points) []byte {
	if e.format == RemoteWrite {
		e.raw = e.appendSeries(e.raw[:0], p)
		at := len(dst)
		dst = grow(dst, snappy.MaxEncodedLen(len(e.raw)))
		return dst[:at+len(snappy.Encode(dst[at:cap(dst)], e.raw))]
	}
	for at, i := range p.Numbers {
		dst = e.patterns[familyOf(i)].append(dst, i)
		if e.format == Graphite {
			dst = append(appendValue(dst, p.Values[at]), ' ')
			dst = appendSeconds(dst, p.Times[at])
		} else {
			dst = append(appendSeconds(dst, p.Times[at]), ' ')
			dst = appendValue(dst, p.Values[at])
		}
		dst = append(dst, '\n')
	}
	return dst
}

// Tags of fields, number<<3 | wire type (0 varint, 1 fixed64, 2 bytes), see prometheus/prompb: a WriteRequest is
// TimeSeries, one of them is Labels and Samples.
const (
	requestSeries = 1<<3 | 2
	seriesLabels  = 1<<3 | 2
	seriesSamples = 2<<3 | 2
	labelName     = 1<<3 | 2
	labelValue    = 2<<3 | 2
	sampleValue   = 1<<3 | 1
	sampleTime    = 2 << 3
)

// appendField adds a field of bytes.
func appendField[B ~string | ~[]byte](dst []byte, tag byte, value B) []byte {
	return append(binary.AppendUvarint(append(dst, tag), uint64(len(value))), value...)
}

func appendLabel(dst []byte, name, value string) []byte {
	return appendField(dst, seriesLabels, appendField(appendField(nil, labelName, name), labelValue, value))
}

func (e *Encoder) appendSeries(dst []byte, p *Points) []byte {
	for at, i := range p.Numbers {
		var sample [1 + 8 + 1 + binary.MaxVarintLen64]byte
		sample[0] = sampleValue
		binary.LittleEndian.PutUint64(sample[1:], math.Float64bits(p.Values[at]))
		sample[9] = sampleTime
		size := 10 + binary.PutUvarint(sample[10:], uint64(p.Times[at]))
		labels := &e.patterns[familyOf(i)]
		dst = append(dst, requestSeries)
		dst = binary.AppendUvarint(dst, uint64(len(labels.text)+2+size))
		dst = labels.append(dst, i)
		dst = append(dst, seriesSamples, byte(size))
		dst = append(dst, sample[:size]...)
	}
	return dst
}

// grow makes room for n more bytes behind b.
func grow(b []byte, n int) []byte {
	if cap(b)-len(b) < n {
		b = append(make([]byte, 0, len(b)+n), b...)
	}
	return b
}

func appendValue(dst []byte, v float64) []byte { return strconv.AppendFloat(dst, v, 'f', -1, 64) }

// appendSeconds writes milliseconds as seconds, with a fraction if there is one.
func appendSeconds(dst []byte, ms int64) []byte {
	dst = strconv.AppendInt(dst, ms/1000, 10)
	if rest := ms % 1000; rest != 0 {
		dst = append(dst, '.', '0'+byte(rest/100), '0'+byte(rest/10%10), '0'+byte(rest%10))
	}
	return dst
}
