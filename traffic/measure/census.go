package measure

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/klauspost/compress/snappy"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/prompb"
	"github.com/zeebo/xxh3"

	"carillon/peer"
	"carillon/traffic/recording"
)

// maxRecorded is how many points a recording may have, since each is remembered, with
// about 40 bytes, to tell which are repeated.
const maxRecorded = 50_000_000

// census is what a server must have stored after a recording of remote write.
type census struct {
	sent        int                 // points, repeated ones too
	points      map[uint64]struct{} // hashes of series and time: a point that comes twice is stored once
	names       map[string]struct{} // of metrics
	first, last int64               // milliseconds
	lasts       time.Duration
}

func takeCensus(path string) (*census, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	r, err := recording.NewReader(file)
	if err != nil {
		return nil, err
	}
	c := &census{points: make(map[uint64]struct{}), names: make(map[string]struct{}), first: math.MaxInt64, last: math.MinInt64}
	for {
		e, err := r.Next()
		switch {
		case err == io.EOF && len(c.points) == 0:
			return nil, errors.New("it has no points")
		case err == io.EOF:
			return c, nil
		case err != nil:
			return nil, err
		case e.Kind != recording.Request:
			return nil, errors.New("it has lines: only remote write can be measured")
		}
		if err := c.add(e.Body); err != nil {
			return nil, err
		}
		if c.sent > maxRecorded {
			return nil, fmt.Errorf("it has more than %d points", maxRecorded)
		}
		c.lasts = e.At
	}
}

func (c *census) add(body []byte) error {
	raw, err := snappy.Decode(nil, body)
	if err != nil {
		return err
	}
	var request prompb.WriteRequest
	if err := request.Unmarshal(raw); err != nil {
		return err
	}
	var key []byte
	for _, s := range request.Timeseries {
		key = key[:0]
		slices.SortFunc(s.Labels, func(a, b prompb.Label) int { return strings.Compare(a.Name, b.Name) })
		for _, l := range s.Labels {
			if l.Name == model.MetricNameLabel {
				c.names[l.Value] = struct{}{}
			}
			key = append(append(append(append(key, l.Name...), 0), l.Value...), 0)
		}
		for _, p := range s.Samples {
			c.sent++
			if value.IsStaleNaN(p.Value) {
				continue // a marker is no point to a query
			}
			c.points[xxh3.Hash(binary.LittleEndian.AppendUint64(key, uint64(p.Timestamp)))] = struct{}{}
			c.first, c.last = min(c.first, p.Timestamp), max(c.last, p.Timestamp)
		}
	}
	return nil
}

// check fails unless a server has every point; ours must have none of them twice.
func (c *census) check(ctx context.Context, s *peer.Process) error {
	var stored int
	span := (c.last-c.first)/1000 + 2
	for _, name := range slices.Sorted(maps.Keys(c.names)) {
		result, err := s.Query(ctx, time.UnixMilli(c.last), fmt.Sprintf("sum(count_over_time({%s=%q}[%ds]))", model.MetricNameLabel, name, span))
		if err != nil {
			return err
		}
		for _, one := range result {
			stored += int(one.Value.Value)
		}
	}
	if stored < len(c.points) || s.Peer.Name == peer.Ours && stored > len(c.points) {
		return fmt.Errorf("%d points are stored, different ones were %d: %w", stored, len(c.points), ErrWrongSum)
	}
	return nil
}
