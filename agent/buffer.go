package agent

import (
	"errors"
	"fmt"
	"slices"
	"sync"
)

// Buffer keeps bodies in the order they were put, bounded in bytes: to make room
// for a new one it drops the oldest. It is safe for concurrent use, by one goroutine
// that puts and one that takes.
type Buffer interface {
	// Put keeps body as the newest. An error means that body is not kept.
	Put(body []byte) error
	// Oldest returns the body to send next and its number, for Remove. It returns
	// ErrEmpty if there is none. The body must not be changed.
	Oldest() (sequence uint64, body []byte, err error)
	// Remove forgets a body that Oldest returned. It is no error if Put has dropped
	// it meanwhile; such a body is counted as dropped, though it was sent.
	Remove(sequence uint64) error
	// Size is how much is kept.
	Size() (bodies int, bytes int64)
	// Dropped is how many bodies were lost since the buffer was made.
	Dropped() Dropped
}

// Dropped counts the bodies that a Buffer lost.
type Dropped struct {
	Full    uint64 // made room for newer ones
	Corrupt uint64 // could not be read back
}

// Errors of a Buffer.
var (
	ErrEmpty    = errors.New("buffer is empty")
	ErrTooLarge = errors.New("body is larger than the whole buffer may be")
)

// DefaultMemoryBytes bounds a Memory buffer unless told otherwise: hours of one host.
const DefaultMemoryBytes = 16 << 20

// Memory is a Buffer that does not outlive the process: enough where the server
// is the process itself, and is only ever busy for a while.
type Memory struct {
	maxBytes int64

	mu      sync.Mutex
	bodies  [][]byte // guarded by mu; oldest first
	first   uint64   // guarded by mu; sequence of bodies[0]
	bytes   int64    // guarded by mu; of all bodies
	dropped Dropped  // guarded by mu
}

// NewMemory makes a buffer of at most maxBytes; 0 is DefaultMemoryBytes.
func NewMemory(maxBytes int64) *Memory {
	if maxBytes == 0 {
		maxBytes = DefaultMemoryBytes
	}
	return &Memory{maxBytes: maxBytes}
}

// Put keeps a copy of body. It fails with ErrTooLarge only.
func (m *Memory) Put(body []byte) error {
	size := int64(len(body))
	if size > m.maxBytes {
		return fmt.Errorf("keep %d bytes of at most %d: %w", size, m.maxBytes, ErrTooLarge)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for m.bytes+size > m.maxBytes {
		m.removeFirst()
		m.dropped.Full++
	}
	m.bodies = append(m.bodies, slices.Clone(body))
	m.bytes += size
	return nil
}

// Oldest returns the oldest body, or ErrEmpty.
func (m *Memory) Oldest() (uint64, []byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.bodies) == 0 {
		return 0, nil, ErrEmpty
	}
	return m.first, m.bodies[0], nil
}

// Remove forgets the oldest body if sequence is still its number. It never fails.
func (m *Memory) Remove(sequence uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.bodies) > 0 && m.first == sequence {
		m.removeFirst()
	}
	return nil
}

func (m *Memory) removeFirst() {
	m.bytes -= int64(len(m.bodies[0]))
	m.bodies[0] = nil // or the array behind the slice keeps it alive
	m.bodies = m.bodies[1:]
	m.first++
}

// Size is how much is kept.
func (m *Memory) Size() (bodies int, bytes int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.bodies), m.bytes
}

// Dropped counts what was lost; nothing in memory is ever Corrupt.
func (m *Memory) Dropped() Dropped {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.dropped
}
