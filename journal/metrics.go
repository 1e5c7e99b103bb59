package journal

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are what the journal counts about itself.
type metrics struct {
	messages, points, bytes, retries, failures prometheus.Counter
	publishSeconds, messagePoints              prometheus.Histogram
	all                                        []prometheus.Collector
}

// newMetrics makes the metrics and registers them; a nil registerer leaves them
// unseen. queued reads the bytes that wait for an acknowledgement.
func newMetrics(registerer prometheus.Registerer, queued func() float64) (*metrics, error) {
	m := &metrics{}
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Namespace: "carillon", Subsystem: "journal", Name: name, Help: help})
		m.all = append(m.all, c)
		return c
	}
	histogram := func(name, help string, buckets []float64) prometheus.Histogram {
		h := prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "carillon", Subsystem: "journal", Name: name, Help: help, Buckets: buckets,
		})
		m.all = append(m.all, h)
		return h
	}
	m.messages = counter("messages_total", "Messages that the journal acknowledged.")
	m.points = counter("points_total", "Points in acknowledged messages.")
	m.bytes = counter("bytes_total", "Bytes of acknowledged messages, compressed.")
	m.retries = counter("retries_total", "Messages that were published again because no answer came.")
	m.failures = counter("failures_total", "Messages that were given up; their senders were told.")
	m.publishSeconds = histogram("publish_seconds", "Time from publishing a message to its acknowledgement.",
		prometheus.ExponentialBuckets(0.0001, 2, 16))
	m.messagePoints = histogram("message_points", "Points a message.", prometheus.ExponentialBuckets(1, 4, 9))
	m.all = append(m.all, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: "carillon", Subsystem: "journal", Name: "queue_bytes", Help: "Bytes that wait for an acknowledgement.",
	}, queued))
	return m, m.register(registerer)
}

func (m *metrics) register(registerer prometheus.Registerer) error {
	if registerer == nil {
		return nil
	}
	var errs []error
	for _, c := range m.all {
		errs = append(errs, registerer.Register(c))
	}
	return errors.Join(errs...)
}

// unregister lets a journal that is opened later register its own.
func (m *metrics) unregister(registerer prometheus.Registerer) {
	if registerer == nil {
		return
	}
	for _, c := range m.all {
		registerer.Unregister(c)
	}
}
