package object

import (
	"errors"
	"fmt"
)

// What callers decide on. Backends wrap them with what was being done to which object.
var (
	ErrNotFound = errors.New("no such object")
	ErrConflict = errors.New("another version is there")
	ErrName     = errors.New("bad object name")
	ErrVersion  = errors.New("bad version")
	ErrRange    = errors.New("range outside of the object")
	ErrSize     = errors.New("body is not of the announced size")
	ErrSum      = errors.New("body does not have the announced checksum")
	ErrDamaged  = errors.New("stored object is damaged")
	ErrStopped  = errors.New("store takes no more writes after a failure of the disk")
	ErrClosed   = errors.New("store is closed")
)

// ConflictError is the ErrConflict of a write, with what it met.
type ConflictError struct {
	Newest Info // zero if the name is unknown
}

// Error names the version that is there.
func (e *ConflictError) Error() string {
	switch {
	case e.Newest.Version.IsZero():
		return ErrConflict.Error() + ": none"
	case e.Newest.Deleted:
		return fmt.Sprintf("%v: %s, a delete", ErrConflict, e.Newest.Version)
	}
	return fmt.Sprintf("%v: %s", ErrConflict, e.Newest.Version)
}

// Is makes errors.Is(err, ErrConflict) true.
func (e *ConflictError) Is(target error) bool { return target == ErrConflict }
