package measure

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"carillon/figure"
	"carillon/object/fault"
	"carillon/peer"
)

// Faults is how many are injected into three nodes under load.
type Faults struct{ Times int }

// faults counts what three nodes have acknowledged and lost, or give back wrong, while they were hurt.
func (r *run) faults(ctx context.Context) (figures []figure.Figure, err error) {
	dir, done, err := peer.Scratch(r.Dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, done()) }()
	times := r.Scale.Faults.Times
	result, err := fault.Run(ctx, fault.Config{
		Dir: dir, Command: r.Command, Faults: times, Seed: r.Seed,
		Tell: func(done int, _ fault.Kind, _ fault.Result) { r.Progress("faults", uint64(done), uint64(times)) },
	})
	if err != nil {
		return nil, err
	}
	for _, lost := range result.Lost.First {
		r.Logger.Error("lost", "object", lost)
	}
	for _, failed := range result.Failed.First {
		r.Logger.Warn("not read while a node was hurt", "object", failed)
	}
	return []figure.Figure{{ID: "object.lost", Value: float64(result.Lost.Count), Unit: "objects", Better: figure.Lower, Note: faultsNote(result)}}, nil
}

func faultsNote(r fault.Result) string {
	var kinds []string
	for _, kind := range fault.Kinds() {
		kinds = append(kinds, fmt.Sprintf("%d %s", r.Faults[kind], kind))
	}
	return fmt.Sprintf("of %d read back, put %d times, %d puts refused; faults: %s; %d damaged copies were mended; %d of %d reads failed while a node was hurt",
		r.Objects, r.Acked, r.Refused, strings.Join(kinds, ", "), r.Repaired, r.Failed.Count, r.Reads)
}
