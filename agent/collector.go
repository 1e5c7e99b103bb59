package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"carillon/series"
)

// maxSourcePoints bounds what one source adds to a collection: a host with more
// interfaces, devices or mounts than that gets the first ones, and an error counted.
const maxSourcePoints = 20_000

// family is a metric and its points at one time.
type family struct {
	series.Metadata
	points []point
}

// point is one value. Its name is the family's, or that with a suffix; its labels
// come without the name and the host, which the encoder adds.
type point struct {
	name   string
	labels []series.Label
	value  float64
}

// source is one place that numbers come from. collect may return an error and
// families too: what it could get, and why not all.
type source struct {
	name    string // label of carillon_agent_collect_errors_total
	collect func(ctx context.Context) ([]family, error)
}

// collector asks all sources at once and waits for them, but not for ever: one
// that hangs (a file system that does not answer) costs the others one timeout, and is
// then left out until its call returns. Only busy is shared with the sources'
// goroutines; everything else belongs to the one that calls collect.
type collector struct {
	sources []*watchedSource
	timeout time.Duration
	log     *slog.Logger
	metrics *metrics
}

type watchedSource struct {
	source
	busy  atomic.Bool // its goroutine has not returned yet
	fails bool        // the last collection failed, and it was said
}

type answer struct {
	source   int
	families []family
	err      error
}

func newCollector(sources []source, timeout time.Duration, logger *slog.Logger, m *metrics) *collector {
	c := &collector{timeout: timeout, log: logger, metrics: m}
	for _, s := range sources {
		c.sources = append(c.sources, &watchedSource{source: s})
		m.collectErrors.WithLabelValues(s.name) // so that it is seen at 0
	}
	return c
}

var (
	errHangs = errors.New("has not answered an earlier collection yet")
	errSlow  = errors.New("did not answer in time")
)

// collect returns the families of all sources that answer, in the sources' order.
func (c *collector) collect(ctx context.Context) []family {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	answers := make([]answer, len(c.sources))
	arrived := make(chan answer, len(c.sources)) // room for all: nobody blocks on a collector that has left
	waiting := 0
	for i, s := range c.sources {
		if !s.busy.CompareAndSwap(false, true) {
			answers[i].err = errHangs
			continue
		}
		answers[i].err = errSlow // until it arrives
		waiting++
		go func() {
			families, err := s.collect(ctx)
			s.busy.Store(false)
			arrived <- answer{i, families, err}
		}()
	}
	for waiting > 0 {
		select {
		case a := <-arrived:
			answers[a.source] = a
			waiting--
		case <-ctx.Done():
			waiting = 0 // the others are late
		}
	}
	var all []family
	for i, s := range c.sources {
		families, err := limit(answers[i].families, answers[i].err)
		all = append(all, families...)
		c.note(s, err)
	}
	return all
}

// limit cuts families to maxSourcePoints points.
func limit(families []family, err error) ([]family, error) {
	room := maxSourcePoints
	for i := range families {
		if n := len(families[i].points); n > room {
			families[i].points = families[i].points[:room]
			return families[:i+1], errors.Join(err, fmt.Errorf("more than %d points", maxSourcePoints))
		}
		room -= len(families[i].points)
	}
	return families, err
}

// note counts a failure, and logs the first of a row and the end of it.
func (c *collector) note(s *watchedSource, err error) {
	if err != nil {
		c.metrics.collectErrors.WithLabelValues(s.name).Inc()
		if !s.fails {
			c.log.Warn("agent: a source fails; the others go on", "source", s.name, "error", err)
		}
	} else if s.fails {
		c.log.Info("agent: a source works again", "source", s.name)
	}
	s.fails = err != nil
}

func countPoints(families []family) int {
	n := 0
	for _, f := range families {
		n += len(f.points)
	}
	return n
}

// report gathers what one source finds, point by point, into families.
type report struct{ families []family }

// gauge adds a point of a gauge. Labels are names and values in turn.
func (r *report) gauge(name, help string, value float64, labels ...string) {
	r.add(series.Metadata{Family: name, Type: "gauge", Help: help}, value, labels)
}

// counter adds a point of a counter.
func (r *report) counter(name, help string, value float64, labels ...string) {
	r.add(series.Metadata{Family: name, Type: "counter", Help: help}, value, labels)
}

func (r *report) add(m series.Metadata, value float64, labels []string) {
	p := point{name: m.Family, value: value}
	for i := 0; i < len(labels); i += 2 {
		p.labels = append(p.labels, series.Label{Name: labels[i], Value: labels[i+1]})
	}
	for i := range r.families { // a source has a dozen at most
		if r.families[i].Family == m.Family {
			r.families[i].points = append(r.families[i].points, p)
			return
		}
	}
	r.families = append(r.families, family{Metadata: m, points: []point{p}})
}
