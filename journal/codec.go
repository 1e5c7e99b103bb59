package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"

	"github.com/klauspost/compress/s2"

	"carillon/bucket"
	"carillon/series"
)

// The frame of a message: magic and version, compression, length of the body
// before compression; the body; CRC-32C of all before it.
const (
	magic        = "crj\x01" // the last byte is the version
	headerBytes  = len(magic) + 1 + 4
	trailerBytes = 4
)

// How the body is stored.
const (
	bodyPlain byte = iota
	bodyS2
)

// Bounds of one message, checked by Decode and kept by Append.
const (
	// MaxMessageItems bounds the parts, definitions, metadata and points of a
	// message, all counted together.
	MaxMessageItems = 64 << 10
	// MaxBodyBytes bounds a message's body before compression.
	MaxBodyBytes = 16 << 20
)

// What a part has; the flags are its first byte.
const (
	hasRequest byte = 1 << iota
	hasDefinitions
	hasMetadata
	hasPoints
	hasAggregates
	unknownFlags = ^(hasAggregates<<1 - 1)
)

// ErrCorrupt is why a message cannot be decoded; it is wrapped with what was
// wrong and where.
var ErrCorrupt = errors.New("journal message is corrupt")

// Encode appends one message that carries parts to dst. The columns of a part
// must be of equal length and its refs valid. What Decode refuses as too large
// must not be put together: see MaxMessageItems and MaxBodyBytes.
func Encode(dst []byte, parts []*Part) []byte {
	var body []byte
	for _, p := range parts {
		body = appendPart(body, p)
	}
	return appendFrame(dst, body)
}

// appendFrame appends the message with the given body, compressed if that makes
// it at least a sixteenth smaller.
func appendFrame(dst, body []byte) []byte {
	start := len(dst)
	dst = append(dst, magic...)
	dst = append(dst, bodyPlain)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(body)))
	at := len(dst)
	bound := s2.MaxEncodedLen(len(body))
	dst = slices.Grow(dst, max(bound, len(body))+trailerBytes)
	compressed := s2.Encode(dst[at:at+bound], body)
	if len(compressed) <= len(body)-len(body)/16 {
		dst[start+len(magic)] = bodyS2
		dst = dst[:at+len(compressed)]
	} else {
		dst = append(dst, body...)
	}
	return binary.LittleEndian.AppendUint32(dst, crc32.Checksum(dst[start:], crc32.MakeTable(crc32.Castagnoli)))
}

// appendPart appends the columns of one part.
func appendPart(dst []byte, p *Part) []byte {
	flags := len(dst)
	dst = append(dst, 0)
	if p.Request != (Hash{}) {
		dst[flags] |= hasRequest
		dst = append(dst, p.Request[:]...)
	}
	if len(p.Definitions) > 0 {
		dst[flags] |= hasDefinitions
		dst = binary.AppendUvarint(dst, uint64(len(p.Definitions)))
		for _, d := range p.Definitions {
			dst = append(dst, byte(d.Kind))
			dst = appendString(dst, string(d.Key))
		}
	}
	if len(p.Metadata) > 0 {
		dst[flags] |= hasMetadata
		dst = binary.AppendUvarint(dst, uint64(len(p.Metadata)))
		for _, m := range p.Metadata {
			for _, s := range [...]string{m.Family, m.Type, m.Help, m.Unit} {
				dst = appendString(dst, s)
			}
		}
	}
	if len(p.Refs) > 0 {
		dst[flags] |= hasPoints
		dst = binary.AppendUvarint(dst, uint64(len(p.Refs)))
		dst = appendRefs(dst, p.Refs)
		dst = appendIntegers(dst, p.Times)
		dst = appendValues(dst, p.Values)
	}
	if len(p.AggregateRefs) > 0 {
		dst[flags] |= hasAggregates
		dst = binary.AppendUvarint(dst, uint64(len(p.AggregateRefs)))
		dst = appendRefs(dst, p.AggregateRefs)
		dst = appendAggregates(dst, p.Aggregates)
	}
	return dst
}

func appendString(dst []byte, s string) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(s)))
	return append(dst, s...)
}

// integersOf and valuesOf name the columns of aggregates in the order in which
// they are written. LastTime stands as the distance from FirstTime.
var (
	integersOf = [...]struct {
		name string
		get  func(*bucket.Bucket) int64
		set  func(*bucket.Bucket, int64)
	}{
		{"first times", func(b *bucket.Bucket) int64 { return b.FirstTime }, func(b *bucket.Bucket, v int64) { b.FirstTime = v }},
		{"last times", func(b *bucket.Bucket) int64 { return b.LastTime - b.FirstTime }, func(b *bucket.Bucket, v int64) { b.LastTime = b.FirstTime + v }},
		{"counts", func(b *bucket.Bucket) int64 { return int64(b.Count) }, func(b *bucket.Bucket, v int64) { b.Count = uint64(v) }},
		{"stale times", func(b *bucket.Bucket) int64 { return b.StaleTime }, func(b *bucket.Bucket, v int64) { b.StaleTime = v }},
	}
	valuesOf = [...]struct {
		name  string
		field func(*bucket.Bucket) *float64
	}{
		{"first values", func(b *bucket.Bucket) *float64 { return &b.First }},
		{"last values", func(b *bucket.Bucket) *float64 { return &b.Last }},
		{"sums", func(b *bucket.Bucket) *float64 { return &b.Sum }},
		{"minima", func(b *bucket.Bucket) *float64 { return &b.Min }},
		{"maxima", func(b *bucket.Bucket) *float64 { return &b.Max }},
		{"squares", func(b *bucket.Bucket) *float64 { return &b.M2 }},
		{"resets", func(b *bucket.Bucket) *float64 { return &b.Resets }},
	}
)

func appendAggregates(dst []byte, buckets []bucket.Bucket) []byte {
	integers := make([]int64, len(buckets))
	for _, column := range integersOf {
		for i := range buckets {
			integers[i] = column.get(&buckets[i])
		}
		dst = appendIntegers(dst, integers)
	}
	values := make([]float64, len(buckets))
	for _, column := range valuesOf {
		for i := range buckets {
			values[i] = *column.field(&buckets[i])
		}
		dst = appendValues(dst, values)
	}
	return dst
}

// Decode reads one message. The parts share nothing with data. It trusts no
// length: it allocates at most in proportion to MaxMessageItems and
// MaxBodyBytes. Errors wrap ErrCorrupt.
func Decode(data []byte) ([]Part, error) {
	body, err := unframe(data)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	c := cursor{data: body, items: MaxMessageItems}
	var parts []Part
	for c.at < len(body) {
		part := c.part()
		if c.err != nil {
			return nil, fmt.Errorf("%w: part %d: %w", ErrCorrupt, len(parts), c.err)
		}
		parts = append(parts, part)
	}
	return parts, nil
}

// unframe checks a message's frame and returns its body.
func unframe(data []byte) ([]byte, error) {
	if len(data) < headerBytes+trailerBytes {
		return nil, fmt.Errorf("%d bytes, shorter than a header and a checksum", len(data))
	}
	versionAt := len(magic) - 1
	if string(data[:versionAt]) != magic[:versionAt] {
		return nil, fmt.Errorf("magic is %x, want %x", data[:versionAt], magic[:versionAt])
	}
	if data[versionAt] != magic[versionAt] {
		return nil, fmt.Errorf("format version %d, but only version %d is known", data[versionAt], magic[versionAt])
	}
	end := len(data) - trailerBytes
	want := binary.LittleEndian.Uint32(data[end:])
	if sum := crc32.Checksum(data[:end], crc32.MakeTable(crc32.Castagnoli)); sum != want {
		return nil, fmt.Errorf("checksum is %08x, the bytes have %08x", want, sum)
	}
	length := binary.LittleEndian.Uint32(data[len(magic)+1:])
	if length > MaxBodyBytes {
		return nil, fmt.Errorf("body of %d bytes is over the limit of %d", length, MaxBodyBytes)
	}
	stored := data[headerBytes:end]
	switch compression := data[len(magic)]; compression {
	case bodyPlain:
		if len(stored) != int(length) {
			return nil, fmt.Errorf("body has %d bytes, the header says %d", len(stored), length)
		}
		return stored, nil
	case bodyS2:
		if decoded, err := s2.DecodedLen(stored); err != nil || decoded != int(length) {
			return nil, fmt.Errorf("compressed body says %d bytes (%v), the header %d", decoded, err, length)
		}
		body, err := s2.Decode(make([]byte, length), stored)
		if err != nil {
			return nil, fmt.Errorf("decompressing the body: %w", err)
		}
		return body, nil
	default:
		return nil, fmt.Errorf("compression %d is not known", compression)
	}
}

// part reads one part.
func (c *cursor) part() Part {
	var p Part
	c.spend("part", 1)
	flags := c.bytes("flags", 1)
	if c.err != nil {
		return p
	}
	if flags[0] == 0 || flags[0]&unknownFlags != 0 {
		c.fail("flags", "are empty or not known")
		return p
	}
	if flags[0]&hasRequest != 0 {
		copy(p.Request[:], c.bytes("request hash", uint64(len(p.Request))))
	}
	if flags[0]&hasDefinitions != 0 {
		p.Definitions = c.definitions()
	}
	if flags[0]&hasMetadata != 0 {
		p.Metadata = c.metadata()
	}
	if flags[0]&hasPoints != 0 {
		n := c.count("points", 1)
		p.Refs = c.refs("refs", n, len(p.Definitions))
		p.Times = c.integers("times", n)
		p.Values = c.values("values", n)
	}
	if flags[0]&hasAggregates != 0 {
		n := c.count("aggregates", 1)
		p.AggregateRefs = c.refs("aggregate refs", n, len(p.Definitions))
		p.Aggregates = c.aggregates(n)
	}
	if c.err == nil && p.Empty() && p.Request == (Hash{}) {
		c.fail("part", "holds nothing of what its flags say")
	}
	return p
}

func (c *cursor) definitions() []series.Definition {
	definitions := make([]series.Definition, c.count("definitions", 2))
	for i := range definitions {
		kind := c.bytes("definition's kind", 1)
		key := c.string("definition's key")
		if c.err != nil {
			return nil
		}
		if kind[0] > byte(series.Event) {
			c.fail("definition's kind", "is not known")
			return nil
		}
		definitions[i] = series.Definition{Key: series.Key(key), Kind: series.Kind(kind[0])}
	}
	return definitions
}

func (c *cursor) metadata() []series.Metadata {
	metadata := make([]series.Metadata, c.count("metadata", 4))
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

func (c *cursor) aggregates(n int) []bucket.Bucket {
	buckets := make([]bucket.Bucket, n)
	for _, column := range integersOf {
		for i, v := range c.integers(column.name, n) {
			column.set(&buckets[i], v)
		}
	}
	for _, column := range valuesOf {
		for i, v := range c.values(column.name, n) {
			*column.field(&buckets[i]) = v
		}
	}
	return buckets
}
