package server

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"

	"carillon/directory"
	"carillon/series"
	"carillon/store"
)

// Usage is what a data directory is taken up by.
type Usage struct {
	Tiers  []store.TierUsage // of all partitions together, finest first
	Series []SeriesUsage     // those that take most, in all tiers together
	Others []OtherUsage
	Count  int   // series that have anything in files
	Bytes  int64 // of these series
	Note   string
}

// SeriesUsage is the bytes of one series.
type SeriesUsage struct {
	ID    series.ID
	Name  string // empty if it could not be looked up
	Bytes int64
}

// OtherUsage is the bytes of what is no page file.
type OtherUsage struct {
	Name  string
	Bytes int64
}

// ReadUsage reads all page files of a data directory, which a server may be using. Of
// the series the top ones are named, if no server does.
func ReadUsage(dir string, top int, progress func(stage string, done, total uint64)) (*Usage, error) {
	d := &dataDir{path: dir}
	text, err := os.ReadFile(filepath.Join(dir, IdentityName))
	if err == nil {
		err = json.Unmarshal(text, &d.identity)
	}
	if err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	u := new(Usage)
	total, err := bytesBelow(filepath.Join(dir, storeName))
	if err != nil {
		return nil, err
	}
	done := int64(0)
	for i := range d.identity.Partitions {
		one, err := store.ReadUsage(d.store(i), func(bytes int64) {
			done = min(done+bytes, total)
			progress("reading page files", uint64(done), uint64(total))
		})
		if errors.Is(err, fs.ErrNotExist) { // nothing was sealed yet
			continue
		}
		if err != nil {
			return nil, err
		}
		u.add(i, one, top)
	}
	for _, name := range []string{directoryName, locationsName, journalName} {
		bytes, err := bytesBelow(filepath.Join(dir, name))
		if err != nil {
			return nil, err
		}
		u.Others = append(u.Others, OtherUsage{name, bytes})
	}
	return u, u.name(d)
}

// add adds a partition, and keeps the top series.
func (u *Usage) add(partition int, one *store.Usage, top int) {
	for i, t := range one.Tiers {
		if i == len(u.Tiers) {
			u.Tiers = append(u.Tiers, store.TierUsage{Resolution: t.Resolution})
		}
		u.Tiers[i].Add(&t)
	}
	for number, bytes := range one.Series {
		if bytes > 0 {
			u.Count++
			u.Bytes += bytes
			u.Series = append(u.Series, SeriesUsage{ID: series.NewID(partition, uint32(number)), Bytes: bytes})
		}
	}
	slices.SortFunc(u.Series, func(a, b SeriesUsage) int { return cmp.Or(cmp.Compare(b.Bytes, a.Bytes), cmp.Compare(a.ID, b.ID)) })
	u.Series = slices.Clip(u.Series[:min(top, len(u.Series))])
}

// name looks the series up, which needs the directory for itself.
func (u *Usage) name(d *dataDir) error {
	locked, err := openDataDir(d.path, nil)
	if err != nil {
		u.Note = "series are shown by number: " + err.Error()
		return nil
	}
	names, err := directory.Open(locked.directory(), locked.identity.Partitions, directory.Caches{}, slog.New(slog.DiscardHandler))
	if err != nil {
		return errors.Join(err, locked.close())
	}
	for i := range u.Series {
		if key, ok := names.Key(u.Series[i].ID); ok {
			u.Series[i].Name = key.Format()
		}
	}
	return errors.Join(names.Close(), locked.close())
}

// bytesBelow sums up the files below a folder; what goes meanwhile does not count.
func bytesBelow(dir string) (total int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			var info fs.FileInfo
			if info, err = entry.Info(); err == nil {
				total += info.Size()
			}
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	return total, err
}
