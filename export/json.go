package export

import (
	"encoding/json"
	"math"
	"strconv"

	"carillon/bucket"
)

// JSON writes whole buckets, a chunk a line: nothing is lost but the payloads of NaNs.
type JSON struct {
	counter
	head []byte // of each line of the series
}

// SortByName is false: each line says whose it is.
func (e *JSON) SortByName() bool { return false }

// Append appends a chunk as a line.
func (e *JSON) Append(dst []byte, c *Chunk) ([]byte, error) {
	if e.begin(c) {
		if err := e.series(c); err != nil {
			return dst, err
		}
	}
	dst = append(dst, e.head...)
	for i := range c.Buckets {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendBucket(dst, &c.Buckets[i])
		e.counts.Samples += c.Buckets[i].Count
	}
	return append(dst, "]}\n"...), nil
}

// Finish appends nothing.
func (e *JSON) Finish(dst []byte) []byte { return dst }

func (e *JSON) series(c *Chunk) error {
	labels, err := c.Key.Labels()
	if err != nil {
		return err
	}
	byName := make(map[string]string, len(labels))
	for _, l := range labels {
		byName[l.Name] = l.Value
	}
	text, err := json.Marshal(struct {
		Metric map[string]string `json:"metric"`
		Kind   string            `json:"kind"`
	}{byName, c.Kind.String()})
	if err != nil {
		return err
	}
	e.head = append(text[:len(text)-1], `,"buckets":[`...)
	return nil
}

// appendBucket writes first time, last time, count, first, last, sum, min, max, m2,
// resets and stale time, in this order.
func appendBucket(dst []byte, b *bucket.Bucket) []byte {
	dst = append(dst, '[')
	dst = strconv.AppendInt(dst, b.FirstTime, 10)
	dst = strconv.AppendInt(append(dst, ','), b.LastTime, 10)
	dst = strconv.AppendUint(append(dst, ','), b.Count, 10)
	for _, v := range [...]float64{b.First, b.Last, b.Sum, b.Min, b.Max, b.M2, b.Resets} {
		dst = append(dst, ',')
		if math.IsNaN(v) || math.IsInf(v, 0) {
			dst = append(appendValue(append(dst, '"'), v), '"')
			continue
		}
		dst = strconv.AppendFloat(dst, v, 'g', -1, 64)
	}
	dst = strconv.AppendInt(append(dst, ','), b.StaleTime, 10)
	return append(dst, ']')
}
