package object

import (
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"fmt"
)

// Version orders what was written under a name. It is opaque to stores: the
// caller's clock gives it a meaning, and never gives the same one twice for different contents.
// The zero Version is older than any other and stands for none.
type Version struct{ Hi, Lo uint64 }

// VersionSize is the length of an encoded Version in bytes.
const VersionSize = 16

// Compare is negative if v is older than w, positive if it is newer.
func (v Version) Compare(w Version) int {
	if c := cmp.Compare(v.Hi, w.Hi); c != 0 {
		return c
	}
	return cmp.Compare(v.Lo, w.Lo)
}

// IsZero tells whether v stands for none.
func (v Version) IsZero() bool { return v == Version{} }

// Bytes encodes a Version so that the bytewise order is that of Compare.
func (v Version) Bytes() [VersionSize]byte {
	var b [VersionSize]byte
	binary.BigEndian.PutUint64(b[:8], v.Hi)
	binary.BigEndian.PutUint64(b[8:], v.Lo)
	return b
}

// VersionOf decodes what Bytes encoded.
func VersionOf(b [VersionSize]byte) Version {
	return Version{Hi: binary.BigEndian.Uint64(b[:8]), Lo: binary.BigEndian.Uint64(b[8:])}
}

// String is 32 hexadecimal digits, in the order of Compare.
func (v Version) String() string {
	b := v.Bytes()
	return hex.EncodeToString(b[:])
}

// ParseVersion reads what String wrote.
func ParseVersion(s string) (Version, error) {
	var b [VersionSize]byte
	if len(s) != 2*VersionSize {
		return Version{}, fmt.Errorf("version %.40q has %d characters, want %d hexadecimal digits", s, len(s), 2*VersionSize)
	}
	if _, err := hex.Decode(b[:], []byte(s)); err != nil {
		return Version{}, fmt.Errorf("version %q: %w", s, err)
	}
	return VersionOf(b), nil
}

// Condition is the comparison of a compare-and-set.
type Condition struct {
	set    bool
	newest Version
}

// IfNewest is met while v is the newest version of the name. A name whose newest version is the mark of
// a delete meets it with that mark's version.
func IfNewest(v Version) Condition { return Condition{set: true, newest: v} }

// IfAbsent is met while the name has no content: it is unknown, or deleted.
func IfAbsent() Condition { return Condition{set: true} }

// Wants is the version that IfNewest was given, zero after IfAbsent; set is false for the zero Condition.
func (c Condition) Wants() (newest Version, set bool) { return c.newest, c.set }

// Check returns a *ConflictError if the newest version is not what the condition wants.
// Backends call it with the zero Info for an unknown name.
func (c Condition) Check(newest Info) error {
	switch {
	case !c.set, !c.newest.IsZero() && c.newest == newest.Version:
		return nil
	case c.newest.IsZero() && (newest.Deleted || newest.Version.IsZero()):
		return nil
	}
	return &ConflictError{Newest: newest}
}
