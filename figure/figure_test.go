package figure

import (
	"strings"
	"testing"
)

func some() []Figure {
	return []Figure{
		{ID: "a.rate", Value: 12.5e6, Unit: "points/s", Better: Higher, Goal: 12e6, Floor: 6e6, Note: "one thread"},
		{ID: "a.ratio", Value: 0.2, Unit: "x", Better: Lower, Goal: 1. / 7, Floor: 0.25},
		{ID: "a.lost", Value: 0, Unit: "points", Better: Lower},
		{ID: "a.size", Value: 2.5e9, Unit: "B"},
	}
}

func TestTable(t *testing.T) {
	var b strings.Builder
	if err := Table(&b, some()); err != nil {
		t.Fatal(err)
	}
	want := `
FIGURE   VALUE            GOAL           FLOOR                    NOTE
a.rate   12.5 M points/s  12 M points/s  6 M points/s  goal met   one thread
a.ratio  0.2 x            0.1429 x       0.25 x        floor met
a.lost   0 points         0 points       0 points      goal met
a.size   2.5 G B
`
	got := "\n"
	for line := range strings.Lines(b.String()) {
		got += strings.TrimRight(line, " \n") + "\n"
	}
	if got != want {
		t.Errorf("got %s", got)
	}
}

func TestJSON(t *testing.T) {
	var b strings.Builder
	if err := JSON(&b, some()[1:3]); err != nil {
		t.Fatal(err)
	}
	want := `{"figure":"a.ratio","value":0.2,"unit":"x"}
{"figure":"a.lost","value":0,"unit":"points"}
`
	if b.String() != want {
		t.Errorf("got %s", b.String())
	}
}

func TestVerdict(t *testing.T) {
	for _, c := range []struct {
		better             Direction
		value, goal, floor float64
		want               string
	}{
		{Higher, 10, 10, 5, "goal met"},
		{Higher, 9, 10, 5, "floor met"},
		{Higher, 4, 10, 5, "FLOOR MISSED"},
		{Lower, 5, 5, 10, "goal met"},
		{Lower, 9, 5, 10, "floor met"},
		{Lower, 11, 5, 10, "FLOOR MISSED"},
		{Lower, 1, 0, 0, "FLOOR MISSED"},
		{Unranked, 1, 0, 0, ""},
	} {
		if got := (Figure{Value: c.value, Better: c.better, Goal: c.goal, Floor: c.floor}).Verdict(); got != c.want {
			t.Errorf("%+v: got %q", c, got)
		}
	}
}
