package directory

import (
	"slices"

	"github.com/RoaringBitmap/roaring/v2"

	"carillon/series"
)

// index finds the series of one partition by label. It is part of the partition
// and guarded with it. Names and values are substrings of the keys, which are
// kept anyway, so they cost no bytes of their own.
type index map[string]*label // by name

// label is the values that one label name has in one partition.
//
// A value keeps its slot for ever, and values only grows at its end. So a reader
// may take the slice under the lock and walk it after giving the lock back,
// which is what Select does to run regular expressions.
type label struct {
	slots    map[string]uint32 // value → slot
	values   []string          // by slot
	postings []postings        // by slot
}

// add enters a series whose number is higher than all before it.
func (x index) add(number uint32, labels []series.Label) {
	for _, l := range labels {
		entry := x[l.Name]
		if entry == nil {
			entry = &label{slots: make(map[string]uint32)}
			x[l.Name] = entry
		}
		if slot, ok := entry.slots[l.Value]; ok {
			entry.postings[slot].add(number)
			continue
		}
		entry.slots[l.Value] = uint32(len(entry.values))
		entry.values = append(entry.values, l.Value)
		entry.postings = append(entry.postings, postings{first: number})
	}
}

// numbers is the series that have exactly this label, ascending.
func (x index) numbers(name, value string) []uint32 {
	entry := x[name]
	if entry == nil {
		return nil
	}
	slot, ok := entry.slots[value]
	if !ok {
		return nil
	}
	return entry.postings[slot].appendTo(nil)
}

// union is the series that have one of the values in slots.
func (l *label) union(slots []uint32) *roaring.Bitmap {
	all := roaring.New()
	for _, slot := range slots {
		l.postings[slot].orInto(all)
	}
	return all
}

// valuesIn is the values that series of the set have, in no useful order.
func (l *label) valuesIn(set *roaring.Bitmap) []string {
	var values []string
	for slot, value := range l.values {
		if l.postings[slot].intersects(set) {
			values = append(values, value)
		}
	}
	return values
}

// occursIn tells whether a series of the set has the label.
func (l *label) occursIn(set *roaring.Bitmap) bool {
	return slices.ContainsFunc(l.postings, func(p postings) bool { return p.intersects(set) })
}

// maxFew is up to how many numbers stand in a plain slice. A bitmap costs some
// 200 bytes before its first number.
const maxFew = 32

// postings is the numbers of the series that have one value of one label,
// ascending and never empty. Most values of a label like "id" or "path" belong
// to one series, which then costs 16 bytes here.
type postings struct {
	first uint32
	more  *more // nil while first is the only one
}

type more struct {
	few  []uint32        // the numbers after first, at most maxFew
	many *roaring.Bitmap // all numbers, once there are more; few is nil then
}

// add appends a number higher than all others.
func (p *postings) add(number uint32) {
	switch {
	case p.more == nil:
		p.more = &more{few: []uint32{number}}
	case p.more.many != nil:
		p.more.many.Add(number)
	case len(p.more.few) < maxFew:
		p.more.few = append(p.more.few, number)
	default:
		many := roaring.BitmapOf(p.first)
		many.AddMany(p.more.few)
		many.Add(number)
		*p.more = more{many: many}
	}
}

func (p *postings) appendTo(numbers []uint32) []uint32 {
	switch {
	case p.more == nil:
		return append(numbers, p.first)
	case p.more.many != nil:
		return append(numbers, p.more.many.ToArray()...)
	}
	return append(append(numbers, p.first), p.more.few...)
}

func (p *postings) orInto(set *roaring.Bitmap) {
	if p.more != nil && p.more.many != nil {
		set.Or(p.more.many)
		return
	}
	set.Add(p.first)
	if p.more != nil {
		set.AddMany(p.more.few)
	}
}

func (p *postings) intersects(set *roaring.Bitmap) bool {
	if p.more != nil && p.more.many != nil {
		return set.Intersects(p.more.many)
	}
	return set.Contains(p.first) || p.more != nil && slices.ContainsFunc(p.more.few, set.Contains)
}
