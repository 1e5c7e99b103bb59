package backend

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"sync"

	"carillon/object"
)

// MaxKeep bounds how many versions of a name a store keeps.
const MaxKeep = 64

// Keep is how many versions of a name a store keeps whose configuration says so: 1 if it says 0.
func Keep(configured int) (int, error) {
	if configured < 0 || configured > MaxKeep {
		return 0, fmt.Errorf("keep %d versions: want 1 to %d", configured, MaxKeep)
	}
	return max(1, configured), nil
}

// PageSize is how many names a page of a listing has at most.
func PageSize(o object.List) int {
	if o.Limit > 0 {
		return min(o.Limit, object.MaxPage)
	}
	return object.MaxPage
}

const nameLocks = 256 // writes of names in different ones of these go on side by side

// Names are locks of names.
type Names struct {
	seed  maphash.Seed
	locks [nameLocks]sync.Mutex
}

// NewNames returns the locks of all names.
func NewNames() *Names { return &Names{seed: maphash.MakeSeed()} }

// Lock waits for the lock of a name and returns what unlocks it.
func (n *Names) Lock(name string) (unlock func()) {
	lock := &n.locks[maphash.String(n.seed, name)%nameLocks]
	lock.Lock()
	return lock.Unlock
}

// Drop forgets a name and tells whether it was known. The error is an ErrConflict if its newest version is newer than upTo.
type Drop func(ctx context.Context, name string, upTo object.Version) (known bool, err error)

// Forget drops the names of marks of deletes, but for those written since, and returns how many.
func Forget(ctx context.Context, marks []object.Info, drop Drop) (forgotten int, err error) {
	for _, mark := range marks {
		if err := ctx.Err(); err != nil {
			return forgotten, fmt.Errorf("forget deletes: %w", err)
		}
		known, err := drop(ctx, mark.Name, mark.Version)
		switch {
		case errors.Is(err, object.ErrConflict):
		case err != nil:
			return forgotten, fmt.Errorf("forget the delete of %q: %w", mark.Name, err)
		case known:
			forgotten++
		}
	}
	return forgotten, nil
}
