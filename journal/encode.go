package journal

import (
	"encoding/binary"

	"carillon/bucket"
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

// appendPart appends the columns of one part, which must be of equal length, and
// its refs valid. The parts of a partition in a message are such, one after the other.
func appendPart(dst []byte, p *Part) []byte {
	flags := len(dst)
	dst = append(dst, 0)
	if p.Request != (Hash{}) {
		dst[flags] |= hasRequest
		dst = append(dst, p.Request[:]...)
	}
	if len(p.Definitions) > 0 {
		dst[flags] |= hasDefinitions
		dst = appendDefinitions(dst, p)
	}
	if len(p.Metadata) > 0 {
		dst[flags] |= hasMetadata
		dst = binary.AppendUvarint(dst, uint64(len(p.Metadata)))
		for _, m := range p.Metadata {
			for _, s := range [...]string{m.Family, m.Type, m.Help, m.Unit} {
				dst = binary.AppendUvarint(dst, uint64(len(s)))
				dst = append(dst, s...)
			}
		}
	}
	if len(p.Refs) > 0 {
		dst[flags] |= hasPoints
		dst = binary.AppendUvarint(dst, uint64(len(p.Refs)))
		dst = appendRefs(dst, p.Refs, len(p.Definitions))
		dst = appendIntegers(dst, p.Times)
		dst = appendValues(dst, p.Values)
	}
	if len(p.AggregateRefs) > 0 {
		dst[flags] |= hasAggregates
		dst = binary.AppendUvarint(dst, uint64(len(p.AggregateRefs)))
		dst = appendRefs(dst, p.AggregateRefs, len(p.Definitions))
		dst = appendAggregates(dst, p.Aggregates)
	}
	return dst
}

// appendDefinitions writes kinds and lengths first, so that the reader makes one
// string of all keys.
func appendDefinitions(dst []byte, p *Part) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(p.Definitions)))
	for i := range p.Definitions {
		dst = append(dst, byte(p.Definitions[i].Kind))
		dst = binary.AppendUvarint(dst, uint64(len(p.Definitions[i].Key)))
	}
	for i := range p.Definitions {
		dst = append(dst, p.Definitions[i].Key...)
	}
	return dst
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
