package location

// value is what the table of a positive cache has under a key.
//
//	bit 0       the slot is a large one
//	bit 1       stale: a change touched the entry since it was filled in
//	bits 2–29   number of the slot
//	bits 30–31  the entry has a read-only id, a backup id
//	bits 32–63  its read-write id; 0 if the ids are to be read in the slot
//
// The ids are in it if they are as NewID hands them out, in a row: the read-only id
// one above the read-write one, the backup id two. Whoever wants only ids then waits
// for memory once less, and that is what a look-up's time is. They are the entry's
// as surely as the key is the name's; see cuckoo.Key.
type value uint64

const (
	isLarge     = 1 << 0
	isStale     = 1 << 1
	numberShift = 2
	numberBits  = 28
	roShift     = 30
	bkShift     = 31
	idShift     = 32

	maxPositiveBits = numberBits - 1 // of a positive cache: one slot more than entries
)

func newValue(number uint32, large bool, ids [idKinds]uint64) value {
	v := value(number) << numberShift
	if large {
		v |= isLarge
	}
	rw, ro, bk := ids[readWrite], ids[readOnly], ids[backup]
	if rw>>32 != 0 || rw == 0 || ro != 0 && ro != rw+1 || bk != 0 && bk != rw+2 {
		return v
	}
	if ro != 0 {
		v |= 1 << roShift
	}
	if bk != 0 {
		v |= 1 << bkShift
	}
	return v | value(rw)<<idShift
}

func (v value) number() uint32 { return uint32(v) >> numberShift & (1<<numberBits - 1) }

// answers tells that the ids are in the value and true.
func (v value) answers() bool { return v>>idShift != 0 && v&isStale == 0 }

// ids are the entry's ids, if they are in the value. No branch depends on which
// there are.
func (v value) ids() IDs {
	rw := uint64(v >> idShift)
	return IDs{
		RW: rw,
		RO: (rw + 1) & -uint64(v>>roShift&1),
		BK: (rw + 2) & -uint64(v>>bkShift&1),
	}
}
