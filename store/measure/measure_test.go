package measure

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"testing"

	"carillon/peer"
	"carillon/store"
)

// What needs a server of this build is tested in cmd/carillon.

func TestRunRefusesAndLeavesOut(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	tiny := Population{Series: perHost, Points: 130}
	config := func() Config {
		return Config{
			Dir: t.TempDir(), Command: []string{"/absent"}, Seed: 1, Logger: slog.New(slog.DiscardHandler), Progress: func(string, uint64, uint64) {},
			Scale: Scale{Bytes: tiny, Query: Dashboard{Hosts: 1, Rounds: 1}},
		}
	}
	var missing []string
	c := config()
	c.Peers, c.Stages, c.Missing = Peers(), []string{"bytes"}, func(peer string) { missing = append(missing, peer) }
	figures, err := Run(t.Context(), c)
	if err != nil || len(figures) != 1 || figures[0].ID != "store.bytes_per_point" || len(missing) != len(Peers()) {
		t.Errorf("got %+v, %v; missing %q", figures, err, missing)
	}
	for want, change := range map[string]func(*Config){
		`no stage "x"`:                  func(c *Config) { c.Stages = []string{"bytes", "x"} },
		`no peer "x"`:                   func(c *Config) { c.Peers = []string{"x"} },
		"measure query: carillon: star": func(c *Config) { c.Stages = []string{"query"} },
	} {
		c := config()
		change(&c)
		if _, err := Run(t.Context(), c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want something with %s", err, want)
		}
	}
}

// TestMix holds the points to what the mix is said to be, and to being the same again.
func TestMix(t *testing.T) {
	m := mix{seed: 7, start: beginning}
	for number := range uint32(perHost) {
		p, again := m.points(number), m.points(number)
		at, before := p.next()
		again.next()
		for range 1000 {
			time, value := p.next()
			if t2, v2 := again.next(); t2 != time || v2 != value {
				t.Fatalf("series %d: %v at %d, and then %v at %d", number, value, time, v2, t2)
			}
			rise := math.Round((value - before) * 100)
			switch {
			case time-at != step:
				t.Fatalf("series %d: %d ms after the point before", number, time-at)
			case number < 4 && (rise < 0 || rise >= 100*counterRise),
				number >= 4 && number < 7 && math.Abs(rise) > walkStep,
				(number == 7 || number == 8) && rise != 0,
				number == 9 && (value < 0 || value >= 100):
				t.Fatalf("series %d: %v follows %v", number, value, before)
			}
			at, before = time, value
		}
	}
}

// TestReadBackSeesWhatIsWrong makes sure that a figure cannot come from a store that
// has something else than it was given.
func TestReadBackSeesWhatIsWrong(t *testing.T) {
	r := &run{Config{Dir: t.TempDir(), Logger: slog.New(slog.DiscardHandler), Progress: func(string, uint64, uint64) {}}}
	m, p := mix{seed: 1, start: beginning}, Population{Series: perHost, Points: 200}
	s, closeStore, err := r.openOne("store", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if closeStore(&err); err != nil {
			t.Error(err)
		}
	}()
	if err := r.fill(t.Context(), s, m, p, "points"); err != nil {
		t.Fatal(err)
	}
	if err := r.readBack(s, m, p); err != nil {
		t.Error(err)
	}
	for _, wrong := range []struct {
		m mix
		p Population
	}{
		{mix{seed: 2, start: beginning}, p},
		{m, Population{p.Series, p.Points + 1}},
		{m, Population{p.Series + 1, p.Points}},
	} {
		if err := r.readBack(s, wrong.m, wrong.p); !errors.Is(err, ErrWrongAnswer) {
			t.Errorf("%+v: got %v", wrong, err)
		}
	}
}

// TestRolledIsWhatTheStoreMakes compares the definition of tiers with what a store has.
func TestRolledIsWhatTheStoreMakes(t *testing.T) {
	r := &run{Config{Dir: t.TempDir(), Logger: slog.New(slog.DiscardHandler), Progress: func(string, uint64, uint64) {}}}
	m, a := mix{seed: 1, start: beginning}, Age{Series: perHost + 1, Lasts: 12 * sealAged}
	s, closeStore, err := r.openOne("store", unsynced{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if closeStore(&err); err != nil {
			t.Error(err)
		}
	}()
	if err := r.age(t.Context(), s, m, a); err != nil {
		t.Fatal(err)
	}
	if err := r.checkTiers(s, m, a); err != nil {
		t.Error(err)
	}
	for _, wrong := range []Age{{a.Series, a.Lasts - sealAged}, {a.Series + 1, a.Lasts}} {
		if err := r.checkTiers(s, m, wrong); !errors.Is(err, ErrWrongAnswer) {
			t.Errorf("%+v: got %v", wrong, err)
		}
	}
}

func TestSameAnswer(t *testing.T) {
	answer := func(key string, at, value float64) map[string][]peer.Sample {
		return map[string][]peer.Sample{key: {{Time: 10, Value: 3}, {Time: at, Value: value}}}
	}
	a := answer("host=web", 20, 1000)
	for _, same := range []struct {
		tolerance, value float64
	}{{0, 1000}, {1e-6, 1000.001}} {
		if err := sameAnswer(a, answer("host=web", 20, same.value), same.tolerance); err != nil {
			t.Error(err)
		}
	}
	for name, other := range map[string]map[string][]peer.Sample{
		"value": answer("host=web", 20, 1000.01), "NaN": answer("host=web", 20, math.NaN()), "time": answer("host=web", 30, 1000),
		"key": answer("host=db", 20, 1000), "nothing": {}, "shorter": {"host=web": a["host=web"][:1]},
	} {
		if err := sameAnswer(a, other, 1e-6); !errors.Is(err, ErrWrongAnswer) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	labels := map[string]string{"b": "2", "a": "1"}
	if got := fmt.Sprint(byLabels([]peer.Result{{Metric: labels}})); got != "map[a=1,b=2:[]]" {
		t.Error(got)
	}
}

func TestScales(t *testing.T) {
	for _, s := range []Scale{Full(), Quick()} {
		if s.Counter.Lasts%sealAged != 0 {
			t.Errorf("%s is no multiple of %s", s.Counter.Lasts, sealAged)
		}
		if s.Background.Series%partitions != 0 {
			t.Errorf("%d series cannot be divided", s.Background.Series)
		}
	}
	if tiers, err := store.ParseTiers(store.DefaultTiers); err != nil || tiers[len(tiers)-1].Retention != fullAge {
		t.Errorf("full age is %s, the default tiers are %v", fullAge, tiers)
	}
}
