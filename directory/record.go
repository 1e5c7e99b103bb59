package directory

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"carillon/directory/index"
	"carillon/series"
)

// The records, as docs/format/directory.md lays them out. The first byte of a
// key in Pebble names its space.
const (
	formatSpace byte = iota // the format record, alone
	seriesSpace             // partition, number → the series from this number on
	kindSpace               // partition, number → kind, where it has changed
	familySpace             // family → metadata
	endOfSpaces
)

const (
	formatMagic   = "carildir"
	formatVersion = 2
	formatBytes   = len(formatMagic) + 1 + 4 + 4
	recordVersion = 1 // the first byte of each value in the other spaces
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var errTruncated = errors.New("record is cut short or too long")

func appendFormat(b []byte, partitions int) []byte {
	start := len(b)
	b = append(b, formatMagic...)
	b = append(b, formatVersion)
	b = binary.BigEndian.AppendUint32(b, uint32(partitions))
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b[start:], castagnoli))
}

// decodeFormat returns the number of partitions.
func decodeFormat(b []byte) (int, error) {
	if !bytes.HasPrefix(b, []byte(formatMagic)) {
		return 0, errors.New("this is not a Carillon directory")
	}
	if len(b) > len(formatMagic) && b[len(formatMagic)] != formatVersion {
		return 0, fmt.Errorf("format version %d, and this program reads %d", b[len(formatMagic)], formatVersion)
	}
	if len(b) != formatBytes {
		return 0, errTruncated
	}
	sum := formatBytes - crc32.Size
	if crc32.Checksum(b[:sum], castagnoli) != binary.BigEndian.Uint32(b[sum:]) {
		return 0, errors.New("wrong checksum")
	}
	return int(binary.BigEndian.Uint32(b[len(formatMagic)+1:])), nil
}

// appendID keeps the order of ids: a scan of a space goes partition by partition, and
// in each from number 0 up.
func appendID(b []byte, space byte, id series.ID) []byte {
	return binary.BigEndian.AppendUint64(append(b, space), uint64(id))
}

func decodeID(b []byte, space byte) (series.ID, error) {
	if len(b) != 9 || b[0] != space {
		return 0, errTruncated
	}
	return series.ID(binary.BigEndian.Uint64(b[1:])), nil
}

// appendSeriesValue is the record of the series that were entered in an index last.
func appendSeriesValue(b []byte, x *index.Index) []byte {
	return x.AppendRecord(append(b, recordVersion))
}

func appendKindValue(b []byte, kind series.Kind) []byte {
	return append(b, recordVersion, byte(kind))
}

func decodeKind(b []byte) (series.Kind, error) {
	rest, err := decodeVersion(b)
	if err != nil {
		return 0, err
	}
	if len(rest) != 1 {
		return 0, errTruncated
	}
	kind := series.Kind(rest[0])
	if kind > series.Event {
		return 0, fmt.Errorf("kind %d does not exist", rest[0])
	}
	return kind, nil
}

func decodeVersion(b []byte) ([]byte, error) {
	if len(b) == 0 {
		return nil, errTruncated
	}
	if b[0] != recordVersion {
		return nil, fmt.Errorf("record version %d, and this program reads %d", b[0], recordVersion)
	}
	return b[1:], nil
}

func appendFamilyKey(b []byte, family string) []byte {
	return append(append(b, familySpace), family...)
}

func appendFamilyValue(b []byte, m series.Metadata) []byte {
	b = append(b, recordVersion)
	for _, s := range [...]string{m.Type, m.Help, m.Unit} {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	return b
}

// decodeFamily takes a record of the family space, key and value, apart.
func decodeFamily(key, value []byte) (series.Metadata, error) {
	if len(key) < 2 || key[0] != familySpace {
		return series.Metadata{}, errTruncated
	}
	rest, err := decodeVersion(value)
	if err != nil {
		return series.Metadata{}, err
	}
	m := series.Metadata{Family: string(key[1:])}
	for _, s := range [...]*string{&m.Type, &m.Help, &m.Unit} {
		length, n := binary.Uvarint(rest)
		if n <= 0 || length > uint64(len(rest)-n) {
			return series.Metadata{}, errTruncated
		}
		rest = rest[n:]
		*s, rest = string(rest[:length]), rest[length:]
	}
	if len(rest) != 0 {
		return series.Metadata{}, errTruncated
	}
	return m, nil
}
