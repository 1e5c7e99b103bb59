package location

import (
	"fmt"
	"strconv"
	"strings"
)

// Bounds of an entry and of what may be asked.
const (
	MaxName   = 64 // bytes a name
	MaxServer = 64 // bytes a server's name
	MaxOwner  = 64 // bytes the name of who holds a lock
	MaxSites  = 13 // sites an entry

	MaxLockMillis = 24 * 60 * 60 * 1000 // how far ahead a lock may expire
)

// The suffixes under which clients ask for the read-only and the backup side of
// an entry. They are no part of any name.
const (
	readOnlySuffix = ".readonly"
	backupSuffix   = ".backup"
)

// IDs are the ids of an entry by kind: read-write, read-only, backup. 0 is none.
// No id belongs to two entries, or to two kinds of one.
type IDs struct {
	RW uint64 `json:"rw,omitempty"`
	RO uint64 `json:"ro,omitempty"`
	BK uint64 `json:"bk,omitempty"`
}

// Site is one place that holds the entry. An entry may name a place twice, with
// different flags.
type Site struct {
	Server    string `json:"server"` // a registered server
	Partition uint32 `json:"partition"`
	Flags     uint32 `json:"flags,omitempty"`
}

// Lock keeps changes by all but its owner away until it expires.
type Lock struct {
	Owner   string `json:"owner,omitempty"`   // empty: not locked
	Kind    uint8  `json:"kind,omitempty"`    // what for; the directory only keeps it
	Expires int64  `json:"expires,omitempty"` // milliseconds since the epoch
}

// Held tells whether the lock still holds at a time in milliseconds.
func (l Lock) Held(now int64) bool { return l.Owner != "" && l.Expires > now }

// Entry is what the directory knows of one name.
type Entry struct {
	Name  string `json:"name"`
	IDs   IDs    `json:"ids"`
	Sites []Site `json:"sites,omitempty"`
	Flags uint32 `json:"flags,omitempty"`

	// The rest is the directory's: it is not looked at in an entry that comes in.
	Lock     Lock   `json:"lock,omitzero"`
	Version  uint64 `json:"version,omitempty"`  // the revision of the change that made it so
	Modified int64  `json:"modified,omitempty"` // time of that change, milliseconds since the epoch
}

// checkName tells whether an entry may have the name: one that no look-up could
// reach is as wrong as one with a bad character.
func checkName(name string) error {
	if err := checkQuery(name); err != nil {
		return err
	}
	if digitsOnly(name) {
		return fmt.Errorf("name %q is digits only, which a look-up takes for an id", name)
	}
	if name == "." || name == ".." {
		return fmt.Errorf("name %q cannot be named in a URL", name)
	}
	if strings.HasSuffix(name, readOnlySuffix) || strings.HasSuffix(name, backupSuffix) {
		return fmt.Errorf("name %q ends in a suffix that look-ups strip", name)
	}
	return nil
}

// checkQuery tells whether the name keeps to length and alphabet.
func checkQuery(name string) error {
	if len(name) == 0 || len(name) > MaxName {
		return fmt.Errorf("name %.80q has %d bytes, want 1 to %d", name, len(name), MaxName)
	}
	for i := range len(name) {
		if c := name[i]; !nameByte(c) {
			return fmt.Errorf("name %q has %q at byte %d, want letters, digits, '.', '_' and '-'", name, c, i)
		}
	}
	return nil
}

func nameByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '.' || c == '_' || c == '-'
}

func digitsOnly(name string) bool {
	for i := range len(name) {
		if name[i]-'0' > 9 {
			return false
		}
	}
	return len(name) > 0
}

// checkPlain is for names of servers and owners: printable, without spaces.
func checkPlain(what, name string, most int) error {
	if len(name) == 0 || len(name) > most {
		return fmt.Errorf("%s %.80q has %d bytes, want 1 to %d", what, name, len(name), most)
	}
	for i := range len(name) {
		if c := name[i]; c <= ' ' || c > '~' {
			return fmt.Errorf("%s %q has %q at byte %d, want printable ASCII without spaces", what, name, c, i)
		}
	}
	return nil
}

// query is what a caller looks for: an id where there is one, else a name.
type query struct {
	name string // without suffix; empty in a query by id
	id   uint64
}

// parseQuery reads a name as clients write it: the suffix is stripped, and digits
// only are an id. It does not check the rest, which costs and is only needed
// where no cache knows the name.
func parseQuery(name string) query {
	if n := len(name); n > len(backupSuffix) {
		switch name[n-1] { // rules nearly all names out at the first look
		case 'y':
			name = strings.TrimSuffix(name, readOnlySuffix)
		case 'p':
			name = strings.TrimSuffix(name, backupSuffix)
		}
	}
	if len(name) == 0 || name[0]-'0' > 9 || !digitsOnly(name) {
		return query{name: name}
	}
	id, err := strconv.ParseUint(name, 10, 64)
	if err != nil {
		id = 0 // more than any id can be: none
	}
	return query{id: id}
}

func (q query) byID() bool { return q.name == "" }

func (q query) String() string {
	if q.byID() {
		return "id " + strconv.FormatUint(q.id, 10)
	}
	return q.name
}

// isPlain tells that the name is looked up as it stands: it ends in no suffix and
// is no id. It says no to some other names too.
func isPlain(name string) bool {
	n := len(name)
	return n > 0 && name[n-1] != 'y' && name[n-1] != 'p' && name[0]-'0' > 9
}
