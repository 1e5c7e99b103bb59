package journal

import (
	"fmt"
	"iter"

	"carillon/series"
)

// MaxMessageItems bounds the parts, definitions, metadata and points for one
// partition in a message, all counted together. Append keeps it, a Decoder checks it.
const MaxMessageItems = 64 << 10

// Decoder decodes parts into memory that it uses again for the next one. The zero
// Decoder is ready; one goroutine uses it at a time.
type Decoder struct {
	part     Part
	integers []int64   // of one column of aggregates
	values   []float64 // of one column of aggregates
}

// decode yields the parts that stand in encoded. Each is valid until the next is
// asked for; only its strings may be kept. It trusts no length: it allocates at
// most in proportion to the bytes and MaxMessageItems. The first error, which wraps
// ErrCorrupt, is the last that is yielded.
func (d *Decoder) decode(encoded []byte) iter.Seq2[*Part, error] {
	return func(yield func(*Part, error) bool) {
		c := cursor{data: encoded, items: MaxMessageItems}
		for n := 0; c.at < len(encoded); n++ {
			d.next(&c)
			if c.err != nil {
				yield(nil, fmt.Errorf("%w: part %d: %w", ErrCorrupt, n, c.err))
				return
			}
			if !yield(&d.part, nil) {
				return
			}
		}
	}
}

// next reads one part.
func (d *Decoder) next(c *cursor) {
	p := &d.part
	p.Request = Hash{}
	p.Definitions, p.Metadata = p.Definitions[:0], p.Metadata[:0]
	p.Refs, p.Times, p.Values = p.Refs[:0], p.Times[:0], p.Values[:0]
	p.AggregateRefs, p.Aggregates = p.AggregateRefs[:0], p.Aggregates[:0]
	c.spend("part", 1)
	flags := c.bytes("flags", 1)
	if c.err != nil {
		return
	}
	if flags[0] == 0 || flags[0]&unknownFlags != 0 {
		c.fail("flags", "are empty or not known")
		return
	}
	if flags[0]&hasRequest != 0 {
		copy(p.Request[:], c.bytes("request hash", uint64(len(p.Request))))
	}
	if flags[0]&hasDefinitions != 0 {
		p.Definitions = c.definitions(p.Definitions)
	}
	if flags[0]&hasMetadata != 0 {
		p.Metadata = c.metadata(p.Metadata)
	}
	if flags[0]&hasPoints != 0 {
		n := c.count("points")
		p.Refs = c.refs("refs", p.Refs, n, len(p.Definitions))
		p.Times = c.integers("times", p.Times, n)
		p.Values = c.values("values", p.Values, n)
	}
	if flags[0]&hasAggregates != 0 {
		n := c.count("aggregates")
		p.AggregateRefs = c.refs("aggregate refs", p.AggregateRefs, n, len(p.Definitions))
		d.aggregates(c, n)
	}
	if c.err == nil && p.Empty() && p.Request == (Hash{}) {
		c.fail("part", "holds nothing of what its flags say")
	}
}

func (d *Decoder) aggregates(c *cursor, n int) {
	buckets := resize(d.part.Aggregates, n)
	clear(buckets)
	for _, column := range integersOf {
		d.integers = c.integers(column.name, d.integers, n)
		for i, v := range d.integers {
			column.set(&buckets[i], v)
		}
	}
	for _, column := range valuesOf {
		d.values = c.values(column.name, d.values, n)
		for i, v := range d.values {
			*column.field(&buckets[i]) = v
		}
	}
	d.part.Aggregates = buckets
}

// definitions reads series. Their keys are one string that is cut: whoever keeps
// one keeps all of them.
func (c *cursor) definitions(definitions []series.Definition) []series.Definition {
	definitions = resize(definitions, c.count("definitions"))
	start, total := c.at, uint64(0)
	for range definitions {
		if kind := c.bytes("definition's kind", 1); c.err == nil && kind[0] > byte(series.Event) {
			c.fail("definition's kind", "is not known")
		}
		total += c.length("definition's key")
		if c.err != nil {
			return nil
		}
	}
	keys := string(c.bytes("definitions' keys", total))
	if c.err != nil {
		return nil
	}
	again := cursor{data: c.data[start:]}
	for i := range definitions {
		kind := again.bytes("", 1)
		length := again.uvarint("")
		definitions[i] = series.Definition{Key: series.Key(keys[:length]), Kind: series.Kind(kind[0])}
		keys = keys[length:]
	}
	return definitions
}

func (c *cursor) metadata(metadata []series.Metadata) []series.Metadata {
	metadata = resize(metadata, c.count("metadata"))
	for i := range metadata {
		metadata[i] = series.Metadata{
			Family: c.string("family's name"),
			Type:   c.string("family's type"),
			Help:   c.string("family's help"),
			Unit:   c.string("family's unit"),
		}
		if c.err != nil {
			return nil
		}
	}
	return metadata
}

// resize returns a slice of n elements, in the memory of s if that suffices. What
// they are is left open.
func resize[T any](s []T, n int) []T {
	if n > cap(s) {
		return make([]T, n)
	}
	return s[:n]
}
