package pack

import "time"

// crowd tells how many writes a group should wait for. Writers that one sync has answered come again at about the same time. If the group
// that gathered meanwhile left at once, they would wait for all of its sync, so that two groups of half the size would take turns for
// ever; and a sync costs little more for twice the bytes. So a group waits until as many writes have come as were under way
// last, but not longer than a sync takes. If many come during its sync nevertheless, they do not wait for each other's answers: then the
// next group leaves at once, and twice as many after each such attempt in a row.
//
// The idea is that of commit_delay and commit_siblings in PostgreSQL, with what is measured in place of settings.
type crowd struct {
	size     int           // writes that were synced or waiting when the last group was done
	patience time.Duration // what its sync took
	hasty    int           // groups to come that do not wait
	inVain   int           // how many these were after the last attempt
}

const (
	maxHasty  = 1 << 10
	strangers = 4 // one so-manieth of a group's writes may come during its sync if it was all of a crowd
)

// expected is the number of writes to wait for.
func (c *crowd) expected() int {
	if c.hasty > 0 {
		return 0
	}
	return c.size
}

// synced notes that so many writes were synced, while so many others came.
func (c *crowd) synced(writes, others int, took time.Duration) {
	switch {
	case c.hasty > 0:
		c.hasty--
	case others*strangers > writes:
		c.inVain = min(2*c.inVain+1, maxHasty)
		c.hasty = c.inVain
	default:
		c.inVain = 0
	}
	c.size, c.patience = writes+others, took
}
