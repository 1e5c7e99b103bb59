package conformance

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"carillon/object"
	"carillon/object/backend"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// OpenOn opens a store whose folder is /objects of a file system.
type OpenOn func(fs vfs.FS, policy backend.Sync) (object.Store, error)

// RunOn runs all tests with stores that sync always, and those of RunBrief with stores of the other policies.
func RunOn(t *testing.T, open OpenOn) {
	fresh := func(policy backend.Sync) func(*testing.T) Open {
		return func(*testing.T) Open {
			fs := vfs.NewMem()
			return func(t *testing.T) object.Store {
				s, err := open(fs, policy)
				if err != nil {
					t.Fatal(err)
				}
				return s
			}
		}
	}
	t.Run("always", func(t *testing.T) { Run(t, fresh(backend.SyncAlways)) })
	t.Run("interval", func(t *testing.T) { RunBrief(t, fresh(backend.Sync(time.Millisecond))) })
	t.Run("none", func(t *testing.T) { RunBrief(t, fresh(backend.SyncNone)) })
}

// history is a fixed sequence of writes, some at the same time, and what became of them.
type history struct {
	mu      sync.Mutex
	started []event
	done    map[event]bool
	refused map[event]bool // with an error after which they must not show
}

func newHistory() *history { return &history{done: map[event]bool{}, refused: map[event]bool{}} }

// event is a write; its content follows from it.
type event struct {
	name    string
	version uint64
	size    int
	deleted bool
	dropped bool // up to the version
}

func (e event) content() []byte { return Content(e.size, e.version) }

func (h *history) start(e event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.started = append(h.started, e)
}

func (h *history) end(e event, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case err == nil:
		h.done[e] = true
	case !errors.Is(err, object.ErrStopped):
		h.refused[e] = true
	}
}

// script is rounds of writes; those of a round are made at the same time.
func script(large int) (rounds [][]event) {
	for round := range uint64(14) {
		var events []event
		for name := range uint64(4) {
			events = append(events, event{name: fmt.Sprint("name/", name), version: 1 + round, size: int(100 + 700*((round+name)%4)), deleted: (round+name)%5 == 4})
		}
		events = append(events, event{name: fmt.Sprint("single/", round), version: 1, size: 300})
		// A name is put, dropped, and put again in the next two rounds.
		events = append(events, event{name: fmt.Sprint("drop/", round/3), version: 1 + round/3 + round%3/2, size: 200, dropped: round%3 == 1})
		if large > 0 && round%6 == 2 {
			events = append(events, event{name: "large", version: 1 + round, size: large})
		}
		rounds = append(rounds, events)
	}
	return rounds
}

// play makes the writes of a round.
func (h *history) play(t *testing.T, s object.Store, events []event) {
	var all sync.WaitGroup
	for _, e := range events {
		all.Go(func() {
			h.start(e)
			var err error
			switch {
			case e.dropped:
				err = s.Drop(t.Context(), e.name, V(e.version))
			case e.deleted:
				_, err = s.Delete(t.Context(), e.name, object.Delete{Version: V(e.version)})
			default:
				_, err = s.Put(t.Context(), e.name, bytes.NewReader(e.content()), object.Put{Version: V(e.version), Size: int64(e.size)})
			}
			h.end(e, err)
		})
	}
	all.Wait()
}

// outcome is a history as it is at one moment.
type outcome struct {
	started       []event
	done, refused map[event]bool
}

func (h *history) outcome() outcome {
	h.mu.Lock()
	defer h.mu.Unlock()
	return outcome{slices.Clone(h.started), maps.Clone(h.done), maps.Clone(h.refused)}
}

// lost returns an error if a store lacks what was acknowledged, or has what was not written.
func (o outcome) lost(t *testing.T, s object.Store) error {
	byName := map[string][]event{}
	for _, e := range o.started {
		byName[e.name] = append(byName[e.name], e)
	}
	for name, events := range byName {
		kept, err := s.History(t.Context(), name)
		if err != nil {
			return err
		}
		left := slices.Clone(kept)
		for i, e := range events {
			if e.dropped {
				continue
			}
			must, may := o.expected(events, i)
			at := slices.IndexFunc(left, func(info object.Info) bool { return info.Version == V(e.version) })
			switch {
			case at < 0 && must:
				return fmt.Errorf("%q version %d was acknowledged and is lost, there is %+v", name, e.version, kept)
			case at < 0:
				continue
			case !may:
				return fmt.Errorf("%q version %d was refused or dropped and is there: %+v", name, e.version, kept)
			}
			if err := differs(t, s, e, left[at]); err != nil {
				return err
			}
			left = slices.Delete(left, at, at+1)
		}
		if len(left) > 0 {
			return fmt.Errorf("%q has what was never written: %+v", name, left)
		}
	}
	return nil
}

// expected tells whether a write has to be kept, and whether it can be. Events are those of a name in the order in
// which they were begun.
func (o outcome) expected(events []event, i int) (must, may bool) {
	e, newer := events[i], 0
	must, may = o.done[e], !o.refused[e]
	for j, other := range events {
		switch {
		case !other.dropped && other.version > e.version:
			newer++
		case other.dropped && j > i:
			must = false
			may = may && !o.done[other]
		}
	}
	return must && newer < Keep, may
}

func differs(t *testing.T, s object.Store, e event, kept object.Info) error {
	got, err := get(t.Context(), s, e.name, object.Get{Version: V(e.version)})
	if kept.Deleted != e.deleted || errors.Is(err, object.ErrNotFound) != e.deleted ||
		!e.deleted && (err != nil || !bytes.Equal(got, e.content())) {
		return fmt.Errorf("%q version %d: %+v, %d bytes, %w", e.name, e.version, kept, len(got), err)
	}
	return nil
}

// Crash plays a history and, before every stride-th call to the file system, opens what a crash at this
// moment would leave, with any part of what was not synced: everything acknowledged is there, and
// nothing that was not written. It plays on in that, too. Large is the size of an object
// that the backend treats as large.
func Crash(t *testing.T, open OpenOn, large, stride int) {
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 1))
	fs := vfs.NewCrashableMem()
	if err := fs.MkdirAll("/objects", 0o755); err != nil {
		t.Fatal(err)
	}
	h := newHistory()
	var mu sync.Mutex
	calls, images := 0, 0
	crash := errorfs.InjectorFunc(func(op errorfs.Op) error {
		mu.Lock()
		defer mu.Unlock()
		if calls++; op.Kind.ReadOrWrite() == errorfs.OpIsRead || calls%stride != 0 || t.Failed() {
			return nil
		}
		before := h.outcome()
		image := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: []int{0, 30, 70, 100}[images%4], RNG: rng})
		before.started = h.outcome().started
		images++
		if err := before.examine(t, open, image); err != nil {
			t.Errorf("seed %d: after a crash before call %d (%v %s): %v", seed, calls, op.Kind, op.Path, err)
		}
		return nil
	})
	s, err := open(errorfs.Wrap(fs, crash), backend.SyncAlways)
	if err != nil {
		t.Fatal(err)
	}
	for i, events := range script(large) {
		if h.play(t, s, events); i == 7 { // an orderly end and start
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if s, err = open(errorfs.Wrap(fs, crash), backend.SyncAlways); err != nil {
				t.Fatal(err)
			}
		}
	}
	closeAfter(t, s)
	if images == 0 {
		t.Error("no crash")
	}
	t.Logf("%d crashes", images)
}

// examine opens an image twice: what the first start has done to it must not lose anything either.
func (o outcome) examine(t *testing.T, open OpenOn, image *vfs.MemFS) error {
	s, err := open(image, backend.SyncAlways)
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	if err := errors.Join(o.lost(t, s), s.Close()); err != nil {
		return err
	}
	if s, err = open(image, backend.SyncAlways); err != nil {
		return fmt.Errorf("open once more: %w", err)
	}
	more := &history{started: o.started, done: o.done, refused: o.refused}
	for i, events := range script(0)[:3] {
		for j := range events {
			events[j].version += 100 + uint64(i)
		}
		more.play(t, s, events)
	}
	return errors.Join(more.outcome().lost(t, s), s.Close())
}

// Fail plays the history once for every stride-th call to the file system, and lets that call fail. Whatever the store
// makes of it, everything acknowledged and nothing refused can be read then, and when it is opened again.
func Fail(t *testing.T, open OpenOn, large, stride int) {
	for failAt := 1; ; failAt += stride {
		fs := vfs.NewMem()
		if err := fs.MkdirAll("/objects", 0o755); err != nil {
			t.Fatal(err)
		}
		reached, err := failOnce(t, open, fs, large, failAt)
		if err != nil {
			t.Fatalf("call %d fails: %v", failAt, err)
		}
		if !reached {
			return
		}
	}
}

func failOnce(t *testing.T, open OpenOn, fs *vfs.MemFS, large, failAt int) (reached bool, err error) {
	var mu sync.Mutex
	calls := 0
	failing := errorfs.InjectorFunc(func(op errorfs.Op) error {
		mu.Lock()
		defer mu.Unlock()
		if op.Kind.ReadOrWrite() == errorfs.OpIsRead {
			return nil
		}
		if calls++; calls == failAt {
			return errorfs.ErrInjected
		}
		return nil
	})
	h := newHistory()
	s, err := open(errorfs.Wrap(fs, failing), backend.SyncAlways)
	if err == nil {
		for _, events := range script(large) {
			h.play(t, s, events)
		}
		err = h.outcome().lost(t, s)
		_ = s.Close() // may be what fails
	} else if !errors.Is(err, errorfs.ErrInjected) {
		return false, err
	}
	mu.Lock()
	reached = calls >= failAt
	mu.Unlock()
	if !reached || err != nil && !errors.Is(err, errorfs.ErrInjected) {
		return reached, err
	}
	if s, err = open(fs, backend.SyncAlways); err != nil {
		return true, fmt.Errorf("open again: %w", err)
	}
	return true, errors.Join(h.outcome().lost(t, s), s.Close())
}
