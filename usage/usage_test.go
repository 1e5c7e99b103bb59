package usage

import (
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"testing"
	"time"
)

func TestThreadAndCPU(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before, err := CPU(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	const work = 50 * time.Millisecond
	for began := Thread(); Thread()-began < work; {
	}
	after, err := CPU(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if spent := after - before; spent < work {
		t.Errorf("the process used %s, its thread %s", spent, work)
	}
	for _, none := range []int{0, 1 << 22} { // Linux has no higher numbers than below the second
		if _, err := CPU(none); err == nil {
			t.Errorf("there is a process %d", none)
		}
	}
}

func TestPeakMemory(t *testing.T) {
	const size = 32 << 20
	memory := make([]byte, size)
	for i := 0; i < size; i += 4096 {
		memory[i] = 1
	}
	peak, err := PeakMemory(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if peak < size {
		t.Errorf("%d bytes at most, though %d are in use", peak, size)
	}
	runtime.KeepAlive(memory)
	memory = nil
	debug.FreeOSMemory()
	if err := ResetPeak(os.Getpid()); err != nil {
		t.Fatal(err)
	}
	now, err := Memory(os.Getpid())
	if err != nil || now > peak-size/2 {
		t.Errorf("%d bytes when %d of %d were given back: %v", now, size, peak, err)
	}
	if after, err := PeakMemory(os.Getpid()); err != nil || after > peak-size/2 {
		t.Errorf("a peak of %d bytes after it was reset, %d before: %v", after, peak, err)
	}
	if _, err := PeakMemory(0); err == nil {
		t.Error("there is a process 0")
	}
}

func TestDisk(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "deeper"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"one", "deeper/two"} {
		if err := os.WriteFile(filepath.Join(dir, name), make([]byte, 100_000), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if total, err := Disk(dir); err != nil || total < 200_000 || total > 300_000 {
		t.Errorf("%d bytes, %v", total, err)
	}
	if _, err := Disk(filepath.Join(dir, "absent")); err != nil {
		t.Error(err)
	}
}
