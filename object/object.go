// Package object names, describes and checks objects: contents of 0 bytes to gigabytes
// under a name, each version of which is written once. In come names, streams and the
// versions that the caller's clock gives them; out go contents that were compared with
// their BLAKE3 checksum, and descriptions of what is kept. Store is what every backend
// (object/file, object/pack, object/pebble, object/bucket) implements and what whoever copies objects
// between nodes, serves them or archives into them calls.
package object

import (
	"context"
	"io"
	"os"
)

// Store keeps objects. All methods may be called by many goroutines at once.
//
// What a store knows of a name is the set of its newest versions, each a content or the
// mark of a delete; how many are kept is the backend's to configure. Put and Delete add to that set wherever the version
// belongs, be it newer than what is there or older, and what falls out at the old end is
// forgotten. So stores that got the same writes agree, in whatever order the writes came and
// however often each was repeated. Whoever wants to write only over what it has seen says so
// with a Condition.
//
// A version whose write failed is not there, nor is it after the next start, unless the error is
// ErrStopped: then the disk failed and nobody knows; the store takes no writes until it is opened again.
// When Put, Delete or Drop return without error, what they did is as durable as the backend's Sync says.
type Store interface {
	// Put stores body as a version of name, wholly or not at all. It reads no further than a byte behind the announced size.
	Put(ctx context.Context, name string, body io.Reader, o Put) (Info, error)
	// Get returns the content of a version or a range of it. The caller closes it.
	// The error is ErrNotFound if there is none, also if the version is the mark of a delete.
	Get(ctx context.Context, name string, o Get) (Body, error)
	// Stat describes the newest version. The error is ErrNotFound if there is none or if it
	// is the mark of a delete; the Info of the mark is returned with the error then.
	Stat(ctx context.Context, name string) (Info, error)
	// History describes what is kept of a name, newest version first, marks of deletes included.
	// It is empty for an unknown name.
	History(ctx context.Context, name string) ([]Info, error)
	// Delete adds the mark of a delete, also under a name that the store does not know: a
	// version older than the mark may still be on its way.
	Delete(ctx context.Context, name string, o Delete) (Info, error)
	// List describes the newest version of each name, in bytewise order of names, a page at a time.
	List(ctx context.Context, o List) (Page, error)
	// Forget drops all that is known of names whose newest version is the mark of a delete
	// older than before, and returns how many. Whoever calls it knows that no
	// older version of them can come any more.
	Forget(ctx context.Context, before Version) (int, error)
	// Drop forgets all that is known of a name, its history and marks of deletes included, if its newest version
	// is not newer than v; else the error is a *ConflictError. An unknown name is no error. It is for
	// a copy that is kept elsewhere: unlike the mark of a delete it says nothing to other copies.
	Drop(ctx context.Context, name string, v Version) error
	// Close waits for what was begun. Everything answers ErrClosed afterwards; a Body that is
	// open can be read to its end.
	Close() error
}

// UnknownSize in Put means that the body ends where its reader does.
const UnknownSize = -1

// Put says how a version is stored. Version must be set.
type Put struct {
	Version Version
	Size    int64     // bytes that body has, or UnknownSize
	Sum     *Sum      // if not nil, what body's checksum must be
	If      Condition // what must be the newest version; the zero Condition is always met
	// Repair stores the body even if this version is there already: its copy is
	// damaged. Without it a version that is there is kept, and the body must be the same.
	Repair bool
}

// Get selects a version and a range of it.
type Get struct {
	Version Version // zero for the newest
	Offset  int64   // of the first byte
	Length  int64   // bytes; 0 for all that follow. More than there are is no error.
}

// Delete says how a mark is set. Version must be set.
type Delete struct {
	Version Version
	If      Condition
}

// List selects names.
type List struct {
	Prefix  string
	After   string // the cursor: only names behind it
	Limit   int    // of names in a page; 0 means MaxPage, which is also the most
	Deleted bool   // also names whose newest version is the mark of a delete
}

// MaxPage bounds the names in a page of List.
const MaxPage = 1000

// Page is a part of a listing.
type Page struct {
	Objects []Info
	Next    string // the cursor of the page that follows; empty when there is none
}

// Info describes a version of an object.
type Info struct {
	Name    string
	Version Version
	Size    int64 // bytes
	Sum     Sum
	Deleted bool // the version is the mark of a delete; Size and Sum are zero
}

// Body is a content on its way out. Its Read returns bytes that were compared with a
// checksum, or ErrDamaged; a body read to its end as a whole was compared with Info's Sum.
// One goroutine uses it.
type Body interface {
	io.ReadCloser
	// Info describes the whole content, also if this is a range of it.
	Info() Info
	// Range is where in it this begins and how many bytes it has.
	Range() (offset, length int64)
	// Section is the rest of the body as a piece of a file, for sendfile(2): its length bytes begin at the
	// file's position. The file is this Body's alone and closed with it. It is
	// nil where the backend or the size does not lend itself to this. The bytes are not compared with a
	// checksum on this way: who sends them sends Info's Sum, too, and the receiver compares.
	Section() (file *os.File, length int64)
}
