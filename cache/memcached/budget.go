package memcached

import "sync/atomic"

// budget bounds, in bytes, what all connections together hold for requests and replies that are
// larger than their fixed buffers. Any goroutine may use it.
type budget struct{ left atomic.Int64 }

// take takes n bytes, if they are there.
func (b *budget) take(n int) bool {
	if b.left.Add(-int64(n)) >= 0 {
		return true
	}
	b.give(n)
	return false
}

func (b *budget) give(n int) { b.left.Add(int64(n)) }
