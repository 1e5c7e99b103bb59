//go:build !(linux && (amd64 || arm64 || riscv64))

package xdp

import "fmt"

// Region is memory that Go and the kernel share. Here there is none.
type Region struct{}

// NewRegion says that this system has no such memory.
func NewRegion(int64) (*Region, error) {
	return nil, fmt.Errorf("%w: only 64-bit Linux has XDP", ErrUnsupported)
}

// Words is nil.
func (*Region) Words() []uint64 { return nil }

// Wait does nothing.
func (*Region) Wait() error { return nil }

// Close does nothing.
func (*Region) Close() error { return nil }

// Program is the program in the kernel. Here there is none.
type Program struct{}

// Load says that this system has no such program.
func Load(*Region, Config) (*Program, error) {
	return nil, fmt.Errorf("%w: only 64-bit Linux has XDP", ErrUnsupported)
}

// Attach does nothing.
func (*Program) Attach() (Mode, error) { return 0, ErrUnsupported }

// Counters are zero.
func (*Program) Counters() (Counters, error) { return Counters{}, nil }

// Samples are none.
func (*Program) Samples(func(key []byte)) error { return nil }

// Close does nothing.
func (*Program) Close() error { return nil }
