package export

import (
	"encoding/binary"

	"github.com/VictoriaMetrics/easyproto"
	"github.com/klauspost/compress/s2"
)

// RemoteWrite writes samples as a dump of bodies of Prometheus remote write 1.0: each
// a protobuf WriteRequest in a snappy block, with its length before it. It holds all
// values to the bit, staleness markers too.
type RemoteWrite struct {
	counter
	samples samples
	body    easyproto.Marshaler
	pending int // samples in the body
	raw     []byte
}

// bodySamples is how many samples a body of a dump has, about: 200 KB before
// compression, which any receiver takes.
const bodySamples = 10_000

// SortByName is false: any order will do.
func (e *RemoteWrite) SortByName() bool { return false }

// Append appends a chunk, or keeps it for the next body.
func (e *RemoteWrite) Append(dst []byte, c *Chunk) ([]byte, error) {
	e.begin(c)
	labels, err := c.Key.Labels()
	if err != nil {
		return dst, err
	}
	e.samples.take(c, &e.counts)
	times, values := e.samples.times, e.samples.values
	for len(times) > 0 {
		n := min(len(times), bodySamples-e.pending)
		request := e.body.MessageMarshaler()
		one := request.AppendMessage(1)
		for _, l := range labels {
			label := one.AppendMessage(1)
			label.AppendString(1, l.Name)
			label.AppendString(2, l.Value)
		}
		for i, t := range times[:n] {
			sample := one.AppendMessage(2)
			sample.AppendDouble(1, values[i])
			sample.AppendInt64(2, t)
		}
		times, values = times[n:], values[n:]
		e.counts.Samples += uint64(n)
		if e.pending += n; e.pending == bodySamples {
			dst = e.flush(dst)
		}
	}
	return dst, nil
}

// Finish appends the last body.
func (e *RemoteWrite) Finish(dst []byte) []byte {
	if e.pending > 0 {
		dst = e.flush(dst)
	}
	return dst
}

func (e *RemoteWrite) flush(dst []byte) []byte {
	e.raw = e.body.Marshal(e.raw[:0])
	e.body.Reset()
	e.pending = 0
	body := s2.EncodeSnappy(nil, e.raw)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(body)))
	return append(dst, body...)
}
