package main

import (
	"strings"
	"testing"
)

// TestWorkloadIsTheSpecifiedOne: carillon/cuckoo has the same test with the same numbers.
func TestWorkloadIsTheSpecifiedOne(t *testing.T) {
	random, sum, written := splitMix(1), 0, 0
	for range 1000 {
		i, write := random.operation(keys)
		sum += i
		if write {
			written++
		}
	}
	if sum != 481884084 || written != 56 {
		t.Errorf("sum %d, writes %d", sum, written)
	}
}

func TestPeersKeepEverything(t *testing.T) {
	names := nameList(2000)
	for _, p := range peers() {
		r, err := measure(p, names, 20_000)
		if err != nil || r.nanos <= 0 || r.bytes <= 0 {
			t.Errorf("%s: %+v, %v", p.name, r, err)
		}
	}
}

func TestBenchmarkOutputIsRead(t *testing.T) {
	r, err := parseBenchmark("goos: linux\nBenchmarkWorkload-2 \t 8000000\t 33.10 ns/op\t 27.33 B/entry\nPASS\n")
	if err != nil || r != (result{"carillon", 33.10, 27.33}) {
		t.Errorf("%+v, %v", r, err)
	}
	for _, bad := range []string{"", "PASS", "BenchmarkWorkload-2 8 x ns/op", "BenchmarkWorkload-2 8 3 ns/op"} {
		if r, err := parseBenchmark(bad); err == nil {
			t.Errorf("%q: %+v", bad, r)
		}
	}
}

func TestFiguresAreOneLineEach(t *testing.T) {
	var b strings.Builder
	others := []result{{"slow", 40, 50}, {"large", 20, 100}}
	if err := report(&b, result{"carillon", 10, 25}, others, true); err != nil {
		t.Fatal(err)
	}
	first, rest, _ := strings.Cut(b.String(), "\n")
	if first != `{"figure":"cuckoo.time_vs_fastest","value":0.5,"unit":"ratio"}` || strings.Count(rest, "\n") != 7 {
		t.Error(b.String())
	}
}
