package store

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"pgregory.net/rapid"

	"carillon/bucket"
)

var errCap = fmt.Errorf("the cap is reached: %w", syscall.ENOSPC)

// cap is a Room of so many bytes for page files, that looks at each step whether what
// is there is more.
type capped struct {
	fs    *memFS
	limit int64

	mu       sync.Mutex
	reserved int64
	spare    int64 // to be left free by what can wait
	worst    int64
}

func (c *capped) Reserve(bytes int64) error { return c.reserve(bytes, 0) }

func (c *capped) ReserveSpare(bytes int64) error { return c.reserve(bytes, c.spare) }

func (c *capped) reserve(bytes, spare int64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	there := c.fs.pageBytes()
	c.worst = max(c.worst, there)
	if there+c.reserved+bytes+spare > c.limit {
		return errCap
	}
	c.reserved += bytes
	return nil
}

func (c *capped) Settle(reserved, _ int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reserved -= reserved
}

// pageBytes is the size of all page files, live or not.
func (m *memFS) pageBytes() (bytes int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for name, node := range m.names {
		if strings.HasSuffix(name, pagesSuffix) {
			bytes += int64(len(node.data))
		}
	}
	return bytes
}

// TestCap: a long history in little room. The cap holds at every moment; what goes is
// the oldest of the finest tier, then of the next one; the coarser tiers have what the
// finest one has lost; and what is read is what was added, back to the horizons.
func TestCap(t *testing.T) {
	tiers := testTiers(t, "10s:10d,1m:20d,10m:100d")
	fs := newMemFS()
	room := &capped{fs: fs, limit: 1 << 20, spare: 20 << 10}
	config := testConfig(fs, tiers)
	config.Room = room
	s, err := newStore(config)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stop(s) }()
	m := newNaive(tiers)
	h := capHistory{t: t, store: s, model: m}
	for seal := range int64(300) {
		h.seal(seal)
	}
	if room.worst > room.limit {
		t.Errorf("%d bytes were there, the cap is %d", room.worst, room.limit)
	}
	dropped, horizons := s.Dropped(), s.Horizons()
	if dropped[0].Files == 0 || dropped[0].Bytes == 0 || dropped[0].Buckets == 0 || dropped[0].Before != horizons[0] {
		t.Errorf("dropped %+v, horizon %d", dropped, horizons[0])
	}
	if err := m.differs(s, nil, math.MinInt64, math.MaxInt64); err != nil {
		t.Error(err)
	}
	if horizons[0] <= horizons[2] {
		t.Errorf("the finest tier begins at %d, the coarsest at %d", horizons[0], horizons[2])
	}
}

type capHistory struct {
	t     *testing.T
	store *Store
	model *naive
}

// seal adds an hour of noise, and drops until that is sealed.
func (h *capHistory) seal(seal int64) {
	now := scriptStart + seal*hour
	for number := range uint32(6) {
		for i := range int64(360) {
			at := now - hour + i*10*second
			b := bucket.Of(at, float64((at/1000*2_654_435_761+int64(number)*40_503)%1_000_003)/8) // sums are exact
			h.store.Add(number, &b)
			h.model.add(number, b)
		}
	}
	if err := h.store.Seal(now, uint64(seal+1), none); err != nil {
		h.t.Fatal(err)
	}
	drive(h.store)
	for try := int64(1); h.store.Sealed() != uint64(seal+1); try++ {
		if try > 10 || h.store.Err() != nil {
			h.t.Fatalf("seal %d: %v, %v", seal, h.store.Err(), h.store.Work().Waiting)
		}
		h.drop(now)
		h.store.Maintain(now + try*retryAfter)
		drive(h.store)
	}
}

func (h *capHistory) drop(now int64) {
	const wanted = reserveBytes + 60<<10
	for tier := range h.store.config.Tiers {
		ages, going := h.store.Ages(tier)
		before, frees := PlanDrop(ages, h.store.config.beat(), wanted-going, now)
		if frees == 0 {
			continue
		}
		h.store.DropBefore(tier, before, now)
		return
	}
}

// TestPlanDrop: what is planned to go is the oldest, is enough if there is enough, and
// no step less would be.
func TestPlanDrop(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const beat = 100
		var ages []Aged
		for range rapid.IntRange(0, 8).Draw(t, "files") {
			ages = append(ages, Aged{rapid.Int64Range(0, 1000).Draw(t, "last"), rapid.Int64Range(1, 50).Draw(t, "bytes")})
		}
		bytes := rapid.Int64Range(1, 100).Draw(t, "wanted")
		latest := rapid.Int64Range(0, 12).Draw(t, "latest") * beat
		freed := func(before int64) (sum int64) {
			for _, f := range ages {
				if f.Last < before {
					sum += f.Bytes
				}
			}
			return sum
		}
		before, frees := PlanDrop(slices.Clone(ages), beat, bytes, latest)
		switch {
		case before%beat != 0 || before > latest:
			t.Fatalf("before %d", before)
		case frees != freed(before):
			t.Fatalf("frees %d, not %d", frees, freed(before))
		case frees < bytes && freed(latest) > frees:
			t.Fatalf("frees %d of %d, but %d could go", frees, bytes, freed(latest))
		case frees > 0 && freed(before-beat) >= bytes:
			t.Fatalf("a beat less would free %d, and %d are wanted", freed(before-beat), bytes)
		}
	})
}

// TestMergingWaitsForRoom: files are merged only when there is room beside them.
func TestMergingWaitsForRoom(t *testing.T) {
	fs := newMemFS()
	room := &capped{fs: fs, limit: math.MaxInt64 / 2, spare: math.MaxInt64}
	config := testConfig(fs, testTiers(t, "10s:1d"))
	config.Room, room.spare = room, math.MaxInt64/2
	s, err := newStore(config)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stop(s) }()
	for seal := range uint64(3) {
		for i := range int64(fullStrip / 2) {
			s.AddSamples([]uint32{0}, []int64{noon + (int64(seal)*fullStrip/2+i)*10*second}, []float64{1})
		}
		if err := s.Seal(scriptStart, seal+1, none); err != nil {
			t.Fatal(err)
		}
		drive(s)
	}
	if work := s.Work(); work.MergeWants == 0 || s.Stats()[0].Files != 3 || s.Err() != nil {
		t.Errorf("without room: %+v, %d files, %v", work, s.Stats()[0].Files, s.Err())
	}
	room.spare = 0
	s.Maintain(scriptStart)
	drive(s)
	if work := s.Work(); work.MergeWants != 0 || s.Stats()[0].Files != 1 || room.reserved != 0 {
		t.Errorf("with room: %+v, %d files, %d bytes reserved", work, s.Stats()[0].Files, room.reserved)
	}
}

// TestOutOfRoom: an error of syncing is final even if it says that the disk is full.
func TestOutOfRoom(t *testing.T) {
	for _, c := range []struct {
		err  error
		want bool
	}{
		{syscall.ENOSPC, true}, {fmt.Errorf("writing: %w", syscall.EDQUOT), true}, {syscall.EIO, false},
		{fmt.Errorf("sealing: %w", markSync(syscall.ENOSPC)), false}, {errors.Join(errCap, markSync(syscall.EIO)), false}, {nil, false},
	} {
		if got := outOfRoom(c.err); got != c.want {
			t.Errorf("%v: %v", c.err, got)
		}
	}
}
