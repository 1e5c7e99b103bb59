// Package istatd reads the store of an istatd: folders named after counters, with a ring
// file for each interval. The bytes of a file come in and its segments go out; a Dir lists
// the counters and puts the files of each together. It is a Catalogue of package importer,
// and `carillon import istatd` opens it.
package istatd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"carillon/bucket"
	"carillon/importer"
)

// A file is a header, in a page of its own, and pages of slots (include/istat/Header.h and
// Bucket.h of istatd; docs/import.md has the table). Numbers are little-endian.
const (
	magic            = "istatd 4.0\n\x00\xf5\x14\x07\x00"
	headerBytes      = 464
	headerBytesOf4   = 440 // the least that a file of version 4 has
	countedVersion   = 8   // since when a header has the fixed count
	newestVersion    = 8   // of those that this package reads
	slotBytes        = 32
	maxPageBytes     = 1 << 20
	maxFileBytes     = 256 << 20
	maxIntervalS     = 366 * 24 * 3600
	flagCollated     = 1 // events of a second on average, a segment a sample
	flagTrailing     = 2 // averages over the same time of earlier seasons
	flagAggregate    = 4 // sums of a collated file's segments
	defaultCollatedS = 10
)

// header is what matters of a file's header.
type header struct {
	interval   int64 // seconds
	flags      uint32
	pageBytes  int64
	pages      int64
	lastTime   int64 // seconds: start of the newest segment; 0 if none was ever written
	created    int64 // seconds
	fixedCount int64 // segments of the collated file in one of this; 0 if not known
}

// slots is how many segments the ring has.
func (h *header) slots() int64 { return h.pages * (h.pageBytes / slotBytes) }

func (h *header) is(flag uint32) bool { return h.flags&flag != 0 }

var errNotIstatd = errors.New("it is not a file of istatd")

// parseHeader reads the first headerBytes of a file, or all of it if it is shorter.
func parseHeader(b []byte) (*header, error) {
	if len(b) < headerBytesOf4 || string(b[:len(magic)]) != magic {
		return nil, errNotIstatd
	}
	number := func(at int) int64 { return int64(binary.LittleEndian.Uint64(b[at:])) }
	size, version, readable := int32At(b, 0x10), int32At(b, 0x1c), int32At(b, 0x20)
	h := &header{
		interval: int64(int32At(b, 0x14)), flags: binary.LittleEndian.Uint32(b[0x18:]), pageBytes: number(0x28), pages: number(0x30),
		lastTime: number(0x48), created: number(0x70),
	}
	if version >= countedVersion && size >= headerBytes && len(b) >= headerBytes {
		h.fixedCount = number(0x1c8)
	}
	switch {
	case size < headerBytesOf4:
		return nil, fmt.Errorf("a header of %d bytes", size)
	case readable > newestVersion:
		return nil, fmt.Errorf("it is of version %d, newer than %d", readable, newestVersion)
	case h.interval < 1 || h.interval > maxIntervalS:
		return nil, fmt.Errorf("an interval of %d s", h.interval)
	case h.pageBytes < headerBytes || h.pageBytes > maxPageBytes || h.pageBytes%slotBytes != 0:
		return nil, fmt.Errorf("pages of %d bytes", h.pageBytes)
	case h.pages < 1 || h.pages > maxFileBytes/h.pageBytes:
		return nil, fmt.Errorf("%d pages", h.pages)
	case h.lastTime < 0 || h.created < 0 || h.lastTime > math.MaxUint32 || h.created > math.MaxUint32:
		return nil, fmt.Errorf("times of %d and %d s", h.lastTime, h.created)
	case h.fixedCount < 0 || h.fixedCount > h.interval:
		return nil, fmt.Errorf("a fixed count of %d", h.fixedCount)
	}
	return h, nil
}

func int32At(b []byte, at int) int32 { return int32(binary.LittleEndian.Uint32(b[at:])) }

// slot is a segment as it stands in a file.
type slot struct {
	time            int64 // seconds
	sum             float64
	least, most, sq float32
	count           int32
}

func parseSlot(b []byte) slot {
	float := func(at int) float32 { return math.Float32frombits(binary.LittleEndian.Uint32(b[at:])) }
	return slot{
		time: int64(binary.LittleEndian.Uint64(b)), sum: math.Float64frombits(binary.LittleEndian.Uint64(b[8:])),
		least: float(16), most: float(20), count: int32At(b, 24), sq: float(28),
	}
}

// belongs tells whether the slot at a place of the ring can have this time.
func (h *header) belongs(place, time int64) bool {
	if time <= 0 || time > math.MaxUint32 || time%h.interval != 0 {
		return false
	}
	at := (time - h.created) / h.interval % h.slots()
	if at < 0 {
		at += h.slots()
	}
	return at == place
}

// found is what a file has, and how many slots have nothing to give.
type found struct {
	level          importer.Level
	stale, damaged uint64
}

// ring reads the slots of a file, whose header is h: data begins with the page behind it,
// and may be cut short. A slot that was written in an earlier round of the ring is stale.
// The events of a second count each a time scale.
func (h *header) ring(data []byte, now int64, scale float64) (f found) {
	var slots []slot
	newest := int64(0)
	for i := range min(h.slots(), int64(len(data)/slotBytes)) {
		s := parseSlot(data[i*slotBytes:])
		if s.time == 0 && s.count == 0 {
			continue
		}
		if !h.belongs(i, s.time) || s.count < 0 {
			f.damaged++
			continue
		}
		if s.count > 0 { // it may have been cleared, and not written again
			slots = append(slots, s)
		}
		if s.time <= now {
			newest = max(newest, s.time)
		}
	}
	slices.SortFunc(slots, func(a, b slot) int { return int(a.time - b.time) })
	oldest := newest - (h.slots()-1)*h.interval
	f.level = importer.Level{Resolution: 1000 * h.interval, Since: 1000 * max(oldest, h.created)}
	for _, s := range slots {
		switch b, ok := h.bucketOf(&s, scale); {
		case s.time < oldest:
			f.stale++
		case !ok:
			f.damaged++
		default:
			f.level.Buckets = append(f.level.Buckets, b)
		}
	}
	return f
}

// bucketOf is what a slot says, false if no samples are like that. Sums are exact in a
// file; least and most are of single precision, and so is the sum of squares, which leaves
// little of a small deviation.
func (h *header) bucketOf(s *slot, scale float64) (b bucket.Bucket, ok bool) {
	sum, time := s.sum*scale, 1000*s.time
	count := int64(s.count)
	if h.is(flagAggregate) && h.fixedCount > 0 {
		count = h.fixedCount
	}
	if count == 1 {
		return bucket.Of(time, sum), true
	}
	n := float64(count)
	mean, least, most := sum/n, float64(s.least)*scale, float64(s.most)*scale
	if !finite(sum, least, most, float64(s.sq)*scale*scale) || least > most {
		return b, false
	}
	least, most = min(least, mean), max(most, mean)
	m2 := float64(s.sq)*scale*scale - mean*sum
	m2 = max(0, min(m2, n*(most-least)*(most-least)/4)) // Popoviciu's inequality
	return bucket.Bucket{
		FirstTime: time, LastTime: time, First: mean, Last: mean,
		Count: uint64(count), Sum: sum, Min: least, Max: most, M2: m2,
	}, finite(m2)
}

func finite(values ...float64) bool {
	return !slices.ContainsFunc(values, func(v float64) bool { return math.IsNaN(v) || math.IsInf(v, 0) })
}
