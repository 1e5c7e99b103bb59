package location

// text is a short string in place, so that a record is one piece of memory.
// Bytes after the n-th are zero.
type text struct {
	bytes [64]byte
	n     uint8
}

func newText(s string) (t text) {
	t.n = uint8(copy(t.bytes[:], s))
	return t
}

func (t *text) view() []byte { return t.bytes[:t.n] }

func (t *text) String() string { return string(t.view()) }

// kinds of ids, as they index record.ids.
const (
	readWrite = iota
	readOnly
	backup
	idKinds
)

// place is a site as records hold it: with the server's number for its name.
type place struct{ server, partition, flags uint32 }

// record is an entry as caches and codecs hold it. It is comparable: whatever is
// not used is zero.
type record struct {
	name      text
	owner     text // of the lock; empty if there is none
	ids       [idKinds]uint64
	version   uint64
	modified  int64
	expires   int64 // of the lock
	flags     uint32
	lockKind  uint8
	siteCount uint8
	sites     [MaxSites]place
}

func (r *record) places() []place { return r.sites[:r.siteCount] }

// has tells whether one of the ids is this one.
func (r *record) has(id uint64) bool {
	return id != 0 && (r.ids[readWrite] == id || r.ids[readOnly] == id || r.ids[backup] == id)
}

func (r *record) lock() Lock {
	if r.owner.n == 0 {
		return Lock{}
	}
	return Lock{Owner: r.owner.String(), Kind: r.lockKind, Expires: r.expires}
}

// View is an entry as a look-up leaves it in the caller's memory. One View used
// again and again makes look-ups that do not allocate; it is a copy, and stays
// what it is whatever becomes of the entry. The zero View is of no entry.
type View struct {
	record  record
	servers *servers // nil in the zero View
}

// Name is the entry's name, in the View's own memory: good until the next look-up.
func (v *View) Name() []byte { return v.record.name.view() }

// IDs are the entry's ids.
func (v *View) IDs() IDs { return idsOf(v.record.ids) }

// Flags are the entry's flags.
func (v *View) Flags() uint32 { return v.record.flags }

// Version is the revision of the change that made the entry what it is.
func (v *View) Version() uint64 { return v.record.version }

// Modified is the time of that change in milliseconds since the epoch.
func (v *View) Modified() int64 { return v.record.modified }

// Lock is the entry's lock, which may have expired. It allocates if there is one.
func (v *View) Lock() Lock { return v.record.lock() }

// Sites is how many sites there are.
func (v *View) Sites() int { return int(v.record.siteCount) }

// Site is the i-th site.
func (v *View) Site(i int) Site {
	p := v.record.places()[i]
	return Site{Server: v.servers.name(p.server), Partition: p.partition, Flags: p.flags}
}

// Entry is a copy with memory of its own.
func (v *View) Entry() Entry {
	e := Entry{
		Name:     v.record.name.String(),
		IDs:      v.IDs(),
		Flags:    v.record.flags,
		Lock:     v.record.lock(),
		Version:  v.record.version,
		Modified: v.record.modified,
	}
	for i := range v.Sites() {
		e.Sites = append(e.Sites, v.Site(i))
	}
	return e
}

func idsOf(ids [idKinds]uint64) IDs {
	return IDs{RW: ids[readWrite], RO: ids[readOnly], BK: ids[backup]}
}
