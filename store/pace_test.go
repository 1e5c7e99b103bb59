package store

import (
	"testing"
	"time"
)

// TestPacer: work that can wait takes all of an idle core, a fifth of a busy one, and
// all of it again when somebody waits for its end.
func TestPacer(t *testing.T) {
	const second = time.Second
	for _, c := range []struct {
		name   string
		others time.Duration // that they take at each offer
		hurry  bool
		least  time.Duration // of work in a second
		most   time.Duration
	}{
		{"idle", time.Microsecond, false, 990 * time.Millisecond, second},
		{"busy", paceBusy, false, 100 * time.Millisecond, second / 4},
		{"hurry", paceBusy, true, 700 * time.Millisecond, second},
	} {
		clock := time.Unix(0, 0)
		pass := func(d time.Duration) { clock = clock.Add(d) }
		p := pacer{now: func() time.Time { return clock }, yield: func() { pass(c.others) }, sleep: pass, begun: clock}
		var worked time.Duration
		for clock.Before(time.Unix(1, 0)) {
			pass(10 * time.Microsecond)
			worked += 10 * time.Microsecond
			p.step(func() bool { return c.hurry })
		}
		if worked < c.least || worked > c.most {
			t.Errorf("%s: worked %s of a second", c.name, worked)
		}
	}
}

// TestPassIsPaced: a seal on busy cores leaves them to others most of the time, but not
// for long.
func TestPassIsPaced(t *testing.T) {
	s, err := newStore(testConfig(newMemFS(), testTiers(t, "10s:1d")))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stop(s) }()
	clock := time.Unix(0, 0)
	var slept time.Duration
	s.worker.pace = pacer{
		now:   func() time.Time { clock = clock.Add(paceSlice / 4); return clock },
		yield: func() { clock = clock.Add(paceBusy) },
		sleep: func(d time.Duration) { clock, slept = clock.Add(d), slept+d },
	}
	const numbers = 100_000
	for number := range uint32(numbers) {
		s.AddSamples([]uint32{number}, []int64{noon}, []float64{1})
	}
	began := clock
	if err := s.Seal(noon, 1, none); err != nil {
		t.Fatal(err)
	}
	drive(s)
	if lasted := clock.Sub(began); slept < passPatience*6/10 || slept > passPatience || lasted < numbers*paceSlice/4 {
		t.Errorf("slept %v of %v", slept, lasted)
	}
}
