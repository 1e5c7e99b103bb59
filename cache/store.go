package cache

// Bounds of Config.ItemBytes.
const (
	minItemBytes = 1 << 10
	maxItemBytes = 1 << 30
)

// Mode is what Store does with what is there.
type Mode uint8

// Modes of Store.
const (
	Set     Mode = iota
	Add          // only if there is no item
	Replace      // only if there is one
	Append       // the value goes behind that of the item, whose flags and expiry stay
	Prepend      // the value goes before it
)

// Outcome is what came of a command.
type Outcome uint8

// Outcomes. Stored is that the command was carried out.
const (
	Stored     Outcome = iota
	NotStored          // the mode does not fit what is there
	Exists             // the CAS unique is another one
	NotFound           // there is no item to compare, delete, touch or count with
	TooLarge           // of Config.ItemBytes, or the key is not of 1 to MaxKey bytes
	OutOfSpace         // and nothing can be evicted
	NotNumber          // the value is no decimal number of 64 bits
)

// Write is a command for Store.
type Write struct {
	Key        []byte // 1 to MaxKey bytes
	Value      []byte
	Flags      uint32
	Expiry     uint32 // Unix second, 0: never
	Mode       Mode
	Compare    uint64 // if not 0, the CAS unique that the item must have
	CAS        uint64 // if not 0, the new CAS unique
	Invalidate bool   // where Compare is below that of the item: store, but as stale
	Vivify     bool   // Append and Prepend store what is not there
	Won        bool   // somebody was told to recache the item
	Binary     bool   // the key came as base64
}

// Store carries out a command; unique is the CAS unique of what was stored. If Set fails for
// want of space, the item that was there is gone: who could not set a value must not go on
// reading the one before.
func (c *Cache) Store(w Write) (outcome Outcome, unique uint64) {
	outcome, unique = c.change(w.Key, w.CAS, w.apply)
	if w.Mode == Set && (outcome == TooLarge || outcome == OutOfSpace) {
		c.Delete(Removal{Key: w.Key})
	}
	return outcome, unique
}

// Fits tells whether a value of so many bytes is not too large to be stored under a key.
func (c *Cache) Fits(key []byte, flags uint32, value int) bool {
	return headerBytes+lineBytes(len(key), flags, value)+value+2 <= c.config.ItemBytes
}

// apply is what an item becomes.
func (w *Write) apply(old Item, found bool) (content, Outcome) {
	fresh := content{flags: w.Flags, expiry: w.Expiry, marks: w.marks(), before: w.Value}
	if !found {
		switch {
		case w.Compare != 0 && w.Mode == Set:
			return content{}, NotFound
		case w.Mode == Replace, w.Mode >= Append && !w.Vivify:
			return content{}, NotStored
		}
		return fresh, Stored
	}
	if w.Mode == Add {
		old.use()
		return content{}, NotStored
	}
	if w.Compare != 0 && w.Compare != old.CAS() {
		if !w.Invalidate || w.Compare > old.CAS() {
			return content{}, Exists
		}
		fresh.expiry = old.Expiry()
		fresh.marks |= markStale | old.state&markWon
	}
	if w.Mode < Append {
		return fresh, Stored
	}
	joined := copyOf(old)
	if w.Mode == Append {
		joined.after = w.Value
	} else {
		joined.before = w.Value
	}
	return joined, Stored
}

// marks are those of a new item.
func (w *Write) marks() (m uint64) {
	if w.Won {
		m |= markWon
	}
	if w.Binary {
		m |= markBinary
	}
	return m
}

// Removal is a command for Delete.
type Removal struct {
	Key     []byte
	Compare uint64 // if not 0, the CAS unique that the item must have

	// With one of these the item stays.
	Invalidate bool // stale, so that one client is told to recache it
	Clear      bool // without value and flags

	CAS       uint64 // if not 0, the new CAS unique of an item that stays
	Expiry    uint32 // of an item that stays, if SetExpiry
	SetExpiry bool
}

// Delete carries out a command: Stored, NotFound, Exists, or OutOfSpace.
func (c *Cache) Delete(r Removal) Outcome {
	if r.Invalidate || r.Clear {
		outcome, _ := c.change(r.Key, r.CAS, r.apply)
		return outcome
	}
	hash := c.hashKeys.hash(r.Key)
	s := c.shard(hash)
	s.Lock()
	defer s.Unlock()
	slot, old, found := c.locate(hash, r.Key)
	switch {
	case !found:
		return NotFound
	case r.Compare != 0 && r.Compare != old.CAS():
		return Exists
	}
	c.remove(s, slot, deleted)
	return Stored
}

func (r *Removal) apply(old Item, found bool) (content, Outcome) {
	switch {
	case !found:
		return content{}, NotFound
	case r.Compare != 0 && r.Compare != old.CAS():
		return content{}, Exists
	}
	left := copyOf(old)
	if r.Clear {
		left.old, left.flags = Item{}, 0
	}
	if r.Invalidate {
		left.marks = left.marks&^markWon | markStale
	}
	if r.SetExpiry {
		left.expiry = r.Expiry
	}
	return left, Stored
}

// Touch sets when an item expires, 0 for never. It does not count as reading it.
func (c *Cache) Touch(key []byte, expiry uint32) Outcome {
	hash := c.hashKeys.hash(key)
	s := c.shard(hash)
	s.Lock()
	defer s.Unlock()
	_, old, found := c.locate(hash, key)
	if !found {
		return NotFound
	}
	setExpiry(c.state(old.chunk), expiry)
	return Stored
}
