package store

import (
	"errors"
	"fmt"
	"slices"

	"carillon/bucket"
)

// scanDiffers compares what Scan and Samples show of a series with what Read says.
func scanDiffers(view *View, number uint32, tier int, from, to int64, want []bucket.Bucket) error {
	equal := func(a, b bucket.Bucket) bool { return same(kindOf(number), a, b) }
	var got []bucket.Bucket
	empty := errors.New("an empty piece")
	err := view.Scan(number, tier, from, to, func(piece []bucket.Bucket) error {
		if got = append(got, piece...); len(piece) == 0 {
			return empty
		}
		return nil
	})
	if err != nil || !slices.EqualFunc(got, want, equal) {
		return fmt.Errorf("scan of series %d at tier %d in [%d, %d]: %v\n got %v\nwant %v", number, tier, from, to, err, got, want)
	}
	if len(want) > 0 {
		if err := view.Scan(number, tier, from, to, func([]bucket.Bucket) error { return empty }); err != empty {
			return fmt.Errorf("scan of series %d: %v instead of the visitor's error", number, err)
		}
	}
	if tier > 0 {
		return nil
	}
	times, values, ok, err := view.Samples(number, from, to, nil, nil)
	if err != nil || !ok {
		return err
	}
	got = got[:0]
	for i, t := range times {
		got = append(got, bucket.Of(t, values[i]))
	}
	if !slices.EqualFunc(got, want, equal) {
		return fmt.Errorf("samples of series %d in [%d, %d]:\n got %v\nwant %v", number, from, to, got, want)
	}
	return nil
}
