package agent

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// The file of one queued body, little-endian (docs/format/agent-queue.md):
//
//	0  8  magic "CARAGENQ"
//	8  4  version, 1
//	12 4  bytes of the body
//	16 4  CRC-32C of bytes 0 to 15 and the body
//	20    the body
const (
	queueMagic      = "CARAGENQ"
	queueVersion    = 1
	queueHeaderSize = 20
	maxBodyBytes    = 64 << 20 // of one body; the server takes less
)

// ErrCorrupt is in the error of a queue file that does not hold what was written.
var ErrCorrupt = errors.New("queue file is corrupt")

// encodeQueueFile is the content of the file that keeps body.
func encodeQueueFile(body []byte) []byte {
	file := make([]byte, queueHeaderSize, queueHeaderSize+len(body))
	copy(file, queueMagic)
	binary.LittleEndian.PutUint32(file[8:], queueVersion)
	binary.LittleEndian.PutUint32(file[12:], uint32(len(body)))
	binary.LittleEndian.PutUint32(file[16:], queueChecksum(file[:16], body))
	return append(file, body...)
}

// decodeQueueFile returns the body inside file, without copying it. Every error
// wraps ErrCorrupt.
func decodeQueueFile(file []byte) ([]byte, error) {
	if len(file) < queueHeaderSize {
		return nil, fmt.Errorf("%w: %d bytes, shorter than its header", ErrCorrupt, len(file))
	}
	header, body := file[:queueHeaderSize], file[queueHeaderSize:]
	if string(header[:8]) != queueMagic {
		return nil, fmt.Errorf("%w: magic %q, want %q", ErrCorrupt, header[:8], queueMagic)
	}
	if v := binary.LittleEndian.Uint32(header[8:]); v != queueVersion {
		return nil, fmt.Errorf("%w: version %d, want %d", ErrCorrupt, v, queueVersion)
	}
	if n := binary.LittleEndian.Uint32(header[12:]); uint64(n) != uint64(len(body)) {
		return nil, fmt.Errorf("%w: body of %d bytes, its header says %d", ErrCorrupt, len(body), n)
	}
	if got, want := queueChecksum(header[:16], body), binary.LittleEndian.Uint32(header[16:]); got != want {
		return nil, fmt.Errorf("%w: checksum %08x, its header says %08x", ErrCorrupt, got, want)
	}
	return body, nil
}

func queueChecksum(header, body []byte) uint32 {
	castagnoli := crc32.MakeTable(crc32.Castagnoli) // made once, by the standard library
	return crc32.Update(crc32.Checksum(header, castagnoli), castagnoli, body)
}
