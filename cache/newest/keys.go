package newest

import "carillon/series"

// chunkBytes is what the memory for keys grows by.
const chunkBytes = 64 << 10

// place is where the key of a series is: bits 0–7 its length, 8–9 the kind of its values, 10 whether
// it was looked up, the rest the offset of its bytes. One that is not published has length 0.
type place uint64

const (
	placeKind   = 8
	placeKnown  = 1 << 10
	placeOffset = 11
)

// keys knows the key in the cache of each series, by partition and number. It is put
// together once, when the first bucket of the series comes.
type keys struct {
	config   *Config
	places   [][]place // by partition and number
	chunks   [][]byte  // a key lies in one of them
	used     uint64    // offset behind the last key
	selected uint64    // series that are published
	bytes    uint64    // of places and chunks
	scratch  []byte
}

// of is the key of a series and the kind of its values, false if it is not published. The
// key must not be changed.
func (k *keys) of(partition int, number uint32) (key []byte, kind series.Kind, ok bool) {
	var p place
	if partition < len(k.places) && int(number) < len(k.places[partition]) {
		p = k.places[partition][number]
	}
	if p&placeKnown == 0 {
		if p, ok = k.learn(partition, number); !ok {
			return nil, 0, false // not yet defined for readers; asked again next time
		}
	}
	length := uint64(uint8(p))
	if length == 0 {
		return nil, 0, false
	}
	offset := uint64(p >> placeOffset)
	at := offset % chunkBytes
	return k.chunks[offset/chunkBytes][at : at+length], series.Kind(p >> placeKind & 3), true
}

// learn looks a series up for the first time.
func (k *keys) learn(partition int, number uint32) (p place, ok bool) {
	id := series.NewID(partition, number)
	key, ok := k.config.Catalogue.Key(id)
	if !ok {
		return 0, false
	}
	p = placeKnown
	if k.wanted(key) {
		k.scratch = AppendKey(k.scratch[:0], key)
		kind := k.config.Catalogue.Kind(id)
		p |= place(k.keep(k.scratch))<<placeOffset | place(kind)<<placeKind | place(len(k.scratch))
		k.selected++
	}
	for len(k.places) <= partition {
		k.places = append(k.places, nil)
	}
	places := &k.places[partition]
	if missing := int(number) + 1 - len(*places); missing > 0 {
		before := cap(*places)
		*places = append(*places, make([]place, missing)...)
		k.bytes += uint64(8 * (cap(*places) - before))
	}
	(*places)[number] = p
	return p, true
}

func (k *keys) wanted(key series.Key) bool {
	for _, s := range k.config.Select {
		if s.selects(key) {
			return true
		}
	}
	return len(k.config.Select) == 0
}

// keep copies a key to where it stays.
func (k *keys) keep(key []byte) (offset uint64) {
	if room := uint64(len(k.chunks))*chunkBytes - k.used; room < uint64(len(key)) {
		k.used = uint64(len(k.chunks)) * chunkBytes
		k.chunks = append(k.chunks, make([]byte, chunkBytes))
		k.bytes += chunkBytes
	}
	offset = k.used
	copy(k.chunks[offset/chunkBytes][offset%chunkBytes:], key)
	k.used += uint64(len(key))
	return offset
}
