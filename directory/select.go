package directory

import (
	"slices"

	"github.com/prometheus/prometheus/model/labels"

	"carillon/series"
)

// Select finds the series that satisfy all matchers, sorted by id; all series
// without any. A series that lacks a label has the empty value there, as in
// Prometheus: {job!="a"} and {job=""} hold for series without a job. What is
// defined meanwhile is in the answer or not. The error is always nil as long as
// the index is in memory.
func (d *Directory) Select(matchers ...*labels.Matcher) ([]series.ID, error) {
	numbers, size := make([][]uint32, len(d.partitions)), 0
	for i, p := range d.partitions {
		numbers[i] = p.Select(matchers...)
		size += len(numbers[i])
	}
	ids := make([]series.ID, 0, size)
	for i := range numbers {
		for _, number := range numbers[i] {
			ids = append(ids, series.NewID(i, number))
		}
	}
	return ids, nil
}

// LabelNames is the names of all labels that the series which Select finds have,
// sorted.
func (d *Directory) LabelNames(matchers ...*labels.Matcher) ([]string, error) {
	var names []string
	for _, p := range d.partitions {
		names = append(names, p.LabelNames(matchers...)...)
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// LabelValues is the values that one label has in the series which Select finds,
// sorted.
func (d *Directory) LabelValues(name string, matchers ...*labels.Matcher) ([]string, error) {
	var values []string
	for _, p := range d.partitions {
		values = append(values, p.LabelValues(name, matchers...)...)
	}
	slices.Sort(values)
	return slices.Compact(values), nil
}
