package memcached

import "sync/atomic"

// event is something that a server counts.
type event int

const (
	cmdGet event = iota
	cmdSet
	cmdFlush
	cmdTouch
	cmdMeta
	getHits
	getMisses
	deleteMisses
	deleteHits
	incrMisses
	incrHits
	decrMisses
	decrHits
	casMisses
	casHits
	casBadval
	touchHits
	touchMisses
	storeTooLarge
	storeNoMemory
	authCommands
	authErrors
	bytesRead
	bytesWritten

	// Those that memcached does not have.
	badCommands      // ERROR or CLIENT_ERROR was the reply
	badLines         // connections closed for a line without end
	binaryRequests   // connections closed for the binary protocol
	prefixDeleted    // items deleted by prefix
	repliesRefused   // no memory for a reply, or too many datagrams
	datagrams        // received
	datagramsRefused // from a source that is not allowed
	datagramsBad     // without a valid frame
	datagramsCut     // that end in the middle of a request
	datagramsDropped // replies that could not be sent

	events // how many there are
)

// eventNames are as stats shows them.
var eventNames = [events]string{
	"cmd_get", "cmd_set", "cmd_flush", "cmd_touch", "cmd_meta", "get_hits", "get_misses", "delete_misses", "delete_hits",
	"incr_misses", "incr_hits", "decr_misses", "decr_hits", "cas_misses", "cas_hits", "cas_badval", "touch_hits",
	"touch_misses", "store_too_large", "store_no_memory", "auth_cmds", "auth_errors", "bytes_read", "bytes_written",
	"bad_commands", "bad_lines", "binary_requests", "prefix_deleted", "replies_refused", "datagrams", "datagrams_refused",
	"datagrams_bad", "datagrams_cut", "datagrams_dropped",
}

// counts are events that one session has seen and not yet added to the totals.
type counts [events]uint64

// totals are the events of all sessions. Anybody may add to them.
type totals [events]atomic.Uint64

func (t *totals) add(c *counts) {
	for e, n := range c {
		if n != 0 {
			t[e].Add(n)
			c[e] = 0
		}
	}
}

func (t *totals) reset() {
	for e := range t {
		t[e].Store(0)
	}
}
