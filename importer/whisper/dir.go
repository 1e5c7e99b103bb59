package whisper

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"carillon/bucket"
	"carillon/importer"
	"carillon/receive/graphite"
	"carillon/series"
)

// Dir is a folder of whisper files. It satisfies importer.Catalogue.
type Dir struct {
	path   string
	now    int64    // seconds
	files  []string // relative to path; the ref of a file is its index
	ledger *importer.Ledger
}

const suffix = ".wsp"

// Open looks for files below a folder. What is not over at the time now is left for
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
		case entry.Type()&fs.ModeSymlink != 0 && isDir(path):
			ledger.Refuse(importer.Symlink, 1, path, "")
		case !entry.IsDir() && strings.HasSuffix(path, suffix):
			file, err := filepath.Rel(d.path, path)
			if err != nil {
				return err
			}
			d.files = append(d.files, file)
		}
		return nil
	})
	if err == nil && len(d.files) == 0 {
		err = errors.New(path + ": there are no " + suffix + " files in it")
	}
	return d, err
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// Name is the folder's path.
func (d *Dir) Name() string { return "whisper " + d.path }

// Next is now: a round takes everything.
func (d *Dir) Next(from int64) int64 { return max(from, 1000*d.now) }

// Size is how many files there are.
func (d *Dir) Size(importer.Span) int { return len(d.files) }

// Each lists the files that have a point.
func (d *Dir) Each(ctx context.Context, _ importer.Span, visit func(importer.Entry) error) error {
	for i, path := range d.files {
		if err := ctx.Err(); err != nil {
			return err
		}
		if written, err := d.written(path); err != nil {
			d.ledger.Refuse(importer.Unreadable, 1, path, err.Error())
			continue
		} else if !written {
			continue
		}
		labels, reason, detail := labelsOf(path)
		if reason != "" {
			d.ledger.Refuse(reason, 1, path, detail)
			continue
		}
		key, err := series.NewKey(labels)
		if err != nil {
			d.ledger.Refuse(importer.BadSeries, 1, path, err.Error())
			continue
		}
		if err := visit(importer.Entry{Key: key, Ref: uint64(i), KindUnknown: true}); err != nil {
			return err
		}
	}
	return nil
}

// labelsOf reads the path of a file as the metric that carbon writes to it. Metrics with
// tags are in _tagged, below folders named after a hash.
func labelsOf(path string) (labels []series.Label, reason importer.Reason, detail string) {
	const tagged, dot = "_tagged", "_DOT_"
	parts := strings.Split(strings.TrimSuffix(path, suffix), string(filepath.Separator))
	name := strings.Join(parts, ".")
	if parts[0] == tagged {
		name = strings.ReplaceAll(parts[len(parts)-1], dot, ".")
		if !strings.Contains(name, ";") {
			return nil, importer.HashedName, ""
		}
	}
	// The name is read as a server reads it in a line: so points that come later are the
	// same series'.
	var line graphite.Line
	if refused := line.Parse([]byte(name + " 0 0")); refused != "" {
		return nil, importer.BadSeries, string(refused)
	}
	return line.Labels, "", ""
}

// written tells whether any archive of a file has a first point.
func (d *Dir) written(path string) (bool, error) {
	in, f, err := d.open(path)
	if err != nil {
		return false, err
	}
	defer in.Close()
	var first [pointBytes]byte
	for _, a := range f.archives {
		if _, err := in.ReadAt(first[:], a.offset); err != nil {
			return false, err
		}
		if pointAt(first[:], 0).time != 0 {
			return true, nil
		}
	}
	return false, nil
}

func (d *Dir) open(path string) (*os.File, *file, error) {
	in, err := os.Open(filepath.Join(d.path, path))
	if err != nil {
		return nil, nil, err
	}
	f, err := readHeader(in)
	if err != nil {
		return nil, nil, errors.Join(err, in.Close())
	}
	return in, f, nil
}

func readHeader(in *os.File) (*file, error) {
	info, err := in.Stat()
	if err != nil {
		return nil, err
	}
	b := make([]byte, min(info.Size(), maxHeaderBytes))
	if _, err := in.ReadAt(b, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return parseHeader(b, info.Size())
}

// Reader makes one.
func (d *Dir) Reader() importer.Reader { return &reader{dir: d} }

type reader struct {
	dir  *Dir
	data []byte
}

// Read puts the archives of a file together.
func (r *reader) Read(refs []uint64, span importer.Span, visit func(*bucket.Bucket)) error {
	for i, ref := range refs {
		path := r.dir.files[ref]
		if i > 0 {
			r.dir.ledger.Refuse(importer.BadSeries, 1, path, "another file is of the same metric: "+r.dir.files[refs[0]])
			continue
		}
		levels, err := r.levels(path, span)
		if err != nil {
			r.dir.ledger.Refuse(importer.Unreadable, 1, path, err.Error())
			continue
		}
		for _, b := range importer.Splice(levels) {
			visit(&b)
		}
	}
	return nil
}

func (r *reader) levels(path string, span importer.Span) (levels []importer.Level, err error) {
	in, f, err := r.dir.open(path)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	for i, a := range f.archives {
		if int64(cap(r.data)) < a.bytes() {
			r.data = make([]byte, a.bytes())
		}
		r.data = r.data[:a.bytes()]
		if _, err := in.ReadAt(r.data, a.offset); err != nil {
			return nil, err
		}
		share := int64(1)
		if f.aggregation == sum {
			share = a.step / f.archives[0].step
		}
		found := a.ring(r.data, r.dir.now, share)
		r.dir.ledger.Refuse(importer.StaleSlot, found.stale, path, "")
		r.dir.ledger.Refuse(importer.Damaged, found.damaged, path, "")
		unfinished := found.level.Keep(span, 1000*r.dir.now)
		if i == 0 { // of the others' newest points nothing is taken
			r.dir.ledger.Refuse(importer.Unfinished, unfinished, path, "")
		}
		levels = append(levels, found.level)
	}
	return levels, nil
}
