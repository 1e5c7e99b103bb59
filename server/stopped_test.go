package server_test

import (
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"carillon/server"
)

// TestStoppedPartition takes the folder of one partition away under a server. What
// cannot be written stops that partition; the server says so wherever somebody asks, and
// takes no more points. A restart with the folder there again has all that was
// acknowledged.
func TestStoppedPartition(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	change := func(c *server.Config) { c.Data, c.SealEvery = data, time.Second }
	bound, stop := run(t, change)
	folder, aside := filepath.Join(data, "store", "000"), filepath.Join(data, "aside")
	if err := os.Rename(folder, aside); err != nil {
		t.Fatal(err)
	}
	end := time.Now().Truncate(time.Minute)
	random := rand.New(rand.NewPCG(1, 2))
	sendUntil(t, bound.URL, noise(end, random))

	deadline := time.Now().Add(patience)
	for code, answer := 0, ""; code != http.StatusServiceUnavailable || !strings.Contains(answer, "partition 0: "); {
		if time.Now().After(deadline) {
			t.Fatalf("nothing stops: %d %s", code, answer)
		}
		time.Sleep(50 * time.Millisecond) // as somebody does who asks again and again
		code, answer = get(t, bound.URL+"/-/healthy")
	}
	if code, answer, err := post(bound.URL, noise(end.Add(time.Second), random)); code != http.StatusServiceUnavailable || err != nil {
		t.Errorf("points are answered %d %s %v", code, answer, err)
	}
	if a := diskOf(t, bound.URL); len(a.Notices) == 0 || !strings.Contains(a.Notices[0], folder) {
		t.Errorf("the status says %q", a.Notices)
	}
	if err := stop(); err == nil || !strings.Contains(err.Error(), "partition 0") {
		t.Errorf("the end says %v", err)
	}

	if err := os.Rename(aside, folder); err != nil {
		t.Fatal(err)
	}
	bound, _ = run(t, change)
	if got := countOver(t, bound.URL, "2h", end); got != "36000" {
		t.Errorf("%s samples are there", got)
	}
}
