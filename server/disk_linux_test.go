package server_test

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"carillon/require"
	"carillon/server"
)

// smallDisk mounts a file system of so many bytes. Only root may.
func smallDisk(t *testing.T, bytes int64) string {
	t.Helper()
	dir := t.TempDir()
	err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", bytes))
	require.Feature(t, "root", err == nil, fmt.Sprintf("a file system cannot be mounted: %v", err))
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// taken is what a folder takes of the disk, as du counts.
func taken(dir string) (bytes int64, err error) {
	err = filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		var stat unix.Stat_t
		if err == nil {
			err = unix.Lstat(path, &stat)
		}
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		bytes += stat.Blocks * 512
		return err
	})
	return bytes, err
}

// watchTaken notes the most that a folder takes, until it is stopped.
func watchTaken(t *testing.T, dir string) (most *atomic.Int64, stop func()) {
	most = new(atomic.Int64)
	ended, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			bytes, err := taken(dir)
			if err != nil {
				t.Error(err)
			}
			most.Store(max(most.Load(), bytes))
			select {
			case <-ended:
				return
			case <-time.After(5 * time.Millisecond): // samples as often as it can afford to
			}
		}
	}()
	return most, func() { close(ended); <-stopped }
}

// TestDiskMax sends days of noise into little room. The cap holds at every moment; the
// finest tier loses its oldest days, and this is announced; what it lost is answered
// from the next tier, so that no sample is missing in a count over all.
func TestDiskMax(t *testing.T) {
	const limit = 56 << 20
	dir := smallDisk(t, 64<<20)
	data := filepath.Join(dir, "data")
	bound, stop := run(t, func(c *server.Config) {
		c.Data, c.DiskMax, c.SealEvery = data, limit, time.Second
	})
	most, stopWatching := watchTaken(t, data)
	random := rand.New(rand.NewPCG(1, 2))
	const hours = 5 * 24
	start := time.Now().Truncate(time.Hour).Add(-hours * time.Hour)
	for hour := range hours {
		sendUntil(t, bound.URL, noise(start.Add(time.Duration(hour+1)*time.Hour), random))
	}
	end := start.Add(hours * time.Hour)
	a := diskOf(t, bound.URL)
	if len(a.Disk.DroppedEarly) == 0 || a.Disk.DroppedEarly[0].Resolution != "10s" || a.Disk.DroppedEarly[0].Buckets == 0 {
		t.Fatalf("nothing was dropped: %+v", a)
	}
	if since := time.UnixMilli(a.Disk.DroppedEarly[0].KeptSince); !since.After(start) || since.After(end) {
		t.Errorf("kept since %v of %v to %v", since, start, end)
	}
	for path, want := range map[string]string{
		"/api/v1/status/rejects": "dropped_early", "/metrics": `carillon_tier_dropped_early_bytes_total{tier="10s"}`,
		"/api/v1/status": "kept since",
	} {
		if _, body := get(t, bound.URL+path); !strings.Contains(body, want) {
			t.Errorf("%s does not say %q", path, want)
		}
	}
	if got, want := countOver(t, bound.URL, fmt.Sprint(hours, "h"), end.Add(-time.Millisecond)), fmt.Sprint(noiseSeries*hours*360); got != want {
		t.Errorf("%s samples in all, not %s", got, want)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	stopWatching()
	t.Logf("at most %.1f of %d MiB; %+v", float64(most.Load())/(1<<20), limit>>20, a.Disk)
	if most.Load() > limit {
		t.Errorf("%d bytes were there, %d more than --disk-max", most.Load(), most.Load()-limit)
	}
}

// TestFullDisk fills the disk beside a server without a cap: points are refused with a
// reason, and taken again when there is room, without a restart; what was acknowledged
// is all there, before and after one.
func TestFullDisk(t *testing.T) {
	dir := smallDisk(t, 96<<20)
	data := filepath.Join(dir, "data")
	change := func(c *server.Config) { c.Data, c.SealEvery = data, time.Second }
	bound, stop := run(t, change)
	random := rand.New(rand.NewPCG(1, 2))
	start := time.Now().Truncate(time.Hour).Add(-40 * time.Hour)
	hours := 0
	send := func() []byte {
		hours++
		return noise(start.Add(time.Duration(hours)*time.Hour), random)
	}
	for range 5 {
		sendUntil(t, bound.URL, send())
	}
	for range 3 {
		filler := filepath.Join(dir, "filler")
		fill(t, filler)
		body := send()
		deadline := time.Now().Add(patience)
		for code, answer := 0, ""; code != http.StatusServiceUnavailable || !strings.Contains(answer, "full"); {
			if code == http.StatusNoContent {
				body = send()
			}
			if time.Now().After(deadline) {
				t.Fatalf("on a full disk: %d %s", code, answer)
			}
			var err error
			if code, answer, err = post(bound.URL, body); err != nil {
				t.Fatal(err)
			}
		}
		if a := diskOf(t, bound.URL); a.Disk.Full == "" {
			t.Errorf("status says nothing of it: %+v", a)
		}
		if err := os.Remove(filler); err != nil {
			t.Fatal(err)
		}
		sendUntil(t, bound.URL, body)
	}
	check := func() {
		t.Helper()
		got := countOver(t, bound.URL, "41h", start.Add(40*time.Hour))
		if want := fmt.Sprint(noiseSeries * hours * 360); got != want {
			t.Errorf("%s samples are there, %s were acknowledged", got, want)
		}
	}
	check()
	if err := stop(); err != nil {
		t.Error(err)
	}
	bound, _ = run(t, change)
	check()
}

// fill writes a file until the disk is full.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	block := make([]byte, 64<<10)
	for {
		if _, err := f.Write(block); errors.Is(err, unix.ENOSPC) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
	}
}
