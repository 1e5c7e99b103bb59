package istatd

import (
	"cmp"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"carillon/bucket"
	"carillon/importer"
	"carillon/series"
)

// Dir is the store of an istatd. It satisfies importer.Catalogue.
type Dir struct {
	path     string
	now      int64    // seconds
	counters []string // folders with files, relative to path; the ref of a counter is its index
	ledger   *importer.Ledger
}

// Open looks for counters below a folder. What is not over at the time now is left for
// another run.
func Open(path string, now time.Time, ledger *importer.Ledger) (*Dir, error) {
	d := &Dir{now: now.Unix(), ledger: ledger}
	var err error
	if d.path, err = filepath.Abs(path); err == nil {
		d.path, err = filepath.EvalSymlinks(d.path)
	}
	if err != nil {
		return nil, err
	}
	err = filepath.WalkDir(d.path, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil && path == d.path:
			return err
		case err != nil:
			ledger.Refuse(importer.Unreadable, 1, path, err.Error())
			return nil
		case entry.Type()&fs.ModeSymlink != 0:
			if target, err := os.Stat(path); err == nil && target.IsDir() {
				ledger.Refuse(importer.Symlink, 1, path, "")
			}
		case entry.Type().IsRegular() && filepath.Dir(path) != d.path:
			counter, err := filepath.Rel(d.path, filepath.Dir(path))
			if err != nil {
				return err
			}
			d.counters = append(d.counters, counter)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	// The files of a folder need not follow each other: folders stand between them.
	slices.Sort(d.counters)
	d.counters = slices.Compact(d.counters)
	if len(d.counters) == 0 {
		return nil, errors.New(path + ": there are no counters in it; want the folder that istatd was started with as --store")
	}
	return d, nil
}

// Name is the folder's path.
func (d *Dir) Name() string { return "istatd " + d.path }

// Next is now: a round takes everything.
func (d *Dir) Next(from int64) int64 { return max(from, 1000*d.now) }

// Size is how many counters there are.
func (d *Dir) Size(importer.Span) int { return len(d.counters) }

// Each lists the counters that were ever written. istatd makes one for each part of a
// dotted name, and those for whole groups may stay empty.
func (d *Dir) Each(ctx context.Context, span importer.Span, visit func(importer.Entry) error) error {
	for i, counter := range d.counters {
		if err := ctx.Err(); err != nil {
			return err
		}
		files, err := d.headers(counter, true)
		if err != nil {
			d.ledger.Refuse(importer.Unreadable, 1, counter, err.Error())
			continue
		}
		kind, any := series.Gauge, false
		for _, f := range files {
			if f.is(flagCollated | flagAggregate) {
				kind = series.Event
			}
			any = any || 1000*(f.lastTime+f.interval) > span.From && f.lastTime > 0
		}
		if !any {
			continue
		}
		key, err := series.Named(strings.ReplaceAll(counter, string(filepath.Separator), "."))
		if err != nil {
			d.ledger.Refuse(importer.BadSeries, 1, counter, err.Error())
			continue
		}
		if err := visit(importer.Entry{Key: key, Ref: uint64(i), Kind: kind}); err != nil {
			return err
		}
	}
	return nil
}

// file is one of a counter's.
type file struct {
	*header
	path string
}

// headers reads those of a counter's files, finest first. It counts what it leaves out if
// that is asked for.
func (d *Dir) headers(counter string, count bool) (files []file, err error) {
	entries, err := os.ReadDir(filepath.Join(d.path, counter))
	if err != nil {
		return nil, err
	}
	refuse := func(reason importer.Reason, path, detail string) {
		if count {
			d.ledger.Refuse(reason, 1, path, detail)
		}
	}
	for _, entry := range entries {
		path := filepath.Join(d.path, counter, entry.Name())
		if !entry.Type().IsRegular() || strings.HasPrefix(entry.Name(), ".") {
			continue
		}
		h, err := readHeader(path)
		switch {
		case err != nil:
			refuse(importer.Unreadable, path, err.Error())
		case h.is(flagTrailing):
			refuse(importer.Seasonal, path, "")
		default:
			files = append(files, file{h, path})
		}
	}
	slices.SortStableFunc(files, func(a, b file) int { return cmp.Compare(a.interval, b.interval) })
	return files, nil
}

func readHeader(path string) (*header, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b := make([]byte, headerBytes)
	n, err := io.ReadFull(f, b)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return parseHeader(b[:n])
}

// Reader makes one.
func (d *Dir) Reader() importer.Reader { return &reader{dir: d} }

type reader struct {
	dir  *Dir
	data []byte
}

// Read puts the files of a counter together.
func (r *reader) Read(refs []uint64, span importer.Span, visit func(*bucket.Bucket)) error {
	for _, ref := range refs { // one: a folder has one name
		counter := r.dir.counters[ref]
		files, err := r.dir.headers(counter, false)
		if err != nil {
			r.dir.ledger.Refuse(importer.Unreadable, 1, counter, err.Error())
			continue
		}
		var levels []importer.Level
		scale := scaleOf(files)
		for i := range files {
			level, unfinished := r.read(&files[i], scale, span)
			levels = append(levels, level)
			if i == 0 { // of the others' newest segments nothing is taken
				r.dir.ledger.Refuse(importer.Unfinished, unfinished, counter, "")
			}
		}
		for _, b := range importer.Splice(levels) {
			visit(&b)
		}
	}
	return nil
}

// scaleOf is by what values are to be multiplied. Those of events stand for a second on
// average, in segments of the finest file.
func scaleOf(files []file) float64 {
	for _, f := range files {
		switch {
		case f.is(flagCollated):
			return float64(f.interval)
		case f.is(flagAggregate) && f.fixedCount > 0:
			return float64(f.interval) / float64(f.fixedCount)
		case f.is(flagAggregate):
			return defaultCollatedS
		}
	}
	return 1
}

// read is what a file has in a span, and how many of its segments are not over.
func (r *reader) read(f *file, scale float64, span importer.Span) (l importer.Level, unfinished uint64) {
	if err := r.load(f); err != nil {
		r.dir.ledger.Refuse(importer.Unreadable, 1, f.path, err.Error())
		return l, 0
	}
	found := f.ring(r.data, r.dir.now, scale)
	r.dir.ledger.Refuse(importer.StaleSlot, found.stale, f.path, "")
	r.dir.ledger.Refuse(importer.Damaged, found.damaged, f.path, "")
	unfinished = found.level.Keep(span, 1000*r.dir.now)
	return found.level, unfinished
}

// load reads what stands behind the header's page.
func (r *reader) load(f *file) error {
	in, err := os.Open(f.path)
	if err != nil {
		return err
	}
	defer in.Close()
	size := f.pages * f.pageBytes
	if int64(cap(r.data)) < size {
		r.data = make([]byte, size)
	}
	n, err := in.ReadAt(r.data[:size], f.pageBytes)
	r.data = r.data[:n]
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}
