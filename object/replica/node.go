// Package replica keeps the copies of objects in step. A Coordinator takes puts, gets,
// deletes and compare-and-sets, asks package placement where the copies belong, and talks to
// these nodes; a Member is such a node, a store behind the rules that all nodes keep. In come
// requests of whoever uses the cluster; out go versions that W nodes have, the newest
// version of a name, and repairs of copies that are missing, stale, damaged or too many.
//
// The package knows no network: a node is an interface, which Member implements in process and
// a client of a protocol elsewhere.
package replica

import (
	"context"
	"errors"
	"io"

	"carillon/object"
)

// What callers decide on, besides the errors of package object.
var (
	// ErrTooFew means that too few nodes answered to say or do anything, and that
	// nothing was written.
	ErrTooFew = errors.New("too few nodes answered")
	// ErrUncertain means that a write was begun and not acknowledged by as many nodes as
	// it takes: it may have been made, or be made yet, or not.
	ErrUncertain = errors.New("write may or may not have been made")
	// ErrGuarded refuses a plain write under a name that is written by compare-and-set.
	ErrGuarded = errors.New("name is written by compare-and-set only")
	// ErrUnguarded refuses compare-and-set under a name that was written plainly.
	ErrUnguarded = errors.New("name was written without compare-and-set")
	// ErrStale refuses a request by a view of the cluster that has been replaced.
	ErrStale = errors.New("view of the cluster is out of date")
	// ErrBlank refuses everything at a node that was not admitted: a new one, or one that
	// lost its disk and must not pass for one that knows what it was told.
	ErrBlank = errors.New("node was not admitted to the cluster")
)

// MaxGuarded bounds the size of an object that is written by compare-and-set, in bytes: nodes
// hold it in memory while they decide.
const MaxGuarded = 1 << 20

// Node is a node as a Coordinator sees it. All methods may be called by many goroutines
// at once; all that take an epoch answer ErrStale if the node knows a later one.
type Node interface {
	// Put stores a version. A node may have stored it although an error came back.
	Put(ctx context.Context, name string, body io.Reader, w Write) (Receipt, error)
	// Delete sets the mark of a delete; Size, Sum and Repair of the Write mean nothing.
	Delete(ctx context.Context, name string, w Write) (Receipt, error)
	// Get is that of object.Store.
	Get(ctx context.Context, name string, o object.Get) (object.Body, error)
	// Stat describes the newest version, be it the mark of a delete. An unknown name has the zero Info.
	Stat(ctx context.Context, name string, epoch uint64) (object.Info, error)
	// Check reads a version from the node's disk; the error wraps object.ErrDamaged if it is not as it was written.
	Check(ctx context.Context, name string, v object.Version) error
	// History is that of object.Store.
	History(ctx context.Context, name string) ([]object.Info, error)
	// List is that of object.Store.
	List(ctx context.Context, o object.List) (object.Page, error)
	// Drop is that of object.Store.
	Drop(ctx context.Context, name string, v object.Version, epoch uint64) error
	// Forget is that of object.Store.
	Forget(ctx context.Context, before object.Version, epoch uint64) (int, error)
}

// Write says how a node writes a version.
type Write struct {
	Epoch   uint64 // of the writer's view
	Version object.Version
	Size    int64            // bytes, or object.UnknownSize
	Sum     *object.Sum      // if not nil, what the body's checksum must be
	If      object.Condition // what must be the newest version on this node
	Copy    bool             // of a version that was written before: it is stored wherever it belongs, be it not the newest
	Repair  bool             // the copy that is there is damaged
	Forward Forward          // nodes that this one copies to
}

// Forward asks a node to make copies on others on the client's behalf.
type Forward struct {
	To   []string // names of the nodes
	Need int      // how many acknowledgements, its own included, it waits for before it answers
}

// Receipt acknowledges a write.
type Receipt struct {
	Info  object.Info
	Acked []string // nodes that have the version
}
