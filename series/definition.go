package series

// Definition introduces a series to the journal. The journal's order gives it
// its number: the first definition of a key in a partition wins, later ones
// find it there.
type Definition struct {
	Key  Key
	Kind Kind
}

// Metadata describes a metric family, as Prometheus sends it beside the samples.
type Metadata struct {
	Family string // name of the family: histogram and summary series add a suffix
	Type   string // "counter", "gauge", "histogram", … as Prometheus names them
	Help   string
	Unit   string
}

// Kind is what the values of the family's series mean.
func (m Metadata) Kind() Kind {
	switch m.Type {
	case "counter", "histogram", "summary":
		return Counter
	}
	return Gauge
}
