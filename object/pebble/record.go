package pebble

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"carillon/object"
	"carillon/object/catalog"
)

// The first byte of a key says what it is of.
const (
	chunkKeys  = 'c' // upload, number of the chunk: a piece of a content
	nameKeys   = 'n' // name, NUL, version with all bits flipped: a version; so the newest comes first
	uploadKeys = 'u' // upload: a content of which perhaps not all chunks are there

	chunkHeader      = 4 // checksum
	recordHeaderSize = 1 + 1 + 8 + object.SumSize + 8 + 4

	recordVersion = 1
	flagDeleted   = 1
)

// value is where a content is: in the record, or in the chunks of an upload.
type value struct {
	content []byte
	upload  uint64
}

// A record without its content is an entry whose Where is the upload, 0 if the content is in the record.
type (
	entry    = catalog.Entry[uint64]
	versions = catalog.Versions[uint64]
)

func recordKey(name string, version object.Version) []byte {
	key := append(namePrefix(name), 0)
	flipped := object.Version{Hi: ^version.Hi, Lo: ^version.Lo}.Bytes()
	return append(key, flipped[:]...)
}

func namePrefix(name string) []byte {
	key := make([]byte, 0, 1+len(name)+1+object.VersionSize)
	return append(append(key, nameKeys), name...)
}

func parseRecordKey(key []byte) (string, object.Version, error) {
	at := len(key) - object.VersionSize - 1
	if at < 2 || key[0] != nameKeys || key[at] != 0 {
		return "", object.Version{}, fmt.Errorf("%w: key %.80x", object.ErrDamaged, key)
	}
	flipped := object.VersionOf([object.VersionSize]byte(key[at+1:]))
	name := string(key[1:at])
	return name, object.Version{Hi: ^flipped.Hi, Lo: ^flipped.Lo}, object.CheckName(name)
}

func chunkKey(upload uint64, chunk uint32) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint64([]byte{chunkKeys}, upload), chunk)
}

func uploadKey(upload uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{uploadKeys}, upload)
}

func checksum(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }

// appendRecord encodes a version; its name and number are the key.
func appendRecord(dst []byte, info object.Info, v value) []byte {
	flags := byte(0)
	if info.Deleted {
		flags = flagDeleted
	}
	start := len(dst)
	dst = append(dst, recordVersion, flags)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(info.Size))
	dst = append(dst, info.Sum[:]...)
	dst = binary.LittleEndian.AppendUint64(dst, v.upload)
	dst = binary.LittleEndian.AppendUint32(dst, checksum(dst[start:]))
	return append(dst, v.content...)
}

// parseRecord decodes what appendRecord encoded. The content is a part of b.
func parseRecord(name string, version object.Version, b []byte) (entry, []byte, error) {
	info := object.Info{Name: name, Version: version}
	if len(b) < recordHeaderSize || b[0] != recordVersion || checksum(b[:recordHeaderSize-4]) != binary.LittleEndian.Uint32(b[recordHeaderSize-4:]) {
		return entry{}, nil, fmt.Errorf("%q version %s: %w: its record is", name, version, object.ErrDamaged)
	}
	info.Deleted = b[1] == flagDeleted
	info.Size = int64(binary.LittleEndian.Uint64(b[2:]))
	info.Sum = object.Sum(b[10:])
	upload := binary.LittleEndian.Uint64(b[10+object.SumSize:])
	content := b[recordHeaderSize:]
	if info.Size < 0 || b[1] > flagDeleted || upload == 0 && int64(len(content)) != info.Size || upload != 0 && len(content) > 0 {
		return entry{}, nil, fmt.Errorf("%q version %s: %w: its record has %d bytes", name, version, object.ErrDamaged, len(b))
	}
	return catalog.EntryOf(info, upload), content, nil
}

func sealChunk(b []byte) { binary.LittleEndian.PutUint32(b, checksum(b[chunkHeader:])) }

func openChunk(b []byte) ([]byte, bool) {
	if len(b) < chunkHeader || checksum(b[chunkHeader:]) != binary.LittleEndian.Uint32(b) {
		return nil, false
	}
	return b[chunkHeader:], true
}
