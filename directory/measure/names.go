package measure

import (
	"math/rand/v2"
	"slices"
	"strings"
)

const (
	nameBytes    = 16                                 // as long as names of volumes are
	nameAlphabet = "abcdefghijklmnopqrstuvwxyz012345" // 32: five bits of chance a byte
)

// names are random ones, one after the other in one piece of memory, as a request
// would bring them: asking in their order costs no cache miss of its own.
type names string

func (n names) len() int        { return len(n) / nameBytes }
func (n names) at(i int) string { return string(n[i*nameBytes : (i+1)*nameBytes]) }

func randomNames(random *rand.Rand, count int) names {
	var b strings.Builder
	b.Grow(count * nameBytes)
	for range count {
		appendName(&b, random)
	}
	return names(b.String())
}

// appendName adds a name of 79 random bits, so that two are equal in no run. Its
// first letter is none of the digits: such a name might be an id.
func appendName(b *strings.Builder, random *rand.Rand) {
	b.WriteByte(nameAlphabet[random.Uint64()%26])
	bits, left := uint64(0), 0
	for range nameBytes - 1 {
		if left == 0 {
			bits, left = random.Uint64(), 64/5
		}
		b.WriteByte(nameAlphabet[bits%32])
		bits, left = bits>>5, left-1
	}
}

// questions are names to look up, with the id that is the right answer; 0 where
// the name is absent.
type questions struct {
	names names
	want  []uint64
}

func (q questions) len() int { return len(q.want) }

// part is the n questions from the i-th on, from the start again after the last.
func (q questions) part(i, n int) questions {
	i %= q.len() - n + 1
	return questions{names: q.names[i*nameBytes : (i+n)*nameBytes], want: q.want[i : i+n]}
}

// population is what the directory holds, and what it is asked.
type population struct {
	created names     // in order of creation; the i-th has id i+1
	present questions // all of them, in another order
	absent  questions // as many that were never created
	mixed   questions // half of either, by chance
}

func newPopulation(entries int, seed uint64) *population {
	random := rand.New(rand.NewPCG(seed, 1))
	p := &population{created: randomNames(random, entries)}
	p.present = ask(p.created, random.Perm(entries))
	p.absent = questions{names: randomNames(random, entries), want: make([]uint64, entries)}
	p.mixed = mix(random, p.present, p.absent)
	return p
}

// ask is questions about created names in the order of their indexes.
func ask(created names, order []int) questions {
	var b strings.Builder
	b.Grow(len(order) * nameBytes)
	want := make([]uint64, len(order))
	for i, at := range order {
		b.WriteString(created.at(at))
		want[i] = idOf(at)
	}
	return questions{names: names(b.String()), want: want}
}

func idOf(i int) uint64 { return uint64(i) + 1 }

// mix takes each question from one of two at random, which have equal lengths.
func mix(random *rand.Rand, x, y questions) questions {
	var b strings.Builder
	b.Grow(len(x.names))
	want := make([]uint64, x.len())
	for i := range want {
		from := x
		if random.Uint64()%2 == 0 {
			from = y
		}
		b.WriteString(from.names.at(i))
		want[i] = from.want[i]
	}
	return questions{names: names(b.String()), want: want}
}

// sorted are the names in the order of the disk, in which reading all is quick.
func (n names) sorted() []string {
	all := make([]string, n.len())
	for i := range all {
		all[i] = n.at(i)
	}
	slices.Sort(all)
	return all
}
