package feed

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"

	"carillon/directory/location"
)

// The format is described in docs/format/directory-feed.md.
const (
	messageVersion = 1
	checksumBytes  = 4
	// maxMessageBytes is many times what the largest entry takes.
	maxMessageBytes = 64 << 10
)

// errDamaged is wrapped by Decode for what every node passes over.
var errDamaged = errors.New("damaged message")

// Encode writes the message of a change.
func Encode(change location.Change) ([]byte, error) {
	body, err := json.Marshal(change)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", location.ErrBadChange, err)
	}
	if size := 1 + len(body) + checksumBytes; size > maxMessageBytes {
		return nil, fmt.Errorf("%w: takes %d bytes, want at most %d", location.ErrBadChange, size, maxMessageBytes)
	}
	message := append([]byte{messageVersion}, body...)
	return binary.LittleEndian.AppendUint32(message, checksum(message)), nil
}

// Decode reads a message. Its error wraps ErrVersion for a whole message of another
// version. What it makes of any other bytes is part of the format: all nodes have
// to agree on which messages are damaged.
func Decode(message []byte) (location.Change, error) {
	if len(message) <= checksumBytes || len(message) > maxMessageBytes {
		return location.Change{}, fmt.Errorf("%w: %d bytes, want %d to %d", errDamaged, len(message), checksumBytes+1, maxMessageBytes)
	}
	body, sum := message[:len(message)-checksumBytes], message[len(message)-checksumBytes:]
	if binary.LittleEndian.Uint32(sum) != checksum(body) {
		return location.Change{}, fmt.Errorf("%w: checksum does not match", errDamaged)
	}
	if body[0] != messageVersion {
		return location.Change{}, fmt.Errorf("%w: version %d, want %d", ErrVersion, body[0], messageVersion)
	}
	var change location.Change
	if err := json.Unmarshal(body[1:], &change); err != nil {
		return location.Change{}, fmt.Errorf("%w: %w", errDamaged, err)
	}
	return change, nil
}

func checksum(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }
