package location

import (
	"errors"
	"fmt"
)

// What a refused change, or a look-up that found nothing, is about. A Result's
// Err wraps one of them with what was wrong.
var (
	ErrNotFound      = errors.New("not found")
	ErrExists        = errors.New("exists already")
	ErrWrongVersion  = errors.New("wrong version")
	ErrLocked        = errors.New("locked by another")
	ErrIDTaken       = errors.New("id is taken")
	ErrBadEntry      = errors.New("bad entry")
	ErrBadChange     = errors.New("bad change")
	ErrUnknownServer = errors.New("unknown server")
	ErrServerInUse   = errors.New("server is in use")
	ErrNoIDs         = errors.New("no ids left")
	ErrBadName       = errors.New("bad name") // of look-ups only
)

// What stops a node, as against one change.
var (
	// ErrApplied: the revision is not after the last one applied.
	ErrApplied = errors.New("revision is applied already")
	// ErrStopped: a commit failed. What is on disk is known only to the next Open,
	// for after a failed sync a second try may succeed falsely. Caches go on
	// answering as of Revision.
	ErrStopped = errors.New("location directory stopped after a failed commit")
	// ErrClosed: the directory was closed.
	ErrClosed = errors.New("location directory is closed")
)

// Op is what a Change does.
type Op uint8

// The operations, and what of a Change each reads besides Time.
const (
	Create           Op = iota // Entry
	Replace                    // Name, Version (required), Owner, Entry
	Update                     // Name, Version, Owner, Patch
	Delete                     // Name, Version, Owner
	NewID                      // Count
	TakeLock                   // Name, Owner, LockKind, Expires
	ReleaseLock                // Name, Owner
	RegisterServer             // Name, of the server
	UnregisterServer           // Name, of the server
	opCount
)

var opNames = [opCount]string{"create", "replace", "update", "delete", "new-id", "lock", "release", "register-server", "unregister-server"}

func (op Op) String() string {
	if op >= opCount {
		return fmt.Sprintf("op-%d", uint8(op))
	}
	return opNames[op]
}

// MarshalText writes the operation's name.
func (op Op) MarshalText() ([]byte, error) {
	if op >= opCount {
		return nil, fmt.Errorf("operation %d does not exist", uint8(op))
	}
	return []byte(op.String()), nil
}

// UnmarshalText reads the operation's name.
func (op *Op) UnmarshalText(b []byte) error {
	for i, name := range opNames {
		if name == string(b) {
			*op = Op(i)
			return nil
		}
	}
	return fmt.Errorf("operation %.40q does not exist", b)
}

// MaxNewIDs bounds how many ids one change hands out.
const MaxNewIDs = 1024

// Change is one event of the ordered feed. It carries all that decides what
// becomes of it, the proposer's time included, so that every node that applies
// the same changes in the same order ends in the same state. It keeps its meaning
// through JSON.
type Change struct {
	Op   Op    `json:"op"`
	Time int64 `json:"time"` // milliseconds since the epoch, at the proposer

	Name    string `json:"name,omitempty"`    // of the entry as look-ups take it, or of the server
	Version uint64 `json:"version,omitempty"` // the entry must have; 0: any
	Owner   string `json:"owner,omitempty"`   // who asks: passes a lock of the same owner
	Entry   Entry  `json:"entry,omitzero"`
	Patch   Patch  `json:"patch,omitzero"`

	LockKind uint8  `json:"lock_kind,omitempty"`
	Expires  int64  `json:"expires,omitempty"` // of the lock, milliseconds since the epoch
	Count    uint32 `json:"count,omitempty"`   // how many ids in a row, 1 to MaxNewIDs
}

// Patch is what an Update changes; what it does not name stays.
type Patch struct {
	Name        *string `json:"name,omitempty"`
	RW          *uint64 `json:"rw,omitempty"` // 0 takes the id away
	RO          *uint64 `json:"ro,omitempty"`
	BK          *uint64 `json:"bk,omitempty"`
	SetFlags    uint32  `json:"set_flags,omitempty"`
	ClearFlags  uint32  `json:"clear_flags,omitempty"`
	RemoveSites []Place `json:"remove_sites,omitempty"` // each must be there; goes before AddSites
	AddSites    []Site  `json:"add_sites,omitempty"`
}

// Place is where a site is.
type Place struct {
	Server    string `json:"server"`
	Partition uint32 `json:"partition"`
}

// Numbered is a change and its place in the order. Revisions rise; there may be
// gaps.
type Numbered struct {
	Revision uint64 `json:"revision"`
	Change   Change `json:"change"`
}

// Result is what became of a change.
type Result struct {
	Revision uint64 `json:"revision"`
	// Err says why the change was refused, or is nil. A refused change changed
	// nothing but the revision. It wraps ErrExists, ErrNotFound, ErrWrongVersion,
	// ErrLocked, ErrIDTaken, ErrBadEntry, ErrBadChange, ErrUnknownServer,
	// ErrServerInUse or ErrNoIDs.
	Err error `json:"-"`
	// Entry is the entry after the change; after Delete, the one that went.
	Entry Entry `json:"entry,omitzero"`
	// FirstID is the first of the ids that NewID handed out.
	FirstID uint64 `json:"first_id,omitempty"`
}
