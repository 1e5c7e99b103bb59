package main

import (
	"context"
	"flag"
	"testing"
	"time"

	"carillon/object/fault"
)

var (
	faults    = flag.Int("faults", 10, "faults of TestObjectFaults")
	faultSeed = flag.Uint64("fault-seed", 1, "seed of TestObjectFaults")
)

// TestObjectFaults hurts one node of three after the other: nothing that was acknowledged is lost or wrong, and everything
// can be read while a node is hurt. For longer: go test -run TestObjectFaults ./cmd/carillon -faults 200 -timeout 30m
func TestObjectFaults(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute+time.Duration(*faults)*5*time.Second)
	defer cancel()
	result, err := fault.Run(ctx, fault.Config{
		Command: carillon, Dir: t.TempDir(), Faults: *faults, Seed: *faultSeed,
		Tell: func(done, of int, kind fault.Kind, r *fault.Result) {
			t.Logf("%d of %d, %s: %d acknowledged, %d refused, %d read", done, of, kind, r.Acked, r.Refused, r.Reads)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, lost := range result.Lost {
		t.Errorf("lost: %s", lost)
	}
	for _, failed := range result.Failed {
		t.Errorf("not read while a node was hurt: %s", failed)
	}
	if result.Acked == 0 || result.Faults != *faults {
		t.Errorf("%+v", result)
	}
}
