package main

import (
	"flag"
	"os"
	"testing"

	"carillon/object/fault"
)

var (
	faults    = flag.Int("faults", 10, "faults of TestObjectFaults")
	faultSeed = flag.Uint64("fault-seed", 1, "seed of TestObjectFaults")
)

// TestObjectFaults hurts one node of three after the other: nothing that was acknowledged is lost or wrong, and everything
// can be read while a node is hurt. For longer: go test -run TestObjectFaults ./cmd/carillon -faults 200 -timeout 30m
func TestObjectFaults(t *testing.T) {
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(beCarillon, "1")
	result, err := fault.Run(t.Context(), fault.Config{
		Dir: t.TempDir(), Command: []string{executable}, Faults: *faults, Seed: *faultSeed,
		Tell: func(done int, kind fault.Kind, r fault.Result) {
			t.Logf("%d of %d, %s: %d acknowledged, %d refused, %d read", done, *faults, kind, r.Acked, r.Refused, r.Reads)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, lost := range result.Lost.First {
		t.Errorf("lost: %s", lost)
	}
	for _, failed := range result.Failed.First {
		t.Errorf("not read while a node was hurt: %s", failed)
	}
	done := 0
	for _, times := range result.Faults {
		done += times
	}
	if done != *faults || result.Acked == 0 || result.Objects == 0 {
		t.Errorf("%+v", result)
	}
	t.Logf("%d objects are as they were, %d copies were repaired", result.Objects, result.Repaired)
}
