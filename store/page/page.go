// Package page turns the buckets of one series into a few bytes and back, exact
// to the bit. Buckets sorted by time come in, one checksummed, self-describing
// page comes out; the store calls it when it seals and merges, and when a query
// reads. It is pure: no clock, no I/O, no state; docs/format/page.md is the
// format.
package page

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"slices"
	"strconv"

	"carillon/bucket"
)

// MaxBuckets is how many buckets one page may hold.
const MaxBuckets = 4096

const (
	magicVersion  = 0xC1 // upper half: a page; lower half: version 1
	flagOnes      = 1    // every bucket is one sample: only times and values are stored
	checksumBytes = 4
	headerBytes   = 2 // magicVersion and flags; the varints behind them vary
)

// ErrCorrupt is wrapped by every error of Decode.
var ErrCorrupt = errors.New("page is corrupt")

// corruption says what is wrong with a page, and at which byte of it.
type corruption struct {
	what string
	at   int
}

func (c *corruption) Error() string {
	return ErrCorrupt.Error() + ": " + c.what + " at byte " + strconv.Itoa(c.at)
}

func (c *corruption) Unwrap() error { return ErrCorrupt }

// Append appends the page of 1 to MaxBuckets buckets of one series to dst. Any
// contents come back exactly; sorted by FirstTime they become small. It panics
// on another number of buckets.
func Append(dst []byte, buckets []bucket.Bucket) []byte {
	if len(buckets) == 0 || len(buckets) > MaxBuckets {
		panic("page of " + strconv.Itoa(len(buckets)) + " buckets, want 1 to " + strconv.Itoa(MaxBuckets))
	}
	start := len(dst)
	ones := allOnes(buckets)
	var flags byte
	if ones {
		flags |= flagOnes
	}
	dst = append(dst, magicVersion, flags)
	dst = binary.AppendUvarint(dst, uint64(len(buckets)))
	dst = appendColumns(dst, buckets, ones)
	return binary.LittleEndian.AppendUint32(dst, checksum(dst[start:]))
}

func appendColumns(dst []byte, buckets []bucket.Bucket, ones bool) []byte {
	base := buckets[0].FirstTime
	dst = binary.AppendVarint(dst, base)
	dst = appendInts(dst, firstTime, buckets[1:], base)
	if ones {
		return appendFloats(dst, sample, buckets)
	}
	for c := span; c <= staleTime; c++ {
		dst = appendInts(dst, c, buckets, 0)
	}
	for c := first; c <= resets; c++ {
		dst = appendFloats(dst, c, buckets)
	}
	return dst
}

// Decode appends the buckets of a page to dst; data is exactly one page. On an
// error, which wraps ErrCorrupt, dst comes back as long as it was; its spare
// capacity may have been written to. Whatever data holds, Decode adds at most
// MaxBuckets buckets, and it allocates only to grow dst.
func Decode(data []byte, dst []bucket.Bucket) ([]bucket.Bucket, error) {
	u, n, ones, err := open(data)
	if err != nil {
		return dst, err
	}
	old := len(dst)
	grown := slices.Grow(dst, n)[:old+n]
	u.columns(grown[old:], ones)
	if u.wrong != "" {
		return dst, &corruption{"column " + u.column.String() + ": " + u.wrong, u.at}
	}
	if u.at != len(u.data) {
		return dst, &corruption{"it goes on behind the last column", u.at}
	}
	return grown, nil
}

// columns reads what appendColumns wrote. Afterwards u.wrong tells whether the
// buckets are any good.
func (u *unpacker) columns(buckets []bucket.Bucket, ones bool) {
	base := int64(unzigzag(u.uvarint()))
	buckets[0].FirstTime = base
	u.ints(firstTime, buckets[1:], base)
	if ones {
		u.floats(sample, buckets)
		return
	}
	for c := span; c <= staleTime; c++ {
		u.ints(c, buckets, 0)
	}
	for c := first; c <= resets; c++ {
		u.floats(c, buckets)
	}
}

// open checks what can be checked without decoding a column: size, checksum,
// version, flags and the number of buckets. The reader stands behind that number.
func open(data []byte) (u unpacker, buckets int, ones bool, err error) {
	body := len(data) - checksumBytes
	if body < headerBytes {
		return u, 0, false, &corruption{"it ends within its header", len(data)}
	}
	if checksum(data[:body]) != binary.LittleEndian.Uint32(data[body:]) {
		return u, 0, false, &corruption{"checksum does not match", body}
	}
	if data[0] != magicVersion {
		return u, 0, false, &corruption{"unknown version " + strconv.Itoa(int(data[0])), 0}
	}
	if data[1]&^flagOnes != 0 {
		return u, 0, false, &corruption{"unknown flags " + strconv.Itoa(int(data[1])), 1}
	}
	u = unpacker{data: data[:body], at: headerBytes}
	n := u.uvarint()
	if u.wrong != "" || n == 0 || n > MaxBuckets {
		return u, 0, false, &corruption{"number of buckets is not 1 to " + strconv.Itoa(MaxBuckets), headerBytes}
	}
	return u, int(n), data[1]&flagOnes != 0, nil
}

func checksum(page []byte) uint32 {
	return crc32.Checksum(page, crc32.MakeTable(crc32.Castagnoli))
}
