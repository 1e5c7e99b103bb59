package figure

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// Stages are what a measurement consists of, in its order; R is the measurement under way.
type Stages[R any] []Stage[R]

// Stage is a part of a measurement, that can be run alone.
type Stage[R any] struct {
	Name string
	Run  func(R, context.Context) ([]Figure, error)
}

// Names are those of all stages.
func (s Stages[R]) Names() (names []string) {
	for _, stage := range s {
		names = append(names, stage.Name)
	}
	return names
}

// Check refuses names that no stage has.
func (s Stages[R]) Check(some []string) error {
	for _, name := range some {
		if names := s.Names(); !slices.Contains(names, name) {
			return fmt.Errorf("no stage %q: want some of %q", name, names)
		}
	}
	return nil
}

// Run runs some stages, all if none is named, and returns the figures that there are even if
// there was an error too: what one stage cannot measure, another may.
func (s Stages[R]) Run(ctx context.Context, run R, some []string) (figures []Figure, err error) {
	for _, stage := range s {
		if len(some) > 0 && !slices.Contains(some, stage.Name) {
			continue
		}
		got, stageErr := stage.Run(run, ctx)
		figures = append(figures, got...)
		if ctx.Err() != nil {
			return figures, ctx.Err()
		}
		if stageErr != nil {
			err = errors.Join(err, fmt.Errorf("measure %s: %w", stage.Name, stageErr))
		}
	}
	return figures, err
}
