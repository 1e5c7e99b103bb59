// Package export turns buckets into what others read: OpenMetrics text, remote-write
// dumps, JSON lines (docs/format/export.md). Buckets come in a chunk at a time, series by
// series, over the stream with which a server sends them; bytes go out, and counts of
// what a format cannot hold. The server writes the stream, `carillon export` reads it and
// encodes; both keep no more than one chunk.
package export

import (
	"fmt"
	"math"

	"carillon/bucket"
	"carillon/series"
)

// Chunk is the buckets of a series in a stretch of time, sorted by time.
type Chunk struct {
	Key     series.Key
	Kind    series.Kind
	Buckets []bucket.Bucket
	Done    uint64 // series that stood before it, with buckets or without
}

// Encoder is one of the formats. Not for concurrent use.
type Encoder interface {
	// Append appends a chunk. Chunks of one series follow each other; if SortByName,
	// series come by name.
	Append(dst []byte, c *Chunk) ([]byte, error)
	// Finish appends what ends a file.
	Finish(dst []byte) []byte
	// SortByName tells which order the format asks for.
	SortByName() bool
	// Counts is what was written so far.
	Counts() Counts
}

// Counts is what an encoder has written, and what the format did not let it write as
// it is.
type Counts struct {
	Series  uint64 `json:"series"` // each is counted again in the next file
	Buckets uint64 `json:"buckets"`
	Samples uint64 `json:"samples"`
	// Summed are samples between the first and the last one of a bucket, which no
	// format of samples can give back.
	Summed   uint64 `json:"summed"`
	Stale    uint64 `json:"stale"`    // staleness markers left out
	Nameless uint64 `json:"nameless"` // series left out because they have no name
}

// Add sums up.
func (c *Counts) Add(more Counts) {
	c.Series += more.Series
	c.Buckets += more.Buckets
	c.Samples += more.Samples
	c.Summed += more.Summed
	c.Stale += more.Stale
	c.Nameless += more.Nameless
}

// Formats names the formats, as New takes them.
const Formats = "openmetrics, remote-write or json"

// New makes an encoder of a new file.
func New(format string) (Encoder, error) {
	switch format {
	case "openmetrics":
		return &OpenMetrics{}, nil
	case "remote-write":
		return &RemoteWrite{}, nil
	case "json":
		return &JSON{}, nil
	}
	return nil, fmt.Errorf("format %q: want %s", format, Formats)
}

// counter is what all encoders count with.
type counter struct {
	counts Counts
	last   series.Key
}

func (c *counter) Counts() Counts { return c.counts }

// begin counts a chunk, and tells whether it begins a series.
func (c *counter) begin(chunk *Chunk) bool {
	c.counts.Buckets += uint64(len(chunk.Buckets))
	if chunk.Key == c.last {
		return false
	}
	c.last = chunk.Key
	c.counts.Series++
	return true
}

// samples are those that a series still has.
type samples struct {
	times  []int64
	values []float64
}

func (s *samples) add(time int64, value float64) {
	s.times, s.values = append(s.times, time), append(s.values, value)
}

// take is what remains of buckets as samples: of a bucket of two, or one, that is what
// was sent; of a larger one its first and its last sample. Of events it is their sum in
// each segment, at the time of the last. A staleness marker is one where it stood.
func (s *samples) take(c *Chunk, counts *Counts) {
	s.times, s.values = s.times[:0], s.values[:0]
	for i := range c.Buckets {
		b := &c.Buckets[i]
		stale := b.StaleTime != 0
		if stale && b.Count > 0 && b.StaleTime < b.FirstTime {
			s.add(b.StaleTime, math.Float64frombits(bucket.StaleNaN))
			stale = false
		}
		left := b.Count
		switch {
		case b.Count == 0:
		case c.Kind == series.Event:
			s.add(b.LastTime, b.Sum)
			left--
		default:
			if b.FirstTime < b.LastTime {
				s.add(b.FirstTime, b.First)
				left--
			}
			if stale && b.StaleTime > b.FirstTime && b.StaleTime < b.LastTime {
				s.add(b.StaleTime, math.Float64frombits(bucket.StaleNaN))
				stale = false
			}
			s.add(b.LastTime, b.Last)
			left--
		}
		counts.Summed += left
		if stale && (b.Count == 0 || b.StaleTime > b.LastTime) {
			s.add(b.StaleTime, math.Float64frombits(bucket.StaleNaN))
		}
	}
}
