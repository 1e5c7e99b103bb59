package object

import (
	"encoding/hex"
	"fmt"

	"github.com/zeebo/blake3"
)

// Sum is the BLAKE3 checksum of a content, 256 bits.
type Sum [SumSize]byte

// SumSize is the length of a Sum in bytes.
const SumSize = 32

// SumOf is the checksum of a content in memory.
func SumOf(content []byte) Sum { return blake3.Sum256(content) }

// String is the checksum in hexadecimal, as b3sum prints it.
func (s Sum) String() string { return hex.EncodeToString(s[:]) }

// ParseSum reads what String wrote.
func ParseSum(text string) (Sum, error) {
	var s Sum
	if len(text) != 2*SumSize {
		return Sum{}, fmt.Errorf("checksum %.80q has %d characters, want %d hexadecimal digits", text, len(text), 2*SumSize)
	}
	if _, err := hex.Decode(s[:], []byte(text)); err != nil {
		return Sum{}, fmt.Errorf("checksum %q: %w", text, err)
	}
	return s, nil
}

// Summer computes the Sum of what is written to it.
type Summer struct{ hasher *blake3.Hasher }

// NewSummer returns a Summer of nothing yet.
func NewSummer() Summer { return Summer{blake3.New()} }

// Write never fails.
func (s Summer) Write(p []byte) (int, error) { return s.hasher.Write(p) }

// Sum is of what was written so far.
func (s Summer) Sum() Sum {
	var sum Sum
	s.hasher.Sum(sum[:0])
	return sum
}
