package placement

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
	"slices"

	"github.com/zeebo/xxh3"
)

// MaxNodes bounds the nodes of a map: each object ranks them all.
const MaxNodes = 1024

// Node is a member of a map.
type Node struct {
	Name   string  // unique in the map
	Zone   string  // what fails together: a rack, a machine; empty means the node alone
	Weight float64 // share of the objects, relative to the others'; usually the size of its disk
}

// Map says on which nodes the copies of an object belong. It never changes: a node joins
// or leaves by another map.
//
// Objects are placed by weighted rendezvous. Each id of an object draws a lot for each
// node, a number hashed from both; a node's rank is by the best of its lots and
// its weight, and the copies go to the first nodes in this order, one a zone while zones
// last, then a second one a zone, and so on. There is one ranking an object, to which all
// ids contribute, and not one ranking a copy, for the sake of this: when a node joins, whatever
// moves moves to it, and when one leaves, whatever moves comes from it. With a ranking a copy
// and zones, copies also change places among the nodes that stay.
//
// The order of an object's nodes means something: the first decides on compare-and-set.
type Map struct {
	transformations []Transformation
	nodes           []member
}

type member struct {
	Node
	seed uint64 // hash of the name
	zone int    // number of the zone
}

// NewMap makes a map of nodes with a copy for each transformation. Where there are fewer nodes than
// transformations, objects have as many copies as there are nodes.
func NewMap(transformations []Transformation, nodes []Node) (*Map, error) {
	if len(transformations) == 0 || len(transformations) > MaxCopies {
		return nil, fmt.Errorf("%d transformations, want 1 to %d: %w", len(transformations), MaxCopies, ErrConfig)
	}
	if len(nodes) == 0 || len(nodes) > MaxNodes {
		return nil, fmt.Errorf("%d nodes, want 1 to %d: %w", len(nodes), MaxNodes, ErrConfig)
	}
	m := &Map{transformations: slices.Clone(transformations)}
	zones := make(map[string]int)
	for _, n := range nodes {
		if n.Name == "" || slices.ContainsFunc(m.nodes, func(o member) bool { return o.Name == n.Name }) {
			return nil, fmt.Errorf("node %q: names must be given and unique: %w", n.Name, ErrConfig)
		}
		if !(n.Weight > 0) || math.IsInf(n.Weight, 1) {
			return nil, fmt.Errorf("node %q has the weight %v, want a positive number: %w", n.Name, n.Weight, ErrConfig)
		}
		zone := "zone " + n.Zone
		if n.Zone == "" {
			zone = "node " + n.Name
		}
		if _, known := zones[zone]; !known {
			zones[zone] = len(zones)
		}
		m.nodes = append(m.nodes, member{Node: n, seed: xxh3.HashString(n.Name), zone: zones[zone]})
	}
	return m, nil
}

// Copies is how many copies an object has.
func (m *Map) Copies() int { return min(len(m.transformations), len(m.nodes)) }

// Nodes lists the nodes of the map as they were given.
func (m *Map) Nodes() []Node {
	nodes := make([]Node, len(m.nodes))
	for i, n := range m.nodes {
		nodes[i] = n.Node
	}
	return nodes
}

// Place lists the names of the nodes on which the copies of a named object belong, best first.
func (m *Map) Place(name string) []string {
	ids := make([]ID, len(m.transformations))
	for i, t := range m.transformations {
		ids[i] = t.Name(name)
	}
	return m.first(ids)
}

// ranked is a node in the order of an object.
type ranked struct {
	node  int
	cost  float64 // the smaller, the better
	round int     // how many of its zone are better
}

// first lists the first nodes in the order of an object with those ids.
func (m *Map) first(ids []ID) []string {
	order := make([]ranked, len(m.nodes))
	for i := range m.nodes {
		order[i] = ranked{node: i, cost: m.nodes[i].cost(ids)}
	}
	byCost := func(a, b ranked) int {
		return cmp.Or(cmp.Compare(a.cost, b.cost), cmp.Compare(m.nodes[a.node].Name, m.nodes[b.node].Name))
	}
	slices.SortFunc(order, byCost)
	taken := make([]int, len(m.nodes)) // of each zone
	for i := range order {
		zone := m.nodes[order[i].node].zone
		order[i].round = taken[zone]
		taken[zone]++
	}
	slices.SortStableFunc(order, func(a, b ranked) int { return cmp.Compare(a.round, b.round) })
	names := make([]string, m.Copies())
	for i := range names {
		names[i] = m.nodes[order[i].node].Name
	}
	return names
}

// cost turns the best lot of a node, uniform in (0,1), into an exponential variable whose
// rate is the weight: the smallest of such variables is a node's with a probability in
// proportion to its weight (Schindelhauer and Schomaker, "Weighted Distributed Hash
// Tables", 2005), and the smallest in a zone is one whose rate is the sum of its nodes'.
func (n *member) cost(ids []ID) float64 {
	best := uint64(0)
	for i := range ids {
		best = max(best, lot(&ids[i], n.seed))
	}
	u := (float64(best>>11) + 0.5) / (1 << 53)
	return -math.Log(u) / n.Weight
}

// lot mixes an id and a node's seed.
func lot(id *ID, seed uint64) uint64 {
	h := seed
	for i := 0; i < len(id); i += 8 {
		hi, lo := bits.Mul64(h^binary.LittleEndian.Uint64(id[i:]), 0x9e3779b97f4a7c15)
		h = hi ^ lo
	}
	h ^= h >> 32
	h *= 0xd6e8feb86659fd93
	h ^= h >> 32
	return h
}
