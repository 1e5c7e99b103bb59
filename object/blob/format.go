// Package blob is the file of one object: a header that says which version of which name it
// is, the content in one piece so that it can be sent by sendfile, and checksums of its blocks. In come
// streams; out go whole files, put in place in one step, and ranges of contents that were
// compared with their checksums. object/file keeps all its objects like this, object/pack
// those too large for a segment. docs/format/object-file.md describes the bytes.
package blob

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"carillon/object"
)

const (
	magic      = "carobjct"
	version    = 1
	headerSize = 84

	// BlockSize is the bytes of content that share a block checksum.
	BlockSize = 64 << 10
	sumSize   = 4 // of a block

	kindContent = 1
	kindDelete  = 2
)

// Header is what stands before the content.
type Header struct {
	Info     object.Info
	blockSum uint32 // of the block checksums behind the content
}

// Overhead is the bytes of a file beyond the content.
func Overhead(name string, size int64) int64 {
	return int64(headerSize+len(name)) + sumSize*blocks(size)
}

func blocks(size int64) int64 { return (size + BlockSize - 1) / BlockSize }

func checksum(parts ...[]byte) uint32 {
	table := crc32.MakeTable(crc32.Castagnoli)
	sum := uint32(0)
	for _, part := range parts {
		sum = crc32.Update(sum, table, part)
	}
	return sum
}

// append encodes the header and the name.
func (h *Header) append(dst []byte) []byte {
	start := len(dst)
	kind := byte(kindContent)
	if h.Info.Deleted {
		kind = kindDelete
	}
	v := h.Info.Version.Bytes()
	dst = append(dst, magic...)
	dst = binary.LittleEndian.AppendUint32(dst, version)
	dst = binary.LittleEndian.AppendUint16(dst, uint16(len(h.Info.Name)))
	dst = append(dst, kind, 0)
	dst = append(dst, v[:]...)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(h.Info.Size))
	dst = append(dst, h.Info.Sum[:]...)
	dst = binary.LittleEndian.AppendUint32(dst, h.blockSum)
	dst = binary.LittleEndian.AppendUint32(dst, 0)
	dst = binary.LittleEndian.AppendUint32(dst, checksum(dst[start:], []byte(h.Info.Name)))
	return append(dst, h.Info.Name...)
}

var errHeader = errors.New("damaged header")

// parse decodes a header and its name from the beginning of a file.
func parse(b []byte) (Header, error) {
	if len(b) < headerSize || string(b[:8]) != magic {
		return Header{}, fmt.Errorf("%w: no magic", errHeader)
	}
	if v := binary.LittleEndian.Uint32(b[8:]); v != version {
		return Header{}, fmt.Errorf("%w: version %d, want %d", errHeader, v, version)
	}
	nameLen := int(binary.LittleEndian.Uint16(b[12:]))
	if len(b) < headerSize+nameLen {
		return Header{}, fmt.Errorf("%w: no whole name", errHeader)
	}
	name := b[headerSize : headerSize+nameLen]
	if checksum(b[:headerSize-4], name) != binary.LittleEndian.Uint32(b[headerSize-4:]) {
		return Header{}, fmt.Errorf("%w: wrong checksum", errHeader)
	}
	h := Header{blockSum: binary.LittleEndian.Uint32(b[72:])}
	h.Info = object.Info{
		Name:    string(name),
		Version: object.VersionOf([object.VersionSize]byte(b[16:])),
		Size:    int64(binary.LittleEndian.Uint64(b[32:])),
		Sum:     object.Sum(b[40:72]),
		Deleted: b[14] == kindDelete,
	}
	if err := object.CheckName(h.Info.Name); err != nil {
		return Header{}, fmt.Errorf("%w: %w", errHeader, err)
	}
	const maxSize = 1 << 60 // so that sums of sizes cannot overflow
	if h.Info.Size < 0 || h.Info.Size > maxSize || b[14] != kindContent && b[14] != kindDelete {
		return Header{}, fmt.Errorf("%w: size %d, kind %d", errHeader, h.Info.Size, b[14])
	}
	return h, nil
}
