package store

import (
	"errors"
	"fmt"
	iofs "io/fs"
	"path/filepath"

	"carillon/store/page"
)

// Usage is what the files of a store are taken up by.
type Usage struct {
	Tiers  []TierUsage
	Series []int64 // bytes of strips, by number; of series without any at the end none
}

// TierUsage is what the files of one tier are taken up by.
type TierUsage struct {
	Resolution int64 // milliseconds
	Files      int
	Bytes      int64
	Buckets    uint64
	Strips     uint64
	Around     int64                    // bytes of the files around pages: ends and indexes
	Head       int64                    // bytes of pages around strips
	Parts      [len(page.Sizes{})]int64 // bytes of strips, by part
}

// usageTries is how often files may be taken away under ReadUsage, which then begins
// anew: a store that is open replaces its files all the time.
const usageTries = 8

// ReadUsage reads all files of a store's folder, which may be open. It calls progress,
// which may be nil, with the bytes of each file that it has read.
func ReadUsage(dir string, progress func(bytes int64)) (*Usage, error) {
	var err error
	for range usageTries {
		var listing *Listing
		if listing, err = ReadListing(dir); err != nil {
			return nil, err
		}
		u := new(Usage)
		if err = u.read(dir, listing, progress); err == nil {
			return u, nil
		}
		if !errors.Is(err, iofs.ErrNotExist) {
			return nil, err
		}
	}
	return nil, fmt.Errorf("the files of %s were replaced %d times while they were read: %w", dir, usageTries, err)
}

func (u *Usage) read(dir string, listing *Listing, progress func(int64)) error {
	for _, t := range listing.Tiers {
		usage := TierUsage{Resolution: t.Resolution}
		for _, listed := range t.Files {
			f, err := OpenPageFile(filepath.Join(dir, listed.Path))
			if err != nil {
				return err
			}
			if err := errors.Join(u.file(&usage, f), f.Close()); err != nil {
				return err
			}
			if progress != nil {
				progress(listed.Bytes)
			}
		}
		u.Tiers = append(u.Tiers, usage)
	}
	return nil
}

func (u *Usage) file(t *TierUsage, f *PageFile) error {
	info := f.Info()
	t.Files++
	t.Bytes += info.Size
	t.Buckets += info.Buckets
	t.Around += int64(info.IndexBytes)
	for p, err := range f.Pages() {
		if err != nil {
			return err
		}
		t.Head += int64(p.Bytes)
		for s, err := range f.Strips(p) {
			if err != nil {
				return err
			}
			sizes, err := f.Sizes(s)
			if err != nil {
				return err
			}
			t.Strips++
			t.Head -= int64(s.Bytes())
			for part, bytes := range sizes {
				t.Parts[part] += int64(bytes)
			}
			u.add(s.Number, int64(s.Bytes()))
		}
	}
	return nil
}

func (u *Usage) add(number uint32, bytes int64) {
	if int(number) >= len(u.Series) {
		u.Series = append(u.Series, make([]int64, int(number)+1-len(u.Series))...)
	}
	u.Series[number] += bytes
}

// Add sums up tiers of one resolution.
func (t *TierUsage) Add(more *TierUsage) {
	t.Files += more.Files
	t.Bytes += more.Bytes
	t.Buckets += more.Buckets
	t.Strips += more.Strips
	t.Around += more.Around
	t.Head += more.Head
	for part, bytes := range more.Parts {
		t.Parts[part] += bytes
	}
}
