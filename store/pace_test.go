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
