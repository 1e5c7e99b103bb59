package placement

import "slices"

// Move is what becomes of an object when one map follows another.
type Move struct {
	Stay []string // nodes that have it and keep it
	To   []string // nodes that get a copy
	From []string // nodes that had a copy and do not keep it
}

// Plan adds up what moves from one map to another. The zero Plan is not usable.
// One goroutine uses it.
type Plan struct {
	before, after *Map
	totals        Totals
	fill, drain   map[string]int64
}

// Totals is what a plan comes to.
type Totals struct {
	Objects int64 // seen
	Bytes   int64 // of them, each counted once
	Moving  int64 // objects of which a copy is made
	Moved   int64 // bytes of copies to make
	// Ideal is how many bytes have to move at least so that each node has its fair
	// share by the new map, if each had it by the old one.
	Ideal float64
}

// NewPlan begins a plan.
func NewPlan(before, after *Map) *Plan {
	return &Plan{before: before, after: after, fill: make(map[string]int64), drain: make(map[string]int64)}
}

// Add counts an object of that many bytes and says where it moves.
func (p *Plan) Add(name string, size int64) Move {
	var m Move
	old, now := p.before.Place(name), p.after.Place(name)
	for _, n := range old {
		if slices.Contains(now, n) {
			m.Stay = append(m.Stay, n)
		} else {
			m.From = append(m.From, n)
			p.drain[n] += size
		}
	}
	for _, n := range now {
		if !slices.Contains(old, n) {
			m.To = append(m.To, n)
			p.fill[n] += size
		}
	}
	p.totals.Objects++
	p.totals.Bytes += size
	p.totals.Moved += size * int64(len(m.To))
	if len(m.To) > 0 {
		p.totals.Moving++
	}
	return m
}

// Totals is the sum of what was added so far.
func (p *Plan) Totals() Totals {
	t := p.totals
	before, after := p.before.Shares(), p.after.Shares()
	for node, share := range after {
		t.Ideal += max(0, share-before[node]) * float64(t.Bytes)
	}
	return t
}

// Node is how many bytes come to a node and how many leave it.
func (p *Plan) Node(name string) (in, out int64) { return p.fill[name], p.drain[name] }
