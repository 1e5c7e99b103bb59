package agent

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the agent's own. They travel like any other of the process, since
// the registry they are in is among the sources.
type metrics struct {
	collectedPoints prometheus.Counter
	collectErrors   *prometheus.CounterVec
	sentBodies      prometheus.Counter
	failedSends     prometheus.Counter
	rejectedBodies  prometheus.Counter
	unbuffered      prometheus.Counter
	lastSend        prometheus.Gauge
}

func newMetrics(registry prometheus.Registerer, buffer Buffer) (*metrics, error) {
	const droppedName = "carillon_agent_dropped_bodies_total"
	const droppedHelp = "Bodies of measurements lost, by reason: full, rejected, corrupt or unbuffered."
	dropped := func(reason string) prometheus.CounterOpts {
		return prometheus.CounterOpts{Name: droppedName, Help: droppedHelp, ConstLabels: prometheus.Labels{"reason": reason}}
	}
	m := &metrics{
		collectedPoints: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "carillon_agent_collected_points_total",
			Help: "Points collected from the host and from this process.",
		}),
		collectErrors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "carillon_agent_collect_errors_total",
			Help: "Collections that failed, wholly or in part, by source.",
		}, []string{"source"}),
		sentBodies: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "carillon_agent_sent_bodies_total",
			Help: "Bodies of measurements that the server acknowledged.",
		}),
		failedSends: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "carillon_agent_failed_sends_total",
			Help: "Attempts to send a body that failed and are made again.",
		}),
		lastSend: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "carillon_agent_last_send_timestamp_seconds",
			Help: "When the server last acknowledged a body, in seconds since the epoch.",
		}),
		rejectedBodies: prometheus.NewCounter(dropped("rejected")),
		unbuffered:     prometheus.NewCounter(dropped("unbuffered")),
	}
	full := prometheus.NewCounterFunc(dropped("full"), func() float64 { return float64(buffer.Dropped().Full) })
	corrupt := prometheus.NewCounterFunc(dropped("corrupt"), func() float64 { return float64(buffer.Dropped().Corrupt) })
	queueBytes := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "carillon_agent_queue_bytes",
		Help: "Bytes that wait in the agent's buffer.",
	}, func() float64 { _, bytes := buffer.Size(); return float64(bytes) })

	var failed []error
	for _, c := range []prometheus.Collector{
		m.collectedPoints, m.collectErrors, m.sentBodies, m.failedSends, m.rejectedBodies, m.unbuffered, m.lastSend,
		full, corrupt, queueBytes,
	} {
		failed = append(failed, registry.Register(c))
	}
	return m, errors.Join(failed...)
}
