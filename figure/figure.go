// Package figure is what a measurement hands out: a number under the name that the
// documentation uses, with what is aimed at. Packages that measure make Figures;
// the verbs of `carillon bench` print them, as JSON lines for programs or as a
// table for people.
package figure

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// Figure is one result.
type Figure struct {
	ID    string  `json:"figure"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`

	// What for people goes into a table. Goal and Floor count if Better says so.
	Better Direction `json:"-"`
	Goal   float64   `json:"-"`
	Floor  float64   `json:"-"`
	Note   string    `json:"-"`
}

// Direction says which of two values of a figure is the better one.
type Direction uint8

const (
	Unranked Direction = iota // there is no goal
	Higher
	Lower
)

// Verdict compares with goal and floor, where there are any.
func (f Figure) Verdict() string {
	value, goal, floor := f.Value, f.Goal, f.Floor
	switch f.Better {
	case Unranked:
		return ""
	case Lower:
		value, goal, floor = -value, -goal, -floor
	}
	switch {
	case value >= goal:
		return "goal met"
	case value >= floor:
		return "floor met"
	}
	return "FLOOR MISSED"
}

// JSON prints an object a figure and line.
func JSON(w io.Writer, figures []Figure) error {
	encoder := json.NewEncoder(w)
	for _, f := range figures {
		if err := encoder.Encode(f); err != nil {
			return err
		}
	}
	return nil
}

// Table prints the figures under a head line.
func Table(w io.Writer, figures []Figure) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "FIGURE\tVALUE\tGOAL\tFLOOR\t\tNOTE")
	for _, f := range figures {
		goal, floor := "", ""
		if f.Better != Unranked {
			goal, floor = Amount(f.Goal, f.Unit), Amount(f.Floor, f.Unit)
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", f.ID, Amount(f.Value, f.Unit), goal, floor, f.Verdict(), f.Note)
	}
	return table.Flush()
}

// Amount is a number for people.
func Amount(v float64, unit string) string {
	var text string
	switch {
	case v >= 1e9:
		text = fmt.Sprintf("%.3g G %s", v/1e9, unit)
	case v >= 1e6:
		text = fmt.Sprintf("%.3g M %s", v/1e6, unit)
	case v >= 1e3:
		text = fmt.Sprintf("%.3g k %s", v/1e3, unit)
	default:
		text = fmt.Sprintf("%.4g %s", v, unit)
	}
	return strings.TrimSpace(text)
}
