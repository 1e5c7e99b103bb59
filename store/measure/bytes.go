package measure

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"carillon/bucket"
	"carillon/figure"
	"carillon/peer"
)

// Units of figures.
const (
	ratio     = "x"
	perPoint  = "B/point"
	megabytes = "MB/counter"
	bytesUnit = "B"
	seconds   = "s"
)

// bytes is what a point takes: in the files of the finest tier after everything that is due
// to be merged was, and in those of VictoriaMetrics after it was asked to merge all.
func (r *run) bytes(ctx context.Context) ([]figure.Figure, error) {
	p := r.Scale.Bytes
	m := mix{seed: r.Seed, start: beginning}
	ours, err := r.ownBytes(ctx, m, p)
	if err != nil {
		return nil, err
	}
	note := fmt.Sprintf("%s, read back bit by bit; entropy %.2f", p, entropyBytes)
	figures := []figure.Figure{{ID: "store.bytes_per_point", Value: ours, Unit: perPoint, Better: figure.Lower, Goal: 1.20, Floor: 1.45, Note: note}}
	for _, name := range r.Peers {
		theirs, err := r.peerBytes(ctx, peer.Other(name), m, p)
		if err != nil {
			return figures, fmt.Errorf("%s: %w", name, err)
		}
		figures = append(figures, figure.Figure{
			ID: "store.bytes_vs_victoria", Value: ours / theirs, Unit: ratio, Better: figure.Lower, Goal: 0.65, Floor: 0.8,
			Note: fmt.Sprintf("%s %s, only the files of its points, merged by force", name, figure.Amount(theirs, perPoint)),
		})
	}
	return figures, nil
}

// ownBytes seals as a server does, every ten minutes. VictoriaMetrics is asked to merge all,
// so here the day of the points passes, and what is left of it is merged too.
func (r *run) ownBytes(ctx context.Context, m mix, p Population) (_ float64, err error) {
	s, closeStore, err := r.openOne("bytes", nil)
	if err != nil {
		return 0, err
	}
	defer closeStore(&err)
	if err := r.fill(ctx, s, m, p, "points into a store"); err != nil {
		return 0, err
	}
	s.now += (2 * day).Milliseconds()
	if err := s.settle(ctx); err != nil {
		return 0, err
	}
	if err := r.readBack(s, m, p); err != nil {
		return 0, err
	}
	return float64(s.Stats()[0].Bytes) / (float64(p.Series) * float64(p.Points)), nil
}

// fill seals all points of a population and waits until the files are final.
func (r *run) fill(ctx context.Context, s *fed, m mix, p Population, stage string) error {
	all := m.all(p.Series)
	for done := 0; done < p.Points; done += sealPoints {
		r.Progress(stage, uint64(done), uint64(p.Points))
		s.feed(all, min(sealPoints, p.Points-done))
		if err := s.seal(ctx); err != nil {
			return err
		}
	}
	r.Progress(stage, uint64(p.Points), uint64(p.Points))
	return s.settle(ctx)
}

// readBack fails unless the finest tier has every point of a population, and nothing else.
func (r *run) readBack(s *fed, m mix, p Population) error {
	view := s.View(nil, nil)
	defer view.Close()
	var got []bucket.Bucket
	for number := range uint32(p.Series) {
		var err error
		if got, err = view.Read(number, 0, math.MinInt64, math.MaxInt64, got[:0]); err != nil {
			return err
		}
		if len(got) != p.Points {
			return fmt.Errorf("series %d has %d points of %d: %w", number, len(got), p.Points, ErrWrongAnswer)
		}
		want := m.points(number)
		for i := range got {
			if time, value := want.next(); !isPoint(&got[i], time, value) {
				return fmt.Errorf("series %d: %+v instead of %v at %d: %w", number, got[i], value, time, ErrWrongAnswer)
			}
		}
	}
	return nil
}

// peerBytes is what a point takes in a peer that was sent the same.
func (r *run) peerBytes(ctx context.Context, p *peer.Peer, m mix, population Population) (_ float64, err error) {
	dir, done, err := peer.Scratch(r.Dir)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, done()) }()
	s, err := p.Start(ctx, dir)
	if err != nil {
		return 0, err
	}
	defer s.Kill()
	all := m.all(population.Series)
	title := "the same to " + p.Name
	const together = 200 // series
	for from := 0; from < len(all); from += together {
		r.Progress(title, uint64(from), uint64(len(all)))
		if err := send(ctx, s, numbered(from, min(from+together, len(all))), all, population.Points); err != nil {
			return 0, err
		}
	}
	r.Progress(title, uint64(len(all)), uint64(len(all)))
	if err := mergeVictoria(ctx, s); err != nil {
		return 0, err
	}
	points := population.Series * population.Points
	if err := expectPoints(ctx, s, m, population); err != nil {
		return 0, err
	}
	bytes, err := sizeBelow(filepath.Join(s.Data, "data"))
	return float64(bytes) / float64(points), err
}

// numbered is the series in [from, to).
func numbered(from, to int) []uint32 {
	numbers := make([]uint32, 0, to-from)
	for number := from; number < to; number++ {
		numbers = append(numbers, uint32(number))
	}
	return numbers
}

const (
	senders    = 4
	perRequest = 10_000 // points
)

// send sends the next n points of some series, and returns when all are acknowledged.
func send(ctx context.Context, s *peer.Process, numbers []uint32, all []points, n int) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(senders)
	each := max(1, perRequest/n)
	for len(numbers) > 0 {
		part := numbers[:min(each, len(numbers))]
		numbers = numbers[len(part):]
		group.Go(func() error {
			b, err := body(part, all, n)
			if err != nil {
				return err
			}
			return s.Write(ctx, http.DefaultClient, b)
		})
	}
	return group.Wait()
}

// mergeVictoria has VictoriaMetrics write and merge all it has, and waits for that.
func mergeVictoria(ctx context.Context, s *peer.Process) error {
	for _, path := range []string{"/internal/force_flush", "/internal/force_merge"} {
		if _, err := s.Get(ctx, path); err != nil {
			return err
		}
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		text, err := s.Get(ctx, "/metrics")
		if err != nil {
			return err
		}
		if strings.Contains(string(text), "\nvm_active_force_merges 0\n") {
			return s.Settle(ctx, mergeSettles)
		}
	}
}

// mergeSettles is how long, at most, a peer's other work may take after merging.
const mergeSettles = 5 * time.Second

// expectPoints fails unless a server has as many points as were sent.
func expectPoints(ctx context.Context, s *peer.Process, m mix, p Population) error {
	var got float64
	// A window has its end, and not its beginning: so it ends before where a next point could be.
	end := time.UnixMilli(m.start + int64(p.Points)*step - 1)
	for _, name := range mixNames {
		results, err := s.Query(ctx, end, fmt.Sprintf("sum(count_over_time(%s[%ds]))", name, p.Points*step/1000))
		if err != nil {
			return err
		}
		for _, one := range results {
			got += one.Value.Value
		}
	}
	if want := float64(p.Series * p.Points); got != want {
		return fmt.Errorf("%s has %.0f points, sent were %.0f: %w", s.Peer.Name, got, want, ErrWrongAnswer)
	}
	return nil
}

// sizeBelow is the length of all files below a folder.
func sizeBelow(dir string) (bytes int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		bytes += info.Size()
		return nil
	})
	return bytes, err
}
