package measure

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"carillon/figure"
	"carillon/object"
	"carillon/object/backend"
	"carillon/object/file"
	"carillon/object/pack"
	"carillon/peer"
)

// Writes is how many objects are written in a turn, to a store that keeps a file an object and to packs. Those to packs are of several
// checkpoints, which all of them pay for.
type Writes struct{ Turns, Files, Packed int }

const writers = 32

// contestant is a store whose writes are timed.
type contestant struct {
	store   object.Store
	objects int       // a turn
	next    int       // number of the first object of the next turn
	spent   []float64 // seconds an object, by turn
}

// writes times three stores in turns, so that whatever else the machine does falls on all of them.
func (r *run) writes(ctx context.Context) (figures []figure.Figure, err error) {
	dir, done, err := peer.Scratch(r.Dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, done()) }()
	scale := r.Scale.Writes
	files, err := file.Open(file.Config{Dir: filepath.Join(dir, "file"), Logger: r.Logger})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, files.Close()) }()
	always, err := pack.Open(pack.Config{Dir: filepath.Join(dir, "always"), Logger: r.Logger})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, always.Close()) }()
	none, err := pack.Open(pack.Config{Dir: filepath.Join(dir, "none"), Sync: backend.SyncNone, Logger: r.Logger})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, none.Close()) }()
	contestants := []*contestant{{store: files, objects: scale.Files}, {store: always, objects: scale.Packed}, {store: none, objects: scale.Packed}}
	content := r.content(0, objectBytes)
	for turn := range scale.Turns + 1 {
		r.Progress("writes", uint64(turn), uint64(scale.Turns+1))
		for _, c := range contestants {
			if err := c.turn(ctx, content); err != nil {
				return nil, err
			}
			// What one leaves to be written back later shall not be charged to the next.
			if err := syncFilesystem(dir); err != nil {
				return nil, err
			}
		}
	}
	for _, c := range contestants {
		c.spent = c.spent[1:] // the first turn has made files and grown memory
		if err := c.verify(ctx, content); err != nil {
			return nil, err
		}
	}
	packRatio := median(ratios(contestants[0].spent, contestants[1].spent))
	syncRatio := median(ratios(contestants[2].spent, contestants[1].spent))
	rates := fmt.Sprintf("objects/s: file %.0f, pack %.0f, without sync %.0f",
		1/median(contestants[0].spent), 1/median(contestants[1].spent), 1/median(contestants[2].spent))
	return []figure.Figure{
		{ID: "object.pack_ratio", Value: packRatio, Unit: "x", Better: figure.Higher, Goal: 9, Floor: 6, Note: rates},
		{ID: "object.sync_ratio", Value: syncRatio, Unit: "x", Better: figure.Higher, Goal: 0.7, Floor: 0.5, Note: "always over none, 32 writers"},
	}, nil
}

func ratios(above, below []float64) []float64 {
	all := make([]float64, len(above))
	for i := range all {
		all[i] = above[i] / below[i]
	}
	return all
}

func nameOf(number int) string { return fmt.Sprintf("bench/%09d", number) }

// label makes contents differ that are not generated one by one.
func label(content []byte, number int) { copy(content, nameOf(number)) }

// turn writes the next objects and notes the time.
func (c *contestant) turn(ctx context.Context, content []byte) error {
	begun := time.Now()
	err := each(writers, c.objects, func() func(int) error {
		own := bytes.Clone(content)
		return func(i int) error {
			label(own, c.next+i)
			_, err := c.store.Put(ctx, nameOf(c.next+i), bytes.NewReader(own), object.Put{Version: version(), Size: int64(len(own))})
			return err
		}
	})
	c.spent = append(c.spent, time.Since(begun).Seconds()/float64(c.objects))
	c.next += c.objects
	return err
}

// verify reads back what the last turn has written.
func (c *contestant) verify(ctx context.Context, content []byte) error {
	return each(writers, c.objects, func() func(int) error {
		own := bytes.Clone(content)
		return func(i int) error {
			number := c.next - 1 - i
			label(own, number)
			body, err := c.store.Get(ctx, nameOf(number), object.Get{})
			if err != nil {
				return err
			}
			got, err := io.ReadAll(body)
			if err = errors.Join(err, body.Close()); err == nil && !bytes.Equal(got, own) {
				err = fmt.Errorf("%w: %s", ErrWrongAnswer, nameOf(number))
			}
			return err
		}
	})
}

// each calls what worker returns for all numbers below n, from so many goroutines, each with its own. It ends at the first error.
func each(workers, n int, worker func() func(int) error) error {
	var next atomic.Int64
	var failed atomic.Bool
	var mu sync.Mutex
	var first error
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			do := worker()
			for i := next.Add(1) - 1; i < int64(n) && !failed.Load(); i = next.Add(1) - 1 {
				if err := do(int(i)); err != nil {
					mu.Lock()
					first = errors.Join(first, err)
					mu.Unlock()
					failed.Store(true)
				}
			}
		})
	}
	all.Wait()
	return first
}
