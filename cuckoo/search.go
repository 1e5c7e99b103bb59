package cuckoo

// Bounds on how far a writer looks for room.
const (
	// maxInsertSearch is the buckets that Insert looks at before it says "full".
	maxInsertSearch = 4096
	// maxPutSearch is the buckets that Put looks at before it evicts.
	maxPutSearch = 1024
	// maxChain is how often an egg of Put is moved on before it falls out.
	maxChain = 8
)

// node is a bucket on the search: the entry at from, in the bucket of the parent,
// could move here.
type node struct {
	bucket uint32
	parent int32 // index of a node, -1 for the buckets of the new key
	from   place
}

// search is the writer's scratch memory. Each bucket is visited at most once, so
// that the moves on a path never meet, and so that a table of no more than
// maxInsertSearch buckets is searched completely.
type search struct {
	nodes []node
	seen  []uint64 // open addressing: round<<32 | bucket
	round uint32   // of the search under way; what another round left counts as empty
}

func newSearch(buckets int) search {
	limit := min(buckets, maxInsertSearch)
	return search{
		nodes: make([]node, 0, max(limit, maxChain+1)),
		seen:  make([]uint64, 2*ceilPower(limit)),
	}
}

// ceilPower is the next power of two that is not below n.
func ceilPower(n int) int {
	p := 1
	for p < n {
		p *= 2
	}
	return p
}

func (s *search) start() {
	s.nodes = s.nodes[:0]
	s.round++
	if s.round == 0 { // after 2^32 searches old marks would look like new ones
		clear(s.seen)
		s.round = 1
	}
}

// visit adds a bucket unless it was visited before.
func (s *search) visit(bucket uint64, parent int, from place) {
	mark := uint64(s.round)<<32 | bucket
	mask := uint64(len(s.seen) - 1)
	i := bucket * 0x9e3779b97f4a7c15 >> 32 & mask
	for ; s.seen[i]>>32 == uint64(s.round); i = (i + 1) & mask {
		if s.seen[i] == mark {
			return
		}
	}
	s.seen[i] = mark
	s.nodes = append(s.nodes, node{bucket: uint32(bucket), parent: int32(parent), from: from})
}

// room looks breadth first, so that the fewest entries move, for an empty slot
// that the buckets of k lead to within limit buckets, and moves the hole back. It
// is the place for k and how many entries were moved.
func (t *Table) room(k Key, limit int) (p place, moves int, ok bool) {
	s := &t.search
	s.start()
	first, second := t.buckets(k)
	s.visit(first, -1, 0)
	s.visit(second, -1, 0)
	for n := 0; n < len(s.nodes); n++ {
		bucket := uint64(s.nodes[n].bucket)
		if hole, empty := t.emptySlot(bucket); empty {
			p, moves = t.moveHole(n, hole)
			return p, moves, true
		}
		for i := 0; i < t.config.Slots && len(s.nodes) < min(limit, cap(s.nodes)); i++ {
			from := place(bucket*groupSlots) + place(i)
			s.visit(t.otherBucket(from), n, from)
		}
	}
	return 0, 0, false
}

// moveHole moves the hole in the bucket of node n back to a bucket of the new key,
// by moving the entries on the way forward, the last one first.
func (t *Table) moveHole(n int, hole place) (p place, moves int) {
	for at := t.search.nodes[n]; at.parent >= 0; at = t.search.nodes[at.parent] {
		t.move(at.from, hole)
		hole = at.from
		moves++
	}
	return hole, moves
}

// evict frees a place for k. The CLOCK victim of a bucket of k falls out if it was
// not read lately; otherwise it is an egg that gets a second chance in its other
// bucket, whose victim goes on in turn, and the last egg of the chain falls out.
func (t *Table) evict(k Key) (p place, moves int, value uint64, fell bool) {
	s := &t.search
	s.start()
	bucket := t.colder(t.buckets(k))
	s.visit(bucket, -1, 0)
	for n := 0; ; n++ {
		victim, cold := t.victim(bucket)
		bucket = t.otherBucket(victim)
		if !cold && n < maxChain {
			s.visit(bucket, n, victim)
		}
		if len(s.nodes) == n+1 { // cold, the chain's end, or a bucket the chain has been to
			value = t.remove(victim)
			p, moves = t.moveHole(n, victim)
			return p, moves, value, true
		}
		if hole, empty := t.emptySlot(bucket); empty {
			p, moves = t.moveHole(n+1, hole)
			return p, moves, 0, false
		}
	}
}
