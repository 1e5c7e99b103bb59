package location

// Follower keeps a copy of the entries elsewhere true. It is called by one goroutine at a
// time, after what it is told is on disk and can be looked up, and before anybody is told
// that it was applied. It may look entries up, and must not change any.
type Follower interface {
	// Edited is told what changes did to entries, in their order.
	Edited(edits []Edit)
	// Replaced is told that a restore has put other entries in the place of all.
	Replaced()
}

// Edit is an entry before a change, nil if there was none, and after it, nil if there is
// none now. A follower may keep both.
type Edit struct{ Before, After *Entry }

// entryOf is the entry of a record, nil of none.
func (t *transaction) entryOf(r *record) *Entry {
	if r == nil {
		return nil
	}
	v := View{record: *r, servers: t.servers}
	e := v.Entry()
	return &e
}
