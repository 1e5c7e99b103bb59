package pack

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"carillon/object"
)

const (
	segmentMagic = "carpacks"
	recordMagic  = 0x43455250 // "PREC"
	version      = 1

	segmentCopySize   = 32
	segmentHeaderSize = 2 * segmentCopySize // it stands there twice: of a damaged copy the other is read
	recordHeaderSize  = 104
	maxRecord         = recordHeaderSize + object.MaxName + maxInline + align
	align             = 8    // records begin at multiples of it
	pageSize          = 4096 // groups do where each is synced; most page caches and disks take whole pages only

	kindContent = 1 // the content follows
	kindDelete  = 2
	kindBlob    = 3 // the content is in a file of its own
	kindDrop    = 4 // what the log says before of the name, up to the version, is forgotten
)

// segmentHeader begins a segment. Salt goes into the checksum of its records, so that a content which
// happens to hold a piece of another segment is not taken for records.
type segmentHeader struct{ number, salt uint64 }

func (h segmentHeader) append(dst []byte) []byte {
	for range segmentHeaderSize / segmentCopySize {
		start := len(dst)
		dst = append(dst, segmentMagic...)
		dst = binary.LittleEndian.AppendUint32(dst, version)
		dst = binary.LittleEndian.AppendUint64(dst, h.number)
		dst = binary.LittleEndian.AppendUint64(dst, h.salt)
		dst = binary.LittleEndian.AppendUint32(dst, checksum(0, dst[start:]))
	}
	return dst
}

var (
	errSegment = errors.New("damaged segment header")
	errRecord  = errors.New("no valid record")
)

func parseSegmentHeader(b []byte) (h segmentHeader, err error) {
	if len(b) < segmentHeaderSize {
		return segmentHeader{}, fmt.Errorf("%w: it has %d bytes", errSegment, len(b))
	}
	for ; len(b) >= segmentCopySize; b = b[segmentCopySize:] {
		if h, err = parseSegmentCopy(b[:segmentCopySize]); err == nil {
			return h, nil
		}
	}
	return segmentHeader{}, err
}

func parseSegmentCopy(b []byte) (segmentHeader, error) {
	switch {
	case string(b[:8]) != segmentMagic:
		return segmentHeader{}, fmt.Errorf("%w: no magic", errSegment)
	case checksum(0, b[:segmentCopySize-4]) != binary.LittleEndian.Uint32(b[segmentCopySize-4:]):
		return segmentHeader{}, fmt.Errorf("%w: wrong checksum", errSegment)
	case binary.LittleEndian.Uint32(b[8:]) != version:
		return segmentHeader{}, fmt.Errorf("%w: version %d, want %d", errSegment, binary.LittleEndian.Uint32(b[8:]), version)
	}
	return segmentHeader{number: binary.LittleEndian.Uint64(b[12:]), salt: binary.LittleEndian.Uint64(b[20:])}, nil
}

// record is the header of a record.
type record struct {
	info   object.Info
	offset int64  // in its segment
	group  uint64 // records written at once have the same; later ones a higher
	synced int64  // everything before it in the segment was durable when this was written
	blob   uint64 // number of the content's own file, if it has one
	drop   bool   // info is only the name and a version

	padding int64 // bytes of zeros behind the record that belong to it: the rest of the page of a group
}

func (r *record) kind() byte {
	switch {
	case r.drop:
		return kindDrop
	case r.info.Deleted:
		return kindDelete
	case r.blob != 0:
		return kindBlob
	}
	return kindContent
}

// inline is the bytes of content behind the header.
func (r *record) inline() int64 {
	if r.kind() == kindContent {
		return r.info.Size
	}
	return 0
}

// size is the record's length without the padding of its group.
func (r *record) size() int64 {
	return (recordHeaderSize + int64(len(r.info.Name)) + r.inline() + align - 1) / align * align
}

// contentAt is where in the segment the content begins.
func (r *record) contentAt() int64 { return r.offset + recordHeaderSize + int64(len(r.info.Name)) }

func checksum(seed uint32, parts ...[]byte) uint32 {
	table := crc32.MakeTable(crc32.Castagnoli)
	for _, part := range parts {
		seed = crc32.Update(seed, table, part)
	}
	return seed
}

func saltSum(salt uint64) uint32 {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], salt)
	return checksum(0, b[:])
}

// append encodes header, name, content and padding.
func (r *record) append(dst []byte, salt uint64, content []byte) []byte {
	start := len(dst)
	v := r.info.Version.Bytes()
	dst = binary.LittleEndian.AppendUint32(dst, recordMagic)
	dst = append(dst, r.kind(), 0)
	dst = binary.LittleEndian.AppendUint16(dst, uint16(len(r.info.Name)))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(r.offset))
	dst = binary.LittleEndian.AppendUint64(dst, r.group)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(r.synced))
	dst = append(dst, v[:]...)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(r.info.Size))
	dst = append(dst, r.info.Sum[:]...)
	dst = binary.LittleEndian.AppendUint64(dst, r.blob)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(r.padding))
	dst = binary.LittleEndian.AppendUint32(dst, 0)
	dst = append(dst, r.info.Name...)
	sealRecord(dst[start:], salt)
	dst = append(dst, content...)
	for (len(dst)-start)%align != 0 {
		dst = append(dst, 0)
	}
	return dst
}

// sealRecord puts the checksum into the encoded header and name that b begins with.
func sealRecord(b []byte, salt uint64) {
	name := b[recordHeaderSize:][:binary.LittleEndian.Uint16(b[6:])]
	binary.LittleEndian.PutUint32(b[recordHeaderSize-4:], checksum(saltSum(salt), b[:recordHeaderSize-4], name))
}

// setPadding changes the padding of an encoded record.
func setPadding(b []byte, salt uint64, padding int) {
	binary.LittleEndian.PutUint32(b[recordHeaderSize-8:], uint32(padding))
	sealRecord(b, salt)
}

// parseRecord decodes the header and the name of the record that begins with b, at an offset of the segment with that salt.
func parseRecord(b []byte, salt uint64, offset int64) (record, error) {
	if len(b) < recordHeaderSize || binary.LittleEndian.Uint32(b) != recordMagic {
		return record{}, errRecord
	}
	nameLen := int(binary.LittleEndian.Uint16(b[6:]))
	if nameLen > object.MaxName || len(b) < recordHeaderSize+nameLen {
		return record{}, errRecord
	}
	name := b[recordHeaderSize : recordHeaderSize+nameLen]
	if checksum(saltSum(salt), b[:recordHeaderSize-4], name) != binary.LittleEndian.Uint32(b[recordHeaderSize-4:]) {
		return record{}, errRecord
	}
	r := record{
		offset: int64(binary.LittleEndian.Uint64(b[8:])),
		group:  binary.LittleEndian.Uint64(b[16:]),
		synced: int64(binary.LittleEndian.Uint64(b[24:])),
		blob:   binary.LittleEndian.Uint64(b[88:]),
		drop:   b[4] == kindDrop,

		padding: int64(binary.LittleEndian.Uint32(b[96:])),
		info: object.Info{
			Name:    string(name),
			Version: object.VersionOf([object.VersionSize]byte(b[32:])),
			Size:    int64(binary.LittleEndian.Uint64(b[48:])),
			Sum:     object.Sum(b[56:88]),
			Deleted: b[4] == kindDelete,
		},
	}
	const maxSize = 1 << 60 // so that sums of sizes cannot overflow
	if r.offset != offset || r.kind() != b[4] || r.info.Size < 0 || r.info.Size > maxSize || r.inline() > maxInline ||
		r.padding >= pageSize || r.synced < 0 || r.synced > offset || object.CheckName(r.info.Name) != nil {
		return record{}, errRecord
	}
	return r, nil
}
