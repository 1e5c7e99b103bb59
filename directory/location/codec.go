package location

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// The records, as docs/format/location.md lays them out. The first byte of a key
// in Pebble names its space.
const (
	formatSpace byte = iota // the format record, alone
	stateSpace              // the state record, alone
	nameSpace               // name → entry
	idSpace                 // id → kind, name
	siteSpace               // server, partition, name → nothing
	serverSpace             // server number → registered, name
	endOfSpaces
)

const (
	formatMagic   = "cariloca"
	formatVersion = 1
	recordVersion = 1 // the first byte of each value in the other spaces
)

// What an entry has besides the rest, in its second byte.
const (
	hasReadWrite = 1 << iota
	hasReadOnly
	hasBackup
	hasLock
	knownParts = 1<<iota - 1
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var (
	errCut      = errors.New("record is cut short or too long")
	errChecksum = errors.New("wrong checksum")
)

// state is what the directory keeps of itself.
type state struct {
	revision uint64 // of the last change applied
	nextID   uint64 // the id that NewID tries first
	entries  uint64
}

func nameKey(b []byte, name []byte) []byte { return append(append(b, nameSpace), name...) }

func idKey(b []byte, id uint64) []byte {
	return binary.BigEndian.AppendUint64(append(b, idSpace), id)
}

func siteKey(b []byte, p place, name []byte) []byte {
	b = binary.BigEndian.AppendUint32(append(b, siteSpace), p.server)
	return append(binary.BigEndian.AppendUint32(b, p.partition), name...)
}

const sitePrefixBytes = 1 + 4 + 4

func serverKey(b []byte, number uint32) []byte {
	return binary.BigEndian.AppendUint32(append(b, serverSpace), number)
}

// seal appends the checksum over the key and what value holds since start, so
// that a record under another's key is found as well.
func seal(b []byte, start int, key []byte) []byte {
	return binary.BigEndian.AppendUint32(b, checksum(key, b[start:]))
}

func checksum(key, value []byte) uint32 {
	return crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, value)
}

// unseal checks checksum and version, and returns what stands between them.
func unseal(key, value []byte) ([]byte, error) {
	if len(value) < 1+crc32.Size {
		return nil, errCut
	}
	body := value[:len(value)-crc32.Size]
	if checksum(key, body) != binary.BigEndian.Uint32(value[len(body):]) {
		return nil, errChecksum
	}
	if body[0] != recordVersion {
		return nil, fmt.Errorf("record version %d, and this program reads %d", body[0], recordVersion)
	}
	return body[1:], nil
}

func appendFormat(b []byte) []byte {
	start := len(b)
	return seal(append(append(b, formatMagic...), formatVersion), start, []byte{formatSpace})
}

func decodeFormat(b []byte) error {
	if !bytes.HasPrefix(b, []byte(formatMagic)) {
		return errors.New("this is not a Carillon location directory")
	}
	if len(b) != len(formatMagic)+1+crc32.Size {
		return errCut
	}
	if version := b[len(formatMagic)]; version != formatVersion {
		return fmt.Errorf("format version %d, and this program reads %d", version, formatVersion)
	}
	if !bytes.Equal(b, appendFormat(nil)) {
		return errChecksum
	}
	return nil
}

func appendState(b []byte, s state) []byte {
	start := len(b)
	b = append(b, recordVersion)
	for _, v := range [...]uint64{s.revision, s.nextID, s.entries} {
		b = binary.BigEndian.AppendUint64(b, v)
	}
	return seal(b, start, []byte{stateSpace})
}

func decodeState(b []byte) (state, error) {
	body, err := unseal([]byte{stateSpace}, b)
	if err != nil {
		return state{}, err
	}
	if len(body) != 3*8 {
		return state{}, errCut
	}
	return state{
		revision: binary.BigEndian.Uint64(body),
		nextID:   binary.BigEndian.Uint64(body[8:]),
		entries:  binary.BigEndian.Uint64(body[16:]),
	}, nil
}

func appendServer(b []byte, key []byte, s server) []byte {
	start := len(b)
	registered := byte(0)
	if s.registered {
		registered = 1
	}
	return seal(append(append(b, recordVersion, registered), s.name...), start, key)
}

func decodeServer(key, value []byte) (server, error) {
	body, err := unseal(key, value)
	if err != nil {
		return server{}, err
	}
	if len(body) < 2 || len(body) > 1+MaxServer || body[0] > 1 {
		return server{}, errCut
	}
	return server{name: string(body[1:]), registered: body[0] == 1}, nil
}

// appendID is the value under an id: whose it is, and of which kind.
func appendID(b []byte, key []byte, kind int, name []byte) []byte {
	start := len(b)
	return seal(append(append(b, recordVersion, byte(kind)), name...), start, key)
}

// decodeID returns a name inside value.
func decodeID(key, value []byte) (kind int, name []byte, err error) {
	body, err := unseal(key, value)
	if err != nil {
		return 0, nil, err
	}
	if len(body) < 2 || len(body) > 1+MaxName || body[0] >= idKinds {
		return 0, nil, errCut
	}
	return int(body[0]), body[1:], nil
}

// appendEntry is the value under the record's name.
func appendEntry(b []byte, key []byte, r *record) []byte {
	start := len(b)
	parts := byte(0)
	for kind, id := range r.ids {
		if id != 0 {
			parts |= hasReadWrite << kind
		}
	}
	if r.owner.n > 0 {
		parts |= hasLock
	}
	b = append(b, recordVersion, parts)
	b = binary.AppendUvarint(b, r.version)
	b = binary.AppendUvarint(b, uint64(r.modified))
	b = binary.AppendUvarint(b, uint64(r.flags))
	for _, id := range r.ids {
		if id != 0 {
			b = binary.AppendUvarint(b, id)
		}
	}
	if r.owner.n > 0 {
		b = append(b, r.lockKind, r.owner.n)
		b = append(b, r.owner.view()...)
		b = binary.AppendUvarint(b, uint64(r.expires))
	}
	b = append(b, r.siteCount)
	for _, p := range r.places() {
		b = binary.AppendUvarint(b, uint64(p.server))
		b = binary.AppendUvarint(b, uint64(p.partition))
		b = binary.AppendUvarint(b, uint64(p.flags))
	}
	return seal(b, start, key)
}

// decodeEntry reads a record of the name space into r.
func decodeEntry(key, value []byte, r *record) error {
	*r = record{}
	if len(key) < 2 || len(key) > 1+MaxName || key[0] != nameSpace {
		return errCut
	}
	body, err := unseal(key, value)
	if err != nil {
		return err
	}
	r.name.n = uint8(copy(r.name.bytes[:], key[1:]))
	d := decoder{rest: body}
	parts := d.byte()
	r.version, r.modified, r.flags = d.uint64(), int64(d.uint64()), d.uint32()
	for kind := range r.ids {
		if parts&(hasReadWrite<<kind) != 0 {
			r.ids[kind] = d.uint64()
		}
	}
	if parts&hasLock != 0 {
		r.lockKind = d.byte()
		r.owner.n = uint8(copy(r.owner.bytes[:], d.take(int(d.byte()), MaxOwner)))
		r.expires = int64(d.uint64())
	}
	count := d.byte()
	nobodys := parts&hasLock != 0 && r.owner.n == 0 // a lock has an owner
	if count > MaxSites || parts > knownParts || nobodys {
		return errCut
	}
	r.siteCount = count
	for i := range r.places() {
		r.sites[i] = place{server: d.uint32(), partition: d.uint32(), flags: d.uint32()}
	}
	if d.cut || len(d.rest) > 0 {
		return errCut
	}
	return nil
}

// decoder takes numbers off the front of a record. Once one is cut short all that
// follow are zero.
type decoder struct {
	rest []byte
	cut  bool
}

func (d *decoder) take(n, most int) []byte {
	if d.cut || n > most || n > len(d.rest) {
		d.cut, d.rest = true, nil
		return nil
	}
	taken := d.rest[:n]
	d.rest = d.rest[n:]
	return taken
}

func (d *decoder) byte() byte {
	if b := d.take(1, 1); b != nil {
		return b[0]
	}
	return 0
}

func (d *decoder) uint64() uint64 {
	v, n := binary.Uvarint(d.rest)
	if d.take(max(n, 0), binary.MaxVarintLen64) == nil || n <= 0 {
		d.cut = true
		return 0
	}
	return v
}

func (d *decoder) uint32() uint32 {
	v := d.uint64()
	if v > 1<<32-1 {
		d.cut = true
	}
	return uint32(v)
}

// idOfKey is the id in a key of the id space.
func idOfKey(key []byte) uint64 {
	if len(key) != 1+8 {
		return 0
	}
	return binary.BigEndian.Uint64(key[1:])
}
