package series

import "strings"

// Kind says what the values of a series mean.
type Kind uint8

const (
	// Gauge is a value that stands for itself: a temperature, a queue's length.
	Gauge Kind = iota
	// Counter only rises, but for resets to (near) zero when its process restarts.
	Counter
	// Event is an amount that happened; amounts in one segment add up, and are
	// read back as a rate a second.
	Event
)

// String is the kind's name in the API and the documentation.
func (k Kind) String() string {
	switch k {
	case Gauge:
		return "gauge"
	case Counter:
		return "counter"
	case Event:
		return "event"
	}
	return "unknown"
}

// KindOfName guesses the kind from a metric's name, by the suffixes that
// OpenMetrics gives to counters. It serves until the sender says better.
func KindOfName(metric string) Kind {
	for _, suffix := range [...]string{"_total", "_count", "_sum", "_bucket"} {
		if strings.HasSuffix(metric, suffix) {
			return Counter
		}
	}
	return Gauge
}
