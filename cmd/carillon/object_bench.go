package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"carillon/object"
	"carillon/object/replica"
)

// objectSequences is what the verb bench stores and loads.
type objectSequences struct {
	sizes   []string
	objects int // of a size, at most
	workers int
	total   int64 // bytes of a size, at most, but for one object
	prefix  string
	seed    uint64
}

func objectBench(client *objectClient) *cobra.Command {
	s := objectSequences{total: 64 << 20}
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Store and load sequences of objects of many sizes, and compare checksums",
		Long: `Store objects of generated contents, a size after the other, load them again, compare what comes with what was
stored, and delete them. It says how fast this cluster is for this client; nothing else of the cluster's is
touched. The exit status is 1 if a content is wrong. carillon bench object measures this build itself.`,
		Example: `  carillon object bench
  carillon object bench --sizes 0,10KB,1GB --workers 32 --server-copies --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if s.objects < 1 || s.workers < 1 || len(s.sizes) == 0 {
				return fmt.Errorf("--objects %d, --workers %d, %d sizes: want 1 or more", s.objects, s.workers, len(s.sizes))
			}
			return client.do(cmd, func(c *objectCall) error { return c.bench(s) })
		},
	}
	cmd.Flags().StringSliceVar(&s.sizes, "sizes", []string{"0", "1", "100", "1KB", "10KB", "100KB", "1MB", "10MB"}, "of the objects, a sequence each")
	cmd.Flags().IntVar(&s.objects, "objects", 1000, "most objects of a size")
	cmd.Flags().Var((*sizeFlag)(&s.total), "total", "most bytes of a size, unless one object is larger")
	cmd.Flags().IntVar(&s.workers, "workers", 16, "how many store or load at once")
	cmd.Flags().StringVar(&s.prefix, "prefix", "carillon-bench/", "what the names begin with, before a number of this run")
	cmd.Flags().Uint64Var(&s.seed, "seed", 1, "of the contents")
	return cmd
}

// objectBenched is what came of a sequence.
type objectBenched struct {
	Size    int64   `json:"size"` // bytes of an object
	Objects int     `json:"objects"`
	Puts    float64 `json:"puts"` // a second
	Gets    float64 `json:"gets"`
	Wrong   int     `json:"wrong"` // contents that are not those that were stored
}

func (c *objectCall) bench(s objectSequences) error {
	s.prefix = fmt.Sprintf("%s%016x/", s.prefix, rand.Uint64())
	results, wrong := []objectBenched{}, 0
	for _, text := range s.sizes {
		var size sizeFlag
		err := size.Set(text)
		if err == nil {
			var b objectBenched
			b, err = c.benchSize(s, int64(size))
			results, wrong = append(results, b), wrong+b.Wrong
		}
		if err != nil {
			return fmt.Errorf("objects of %s: %w", text, err)
		}
	}
	if err := c.show(results, func(w io.Writer) {
		fmt.Fprintln(w, "size\tobjects\tputs/s\tput\tgets/s\tget\twrong")
		for _, b := range results {
			rate := func(objects float64) string { return byteSize(int64(objects*float64(b.Size))) + "/s" }
			fmt.Fprintf(w, "%s\t%d\t%.0f\t%s\t%.0f\t%s\t%d\n", byteSize(b.Size), b.Objects, b.Puts, rate(b.Puts), b.Gets, rate(b.Gets), b.Wrong)
		}
	}); err != nil {
		return err
	}
	if wrong > 0 {
		return fmt.Errorf("%d contents are not those that were stored", wrong)
	}
	return nil
}

// benchSize stores, loads and deletes a sequence, the latter also if it was interrupted.
func (c *objectCall) benchSize(s objectSequences, size int64) (b objectBenched, err error) {
	b = objectBenched{Size: size, Objects: s.objects}
	if size > 0 {
		b.Objects = int(min(int64(s.objects), max(1, s.total/size)))
	}
	name := func(i int) string { return fmt.Sprintf("%s%d/%d", s.prefix, size, i) }
	sums := make([]object.Sum, b.Objects)
	for i := range sums { // before the clock starts
		summer := object.NewSummer()
		if _, err := io.Copy(summer, s.content(size, i)); err != nil {
			return b, err
		}
		sums[i] = summer.Sum()
	}
	defer func() {
		_, deleted := c.each(context.WithoutCancel(c.ctx), s.workers, b.Objects, "deleting", func(ctx context.Context, i int) error {
			_, err := c.coordinator.Delete(ctx, name(i))
			return err
		})
		err = errors.Join(err, deleted)
	}()
	if b.Puts, err = c.each(c.ctx, s.workers, b.Objects, "storing", func(ctx context.Context, i int) error {
		_, err := c.coordinator.Put(ctx, name(i), replica.Source{Size: size, Open: func() (io.ReadCloser, error) { return io.NopCloser(s.content(size, i)), nil }})
		return err
	}); err != nil {
		return b, err
	}
	var wrong atomic.Int64
	b.Gets, err = c.each(c.ctx, s.workers, b.Objects, "loading", func(ctx context.Context, i int) error {
		sum, err := c.load(ctx, name(i))
		if errors.Is(err, object.ErrDamaged) || err == nil && sum != sums[i] {
			wrong.Add(1)
			return nil
		}
		return err
	})
	b.Wrong = int(wrong.Load())
	return b, err
}

// content is that of the ith object of a size.
func (s *objectSequences) content(size int64, i int) io.Reader {
	var seed [32]byte
	for at, word := range []uint64{s.seed, uint64(size), uint64(i)} {
		binary.LittleEndian.PutUint64(seed[8*at:], word)
	}
	return io.LimitReader(rand.NewChaCha8(seed), size)
}

// load reads an object and returns the checksum of what came.
func (c *objectCall) load(ctx context.Context, name string) (object.Sum, error) {
	body, err := c.coordinator.Get(ctx, name, replica.Newest, object.Get{})
	if err != nil {
		return object.Sum{}, err
	}
	summer := object.NewSummer()
	_, err = io.Copy(summer, body)
	return summer.Sum(), errors.Join(err, body.Close())
}

// each does something n times by so many workers, and returns how often a second.
func (c *objectCall) each(ctx context.Context, workers, n int, what string, do func(ctx context.Context, i int) error) (perSecond float64, err error) {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(workers)
	begun := time.Now()
	for i := range n {
		if ctx.Err() != nil {
			break
		}
		c.progress.update(what, uint64(i+1), uint64(n))
		group.Go(func() error { return do(ctx, i) })
	}
	err = group.Wait()
	return float64(n) / time.Since(begun).Seconds(), err
}
