package main

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"carillon/cache/measure"
	"carillon/cache/xdp"
	"carillon/figure"
	"carillon/peer"
	"carillon/require"
)

// tinyCache is a scale of seconds. Its figures mean nothing.
func tinyCache() measure.Scale {
	return measure.Scale{
		Rounds: 1, Paced: 20 * time.Millisecond, Flood: 20_000, HitRuns: 5000, Mix: 20 * time.Millisecond, MixFlood: 8192,
		Pipelined: 4000, MemoryMiB: 4, Draws: 20_000,
	}
}

// needsKernel skips the test where there is no eBPF.
func needsKernel(t *testing.T) {
	t.Helper()
	region, err := xdp.NewRegion(1)
	if err == nil {
		err = region.Close()
	}
	require.Feature(t, "bpf", err == nil, fmt.Sprint("root, a Linux from 6.6 on: ", err))
}

// TestBenchCache keeps the measurement from rotting. Each stage compares replies with what was
// stored.
func TestBenchCache(t *testing.T) {
	needsKernel(t)
	require.Feature(t, peer.Memcached, peer.Installed(peer.Memcached), "it is not installed")
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(beCarillon, "1")
	got, err := measure.Run(t.Context(), measure.Config{
		Dir: t.TempDir(), Command: []string{executable}, Scale: tinyCache(), Seed: 1,
		Progress: func(string, uint64, uint64) {}, Missing: func(peer string) { t.Errorf("%s is missing", peer) },
	})
	if err != nil {
		t.Fatal(err)
	}
	figures := make(map[string]figure.Figure)
	for _, f := range got {
		if _, twice := figures[f.ID]; twice || f.Unit == "" {
			t.Errorf("%+v", f)
		}
		figures[f.ID] = f
	}
	want(t, figures, "cache.xdp_hit_ns", "cache.peak_replies", "cache.udp_ratio", "cache.user_udp_ratio", "cache.user_tcp_ratio",
		"cache.mix_usr_ratio", "cache.mix_etc_ratio", "cache.mix_app_ratio", "cache.mix_var_ratio", "cache.mix_sys_ratio",
		"cache.hit_ratio", "cache.item_bytes_ratio")
}

// TestBenchCacheInterrupted: nothing is left of a measurement that is interrupted.
func TestBenchCacheInterrupted(t *testing.T) {
	needsKernel(t)
	cmd := carillon("bench", "cache", "--quick", "--only", "udp")
	log, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	lines := bufio.NewScanner(log)
	for lines.Scan() && !strings.Contains(lines.Text(), "GETs by UDP") {
	}
	servers := children(t, cmd.Process.Pid)
	if len(servers) < 2 {
		t.Errorf("%d servers", len(servers))
	}
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	for lines.Scan() {
	}
	if err := cmd.Wait(); err == nil {
		t.Error("it ended as if all were well")
	}
	for _, pid := range servers {
		eventually(t, "a server ends", func() error {
			if _, err := os.Stat(fmt.Sprintf("/proc/%d", pid)); err == nil {
				return fmt.Errorf("process %d is there", pid)
			}
			return nil
		})
	}
}

// children are the processes that one has started.
func children(t *testing.T, parent int) (pids []int) {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range stats {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
		if len(fields) > 1 && fields[1] == strconv.Itoa(parent) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			pids = append(pids, pid)
		}
	}
	return pids
}
