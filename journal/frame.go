package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"time"
)

// A message is a frame around encoded parts: magic and version, the time, a table
// of the partitions it brings something to, their parts, and the CRC-32C of all
// before it; docs/format/journal.md has the byte table.
const (
	magic        = "crj\x02" // the last byte is the version
	headerBytes  = len(magic) + 8 + 2
	entryBytes   = 2 + 4 // of the table
	trailerBytes = 4

	// maxPartitions is how many partitions the table can name.
	maxPartitions = 1 << 16
)

// ErrCorrupt is why a message cannot be decoded; it is wrapped with what was
// wrong and where.
var ErrCorrupt = errors.New("journal message is corrupt")

// region is where the parts for one partition stand in a message.
type region struct {
	partition int
	bytes     int
}

// appendHeader appends what stands before the parts.
func appendHeader(dst []byte, at time.Time, regions []region) []byte {
	dst = append(dst, magic...)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(at.UnixMilli()))
	dst = binary.LittleEndian.AppendUint16(dst, uint16(len(regions)))
	for _, r := range regions {
		dst = binary.LittleEndian.AppendUint16(dst, uint16(r.partition))
		dst = binary.LittleEndian.AppendUint32(dst, uint32(r.bytes))
	}
	return dst
}

// appendTrailer appends the checksum of a message that is complete but for it.
func appendTrailer(message []byte) []byte {
	return binary.LittleEndian.AppendUint32(message, crc32.Checksum(message, crc32.MakeTable(crc32.Castagnoli)))
}

// frame is a message that was checked.
type frame struct {
	at    time.Time
	table []byte // of the partitions it brings something to
	body  []byte // their parts
}

// openMessage checks a message.
func openMessage(message []byte) (frame, error) {
	if err := checkFrame(message); err != nil {
		return frame{}, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	begin := headerBytes + int(binary.LittleEndian.Uint16(message[headerBytes-2:]))*entryBytes
	f := frame{
		at:    time.UnixMilli(int64(binary.LittleEndian.Uint64(message[len(magic):]))),
		table: message[headerBytes:begin], body: message[begin : len(message)-trailerBytes],
	}
	if err := f.check(); err != nil {
		return frame{}, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return f, nil
}

// entry is the first one of a table.
func entry(table []byte) region {
	return region{int(binary.LittleEndian.Uint16(table)), int(binary.LittleEndian.Uint32(table[2:]))}
}

// check makes sure that the table and the body are of the same parts.
func (f frame) check() error {
	left, previous := len(f.body), -1
	for table := f.table; len(table) > 0; table = table[entryBytes:] {
		r := entry(table)
		if r.partition <= previous {
			return fmt.Errorf("partition %d stands behind partition %d", r.partition, previous)
		}
		if uint(r.bytes) > uint(left) {
			return fmt.Errorf("%d bytes of partition %d, %d are left", r.bytes, r.partition, left)
		}
		left, previous = left-r.bytes, r.partition
	}
	if left > 0 {
		return fmt.Errorf("%d bytes are of no partition", left)
	}
	return nil
}

// of is what the message holds for a partition, which may be nothing.
func (f frame) of(partition int) []byte {
	body := f.body
	for table := f.table; len(table) > 0; table = table[entryBytes:] {
		r := entry(table)
		if r.partition == partition {
			return body[:r.bytes]
		}
		body = body[r.bytes:]
	}
	return nil
}

// checkFrame finds out whether a message is one, whole and undamaged.
func checkFrame(message []byte) error {
	if len(message) < headerBytes+trailerBytes {
		return fmt.Errorf("%d bytes, shorter than a header and a checksum", len(message))
	}
	versionAt := len(magic) - 1
	if string(message[:versionAt]) != magic[:versionAt] {
		return fmt.Errorf("magic is %x, want %x", message[:versionAt], magic[:versionAt])
	}
	if message[versionAt] != magic[versionAt] {
		return fmt.Errorf("format version %d, but only version %d is known", message[versionAt], magic[versionAt])
	}
	end := len(message) - trailerBytes
	want := binary.LittleEndian.Uint32(message[end:])
	if sum := crc32.Checksum(message[:end], crc32.MakeTable(crc32.Castagnoli)); sum != want {
		return fmt.Errorf("checksum is %08x, the bytes have %08x", want, sum)
	}
	if entries := int(binary.LittleEndian.Uint16(message[headerBytes-2:])); headerBytes+entries*entryBytes > end {
		return fmt.Errorf("a table of %d partitions in %d bytes", entries, len(message))
	}
	return nil
}
