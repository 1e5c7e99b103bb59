package index

import (
	"math/bits"
	"slices"
)

// bitset is numbers below a bound that was set when it was made: a bit a number.
type bitset []uint64

func newBitset(bound uint32) bitset { return make(bitset, (uint64(bound)+63)/64) }

func (s bitset) add(n uint32) { s[n/64] |= 1 << (n % 64) }

func (s bitset) addMany(numbers []uint32) {
	for _, n := range numbers {
		s.add(n)
	}
}

// has may be asked for numbers that are not below the bound.
func (s bitset) has(n uint32) bool { return n/64 < uint32(len(s)) && s[n/64]>>(n%64)&1 != 0 }

// filter keeps of the numbers those that are in the set or, if not in, those that are
// not.
func (s bitset) filter(numbers []uint32, in bool) []uint32 {
	return slices.DeleteFunc(numbers, func(n uint32) bool { return s.has(n) != in })
}

// appendTo appends the numbers, ascending.
func (s bitset) appendTo(numbers []uint32) []uint32 {
	for i, word := range s {
		for ; word != 0; word &= word - 1 {
			numbers = append(numbers, uint32(i*64+bits.TrailingZeros64(word)))
		}
	}
	return numbers
}
