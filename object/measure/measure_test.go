package measure

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"testing"
)

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// TestMain makes this binary a node where the test below starts it as one.
func TestMain(m *testing.M) {
	if verb := NodeVerb(); len(os.Args) == 2+len(verb) && os.Args[1] == verb[0] && os.Args[2] == verb[1] {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		defer stop()
		if err := ServeNode(ctx, os.Args[3], quiet()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// TestRun: every stage gives its figures at a scale of seconds. That of faults needs all of the command line: the tests of
// cmd/carillon run it.
func TestRun(t *testing.T) {
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var missing []string
	figures, err := Run(t.Context(), Config{
		Dir: t.TempDir(), Command: []string{executable}, Peers: Peers(), Seed: 1, Logger: quiet(),
		Stages: slices.DeleteFunc(Stages(), func(stage string) bool { return stage == "faults" }),
		Scale: Scale{
			Writes:  Writes{Turns: 1, Files: 20, Packed: 200},
			Joined:  1000,
			Cluster: Cluster{Turns: 1, Objects: 40},
			Serve:   Serve{Turns: 1, Small: 1000, Large: 1},
		},
		Progress: func(string, uint64, uint64) {},
		Missing:  func(peer string) { missing = append(missing, peer) },
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"object.pack_ratio", "object.sync_ratio", "object.moved_ratio", "object.cluster_ratio"}
	if len(missing) == 0 {
		want = append(want, "object.get10k_ratio", "object.get64m_ratio")
	}
	var got []string
	for _, f := range figures {
		got = append(got, f.ID)
		t.Logf("%s %.3g %s (%s)", f.ID, f.Value, f.Unit, f.Note)
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestBadConfig(t *testing.T) {
	for _, c := range []Config{{Stages: []string{"none"}}, {Peers: []string{"none"}}} {
		if _, err := Run(t.Context(), c); err == nil {
			t.Errorf("%+v is taken", c)
		}
	}
}
