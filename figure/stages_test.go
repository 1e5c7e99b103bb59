package figure

import (
	"context"
	"errors"
	"strings"
	"testing"
)

func TestStages(t *testing.T) {
	ran := ""
	stage := func(name string, err error) Stage[*testing.T] {
		return Stage[*testing.T]{Name: name, Run: func(*testing.T, context.Context) ([]Figure, error) {
			ran += name
			return []Figure{{ID: name}}, err
		}}
	}
	broken := errors.New("broken")
	stages := Stages[*testing.T]{stage("a", nil), stage("b", broken), stage("c", nil)}
	figures, err := stages.Run(t.Context(), t, nil)
	if ran != "abc" || len(figures) != 3 || !errors.Is(err, broken) || !strings.Contains(err.Error(), "measure b") {
		t.Errorf("ran %q, %d figures, %v", ran, len(figures), err)
	}
	ran = ""
	if figures, err := stages.Run(t.Context(), t, []string{"c", "a"}); ran != "ac" || len(figures) != 2 || err != nil {
		t.Errorf("ran %q, %d figures, %v", ran, len(figures), err)
	}
	if stages.Check([]string{"a", "c"}) != nil || stages.Check([]string{"a", "d"}) == nil {
		t.Error("names are not checked")
	}
	ended, end := context.WithCancel(t.Context())
	end()
	ran = ""
	if _, err := stages.Run(ended, t, nil); ran != "a" || !errors.Is(err, context.Canceled) {
		t.Errorf("ran %q after the end, %v", ran, err)
	}
}
