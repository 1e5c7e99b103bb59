package page

import (
	"encoding/binary"
	"slices"
)

// How the times of a strip are written, beside the first one.
const (
	timesShared = iota // on a grid with the page's step: nothing follows
	timesGrid          // on another grid: its step
	timesNear          // near a grid: its step, which points of it, how far from them
	timeForms
)

// medianOf is how many steps are looked at to find the grid of times that are not
// quite on one.
const medianOf = 15

// appendTimes writes all times but the first one.
func (e *Encoder) appendTimes(dst []byte, times []int64, shared int64) (_ []byte, form byte) {
	step := int64(0)
	if len(times) > 1 {
		step = times[1] - times[0]
	}
	switch {
	case !regular(times, step):
		return e.appendNear(dst, times), timesNear
	case len(times) == 1 || step == shared:
		return dst, timesShared
	}
	return binary.AppendVarint(dst, step), timesGrid
}

func regular(times []int64, step int64) bool {
	for i := 1; i < len(times); i++ {
		if times[i]-times[i-1] != step {
			return false
		}
	}
	return true
}

// fit is the step of a grid that most times are near to. Clients mean whole seconds.
func fit(times []int64) int64 {
	var steps [medianOf]int64
	n := min(len(times)-1, medianOf)
	for i := range n {
		steps[i] = times[i+1] - times[i]
	}
	slices.Sort(steps[:n])
	median := steps[n/2]
	const second, near = 1000, 1000 / 8
	if whole := (median + second/2) / second * second; whole > 0 && median-whole <= near && whole-median <= near {
		return whole
	}
	return max(median, 1)
}

// appendNear writes times as points of a grid, each by how many points lie between it
// and the one before, and distances from them. All of it wraps around.
func (e *Encoder) appendNear(dst []byte, times []int64) []byte {
	step := fit(times)
	dst = binary.AppendVarint(dst, step)
	between, distance := e.scratch(len(times) - 1)
	point := times[0]
	for i, t := range times[1:] {
		point += step
		skipped := int64(0)
		if off := t - point; off < -(step/2) || off >= step-step/2 {
			skipped = (off + step/2) / step
			point += skipped * step
		}
		between[i], distance[i] = uint64(skipped), uint64(t-point)
	}
	return appendPacked(appendPacked(dst, between), distance)
}

// times is the inverse of appendTimes; the first time is there already.
func (d *Decoder) times(form byte, times []int64, shared int64) {
	step := shared
	if form != timesShared {
		step = int64(d.varint())
	}
	if form == timesNear {
		d.near(times, step)
		return
	}
	t := times[0]
	for i := range times {
		times[i] = t
		t += step
	}
}

func (d *Decoder) near(times []int64, step int64) {
	point := times[0]
	times = times[1:]
	for rest := times; len(rest) > 0 && d.wrong == ""; {
		n := min(len(rest), blockLength)
		d.packed(d.numbers[:n])
		for i, skipped := range d.numbers[:n] {
			point += step + int64(skipped)*step
			rest[i] = point
		}
		rest = rest[n:]
	}
	for rest := times; len(rest) > 0 && d.wrong == ""; {
		n := min(len(rest), blockLength)
		d.packed(d.numbers[:n])
		for i, distance := range d.numbers[:n] {
			rest[i] += int64(distance)
		}
		rest = rest[n:]
	}
}
