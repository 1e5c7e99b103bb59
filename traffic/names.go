package traffic

import (
	"fmt"
	"strings"
)

// A host has a hundred instances, which are ten of each family of series: number i
// is instance i mod 100 of host i/100. No two series differ in their family alone,
// so that functions which drop a metric's name may be asked of several at once.
const (
	families   = 10
	instances  = 10 // of a family
	perHost    = families * instances
	maxHosts   = 100_000
	hostDigits = 5
	regions    = 4  // a host is in one,
	shards     = 16 // and belongs to one
)

// familyTable is the metrics' names, with what their series do: 40 % are rising
// counters, 30 % walks, 20 % constants and 10 % noise.
var familyTable = [families]struct {
	name string
	kind kind
}{
	{"bench_requests_total", counter}, {"bench_bytes_total", counter}, {"bench_errors_total", counter}, {"bench_ticks_total", counter},
	{"bench_load", walk}, {"bench_temperature", walk}, {"bench_queue", walk},
	{"bench_limit", constant}, {"bench_info", constant},
	{"bench_noise", noise},
}

func familyOf(i uint32) uint32 { return i / instances % families }
func kindOf(i uint32) kind     { return familyTable[familyOf(i)].kind }

// Selectors match all series in a format, each at most a 16th of them, or about
// most if that is less.
func (g *Generator) Selectors(f Format, most int) []string {
	var selectors []string
	if f == Istatd {
		for _, family := range familyTable {
			selectors = append(selectors, fmt.Sprintf(`{__name__=~"%s\\..+"}`, family.name))
		}
		return selectors
	}
	for shard := range shards {
		if len(g.order)/shards <= most {
			selectors = append(selectors, fmt.Sprintf(`{__name__=~"bench_.+",shard="%02d"}`, shard))
			continue
		}
		for _, family := range familyTable {
			selectors = append(selectors, fmt.Sprintf(`%s{shard="%02d"}`, family.name, shard))
		}
	}
	return selectors
}

// pattern is a family's labels in a format, with places for the digits in which its
// series differ. Filling it in is all there is to do a series.
type pattern struct {
	text                          string
	host, instance, region, shard int // where the digits go; 0 is nowhere
}

// The digits stand for themselves in a pattern's source.
const (
	hostMark     = "HHHHH"
	instanceMark = "II"
	regionMark   = "R"
	shardMark    = "SS"
)

func newPattern(text string) pattern {
	at := func(mark string) int { return max(0, strings.LastIndex(text, mark)) }
	return pattern{text: text, host: at(hostMark), instance: at(instanceMark), region: at(regionMark), shard: at(shardMark)}
}

func (p *pattern) append(dst []byte, i uint32) []byte {
	begin := len(dst)
	dst = append(dst, p.text...)
	b := dst[begin:]
	host := i / perHost
	b[p.instance], b[p.instance+1] = '0'+byte(i%perHost/10), '0'+byte(i%10)
	if p.region != 0 {
		b[p.region] = '1' + byte(host%regions)
		b[p.shard], b[p.shard+1] = '0'+byte(host%shards/10), '0'+byte(host%shards%10)
	}
	for at := p.host + hostDigits - 1; at >= p.host; at-- {
		b[at] = '0' + byte(host%10)
		host /= 10
	}
	return dst
}
