package measure

import (
	"context"
	"fmt"
	"math"

	"carillon/figure"
	"carillon/object/placement"
)

// moved counts what a fourth node makes move.
func (r *run) moved(context.Context) ([]figure.Figure, error) {
	names := []string{"a", "b", "c", "d"}
	worst := 1.0
	for _, list := range []string{"sha256", "sha256,blake3", "sha256,sha512,blake3"} {
		before, err := mapOf(list, names[:3])
		if err != nil {
			return nil, err
		}
		after, err := mapOf(list, names)
		if err != nil {
			return nil, err
		}
		plan := placement.NewPlan(before, after)
		for i := range r.Scale.Joined {
			plan.Add(fmt.Sprint(r.Seed, " object ", i), objectBytes)
		}
		totals := plan.Totals()
		if ratio := float64(totals.Moved) / totals.Ideal; math.Abs(ratio-1) > math.Abs(worst-1) {
			worst = ratio
		}
	}
	return []figure.Figure{{ID: "object.moved_ratio", Value: worst, Unit: "x", Better: figure.Lower, Goal: 1.05, Floor: 1.2,
		Note: fmt.Sprintf("%d objects, the farthest from 1 of one to three copies", r.Scale.Joined)}}, nil
}

func mapOf(list string, names []string) (*placement.Map, error) {
	transformations, err := placement.ParseTransformations(list)
	if err != nil {
		return nil, err
	}
	var nodes []placement.Node
	for _, name := range names {
		nodes = append(nodes, placement.Node{Name: name, Weight: 1})
	}
	return placement.NewMap(transformations, nodes)
}
