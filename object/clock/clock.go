// Package clock gives versions to objects: hybrid logical timestamps, which follow the
// wall clock and yet always grow along any chain of messages. What comes in is the
// physical time and the versions that others wrote; what goes out is a total order of
// writes with a documented rule for ties. Package replica stamps every write and every
// delete with one, and nodes refuse those that lie too far in the future.
package clock

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"carillon/object"
)

// ErrSkew is wrapped by the error for a version too far in the future.
var ErrSkew = errors.New("version is too far in the future")

// DefaultMaxSkew is how far clocks may be apart, unless configured otherwise.
const DefaultMaxSkew = 10 * time.Second

// Clock issues versions (Kulkarni et al., "Logical Physical Clocks", 2014). Each is
// later than all that the clock issued or observed before, and as near to the physical
// time as that allows.
//
// The physical clock may stand still or step back: the counter then orders what it
// cannot. A clock does not survive its process, so a physical clock that steps back over
// a restart can repeat a time; that is why the node's number should be drawn at random at
// each start, and why a writer observes the newest version that it overwrites.
type Clock struct {
	node    uint64
	now     func() time.Time
	maxSkew time.Duration

	mu   sync.Mutex
	last Stamp // guarded by mu; the newest issued or observed
}

// New makes a clock. The node's number breaks ties and must be no other clock's: draw it
// at random. A version further ahead of now than maxSkew is not observed; zero means
// DefaultMaxSkew.
func New(node uint64, now func() time.Time, maxSkew time.Duration) *Clock {
	if maxSkew <= 0 {
		maxSkew = DefaultMaxSkew
	}
	return &Clock{node: node, now: now, maxSkew: maxSkew}
}

// Now is a version later than all before, not guarded.
func (c *Clock) Now() object.Version {
	physical := c.now().UnixMilli()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = following(c.last, physical)
	c.last.Node = c.node
	return c.last.Version()
}

// Wall is the physical time.
func (c *Clock) Wall() time.Time { return c.now() }

// Observe makes all versions to come later than v, which somebody wrote. It refuses one
// beyond the skew allowed, with ErrSkew: were it believed, one wrong clock would push all
// others into the future with it, and nobody could overwrite what it wrote.
func (c *Clock) Observe(v object.Version) error {
	if err := c.Check(v); err != nil {
		return err
	}
	s := StampOf(v)
	s.Guarded = false // an order of kinds, not of times
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.last.Version().Compare(s.Version()) < 0 {
		c.last = s
	}
	return nil
}

// Check tells whether Observe would take a version.
func (c *Clock) Check(v object.Version) error {
	if ahead := StampOf(v).Time().Sub(c.now()); ahead > c.maxSkew {
		return fmt.Errorf("version %v is %v ahead of this clock, %v are allowed: %w", v, ahead, c.maxSkew, ErrSkew)
	}
	return nil
}

// following is the smallest stamp after last that is not before the physical time. A
// full counter borrows a millisecond from the future.
func following(last Stamp, physical int64) Stamp {
	switch {
	case physical > last.Wall:
		return Stamp{Wall: physical}
	case last.Logical == maxLogical:
		return Stamp{Wall: last.Wall + 1}
	default:
		return Stamp{Wall: last.Wall, Logical: last.Logical + 1}
	}
}
