package store

import (
	"errors"
	"fmt"
	iofs "io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/prometheus/common/model"

	"carillon/bucket"
)

const pagesSuffix = ".pages"

// Open opens a store, or makes one in a folder that has none, and starts its
// worker. Files that a crash left behind are removed. Where a live file is damaged,
// Work says what that costs, and who reads from it gets an error. It fails if the
// manifest is damaged, or if the tiers' resolutions are not those the store was made
// with; retentions may change.
func Open(config Config) (*Store, error) {
	s, err := newStore(config)
	if err != nil {
		return nil, fmt.Errorf("opening store: %w", err)
	}
	go s.worker.run()
	return s, nil
}

// newStore is Open without starting the worker.
func newStore(config Config) (*Store, error) {
	if err := checkTiers(config.Tiers); err != nil {
		return nil, err
	}
	if config.FS == nil {
		config.FS = OS{}
	}
	if config.Room == nil {
		config.Room = boundless{}
	}
	pages := &metered{FS: config.FS, room: config.Room}
	config.FS = pages
	if config.RollupDelay == 0 {
		config.RollupDelay = DefaultRollupDelay
	}
	current, err := load(config)
	if err != nil {
		return nil, err
	}
	current.hold()
	s := &Store{
		config: config, head: newHead(), current: current,
		seals: make(chan sealing, 1), ticks: make(chan int64, 1), deletes: make(chan deleting, 1), imports: make(chan importing),
		committed: make(chan struct{}, 1), stopped: make(chan struct{}),
	}
	for range config.Tiers {
		s.dropping, s.dropped = append(s.dropping, minTime), append(s.dropped, Dropped{})
	}
	s.worker = &worker{store: s, config: config, pages: pages, pace: newPacer(), ended: minTime}
	s.worker.damaged(current.damages())
	return s, nil
}

func load(config Config) (*version, error) {
	if err := makeFolders(config); err != nil {
		return nil, err
	}
	m, err := readManifest(config.FS, config.Dir)
	if errors.Is(err, iofs.ErrNotExist) {
		m, err = begin(config)
	}
	if err != nil {
		return nil, err
	}
	if err := sameTiers(m, config.Tiers); err != nil {
		return nil, fmt.Errorf("%s: %w", config.Dir, err)
	}
	if err := clean(config, m); err != nil {
		return nil, err
	}
	return openVersion(config, m)
}

// makeFolders makes the folder of each tier, and makes it durable, so that later
// only files need care.
func makeFolders(config Config) error {
	for _, t := range config.Tiers {
		dir := tierDir(config.Dir, t)
		if err := config.FS.MkdirAll(dir); err != nil {
			return fmt.Errorf("making %s: %w", dir, err)
		}
	}
	for _, dir := range []string{config.Dir, filepath.Dir(config.Dir)} {
		if err := config.FS.SyncDir(dir); err != nil {
			return fmt.Errorf("syncing %s: %w", dir, err)
		}
	}
	return nil
}

// tierDir is named after the resolution, as people write it: "10s", "5m".
func tierDir(dir string, t Tier) string {
	return filepath.Join(dir, model.Duration(t.Resolution).String())
}

func filePath(dir string, t Tier, sequence uint64) string {
	return filepath.Join(tierDir(dir, t), fmt.Sprintf("%016d%s", sequence, pagesSuffix))
}

// sequenceOf is the inverse of filePath's last part.
func sequenceOf(name string) (uint64, bool) {
	digits, ok := strings.CutSuffix(name, pagesSuffix)
	if !ok || len(digits) != 16 {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, 10, 64)
	return n, err == nil
}

// begin writes the first manifest. It refuses where page files are without one:
// they would be taken for leftovers.
func begin(config Config) (*manifest, error) {
	first := &version{sequence: 1, retained: retained{clock: minTime, shortened: minTime, partial: minTime}}
	for _, t := range config.Tiers {
		names, err := config.FS.List(tierDir(config.Dir, t))
		if err != nil {
			return nil, fmt.Errorf("listing %s: %w", tierDir(config.Dir, t), err)
		}
		for _, name := range names {
			if _, ok := sequenceOf(name); ok {
				return nil, fmt.Errorf("%s has page files but no %s", config.Dir, manifestName)
			}
		}
		first.horizons = append(first.horizons, minTime)
		first.files = append(first.files, nil)
	}
	m := first.manifest(config.Tiers)
	return m, writeManifest(config.FS, config.Dir, m)
}

func sameTiers(m *manifest, tiers []Tier) error {
	if len(m.tiers) != len(tiers) {
		return fmt.Errorf("the store was made with %d tiers, not %d", len(m.tiers), len(tiers))
	}
	for i, t := range tiers {
		if made := m.tiers[i].resolution; made != t.Resolution.Milliseconds() {
			return fmt.Errorf("tier %s: the store was made with a resolution of %d ms there", t, made)
		}
	}
	return nil
}

// clean removes what the manifest does not list: files that were being written
// when the process ended, or that were not needed any more.
func clean(config Config, m *manifest) error {
	temp := filepath.Join(config.Dir, manifestTemp)
	if err := config.FS.Remove(temp); err != nil && !errors.Is(err, iofs.ErrNotExist) {
		return fmt.Errorf("removing %s: %w", temp, err)
	}
	if err := cleanGraves(config, m); err != nil {
		return err
	}
	return removePages(config, func(tier int, sequence uint64) bool {
		return !slices.ContainsFunc(m.tiers[tier].files, func(f listedPages) bool { return f.sequence == sequence })
	})
}

// removeFrom removes page files from a number on, which no manifest lists.
func removeFrom(config Config, sequence uint64) error {
	return removePages(config, func(_ int, n uint64) bool { return n >= sequence })
}

// removePages removes the page files that are in no manifest, as somebody knows.
func removePages(config Config, unlisted func(tier int, sequence uint64) bool) error {
	for tier, t := range config.Tiers {
		dir := tierDir(config.Dir, t)
		names, err := config.FS.List(dir)
		if err != nil {
			return fmt.Errorf("listing %s: %w", dir, err)
		}
		for _, name := range names {
			if sequence, ok := sequenceOf(name); !ok || !unlisted(tier, sequence) {
				continue
			}
			path := filepath.Join(dir, name)
			config.Logger.Info("removing a page file that is in no manifest", "file", path)
			if err := config.FS.Remove(path); err != nil {
				return fmt.Errorf("removing %s: %w", path, err)
			}
		}
	}
	return nil
}

func openVersion(config Config, m *manifest) (*version, error) {
	graves, err := readGraves(config.FS, config.Dir, m.buried, len(m.tiers))
	if err != nil {
		return nil, err
	}
	v := &version{
		sealed: m.sealed, watermark: m.watermark, sequence: m.sequence, graves: graves, buried: m.buried,
		retained: retained{clock: m.clock, shortened: m.shortened, partial: m.shortened}, imports: m.imports, losses: m.losses,
	}
	for i, t := range m.tiers {
		v.horizons = append(v.horizons, t.horizon)
		v.files = append(v.files, nil)
		for _, listed := range t.files {
			path := filePath(config.Dir, config.Tiers[i], listed.sequence)
			f, err := openListed(config, path, listed, t.resolution)
			if err != nil {
				return nil, errors.Join(err, closeFiles(v.files))
			}
			v.files[i] = append(v.files[i], f)
		}
	}
	return v, nil
}

// openListed opens a file of the manifest. One that is damaged at its ends is opened
// all the same: it takes part in everything, and whoever reads from it gets the error.
func openListed(config Config, path string, listed listedPages, resolution int64) (*file, error) {
	f, err := openFile(config.FS, path, listed.sequence)
	if err == nil {
		if err = f.expect(listed.listedFile, resolution); err != nil {
			err = errors.Join(err, f.in.Close())
		}
	}
	if err != nil && !corrupted(err) {
		err = changed(config.FS, path, listed.listedFile, err)
	}
	if !corrupted(err) {
		return f, err
	}
	config.Logger.Error("a page file is damaged and cannot be read", "file", path, "buckets", listed.buckets,
		"from", formatTime(listed.first), "to", formatTime(listed.last+resolution), "error", err)
	return unreadable(config.FS, path, listed, resolution, err), nil
}

// changed makes an error of opening a file, like a version that is not known, one of
// damage if the file is not as it was written.
func changed(fs FS, path string, listed listedFile, cause error) error {
	in, err := fs.Open(path)
	if err != nil {
		return cause
	}
	sum, err := bodyChecksum(in, listed.size)
	if err = errors.Join(err, in.Close()); err != nil || sum == listed.crc {
		return cause
	}
	return fmt.Errorf("%w: %w", cause, corrupt("the checksum of the file is wrong"))
}

// unreadable stands for a file whose every page is damaged.
func unreadable(fs FS, path string, listed listedPages, resolution int64, err error) *file {
	return &file{
		footer: footer{
			resolution: resolution, window: bucket.Floor(listed.first, windowSegments*resolution),
			first: listed.first, last: listed.last, pages: 1, series: 1, buckets: listed.buckets,
		},
		fs: fs, path: path, sequence: listed.sequence, size: listed.size, crc: listed.crc,
		in: unreadableFile{err}, sparse: []uint32{listed.high}, damaged: true,
	}
}

type unreadableFile struct{ err error }

func (f unreadableFile) ReadAt([]byte, int64) (int, error) { return 0, f.err }
func (f unreadableFile) Write([]byte) (int, error)         { return 0, f.err }
func (f unreadableFile) Sync() error                       { return f.err }
func (f unreadableFile) Size() (int64, error)              { return 0, f.err }
func (f unreadableFile) Close() error                      { return nil }

// damages says what the unreadable files among the live ones cost, and what damaged ones
// have cost before.
func (v *version) damages() (texts []string) {
	texts = textsOf(v.losses)
	for _, files := range v.files {
		for _, f := range files {
			if broken, ok := f.in.(unreadableFile); ok {
				texts = append(texts, fmt.Sprintf("%v: %d buckets from %s to %s cannot be read",
					broken.err, f.buckets, formatTime(f.first), formatTime(f.last+f.resolution)))
			}
		}
	}
	return texts
}

// expect makes sure that a file is the one the manifest means.
func (f *file) expect(listed listedFile, resolution int64) error {
	if f.size != listed.size || f.crc != listed.crc || f.resolution != resolution {
		return fmt.Errorf("opening %s: %w", f.path, corrupt("it is not the file that the manifest lists"))
	}
	return nil
}

// closeFiles closes files that no version holds.
func closeFiles(tiers [][]*file) error {
	var errs []error
	for _, files := range tiers {
		for _, f := range files {
			errs = append(errs, f.in.Close())
		}
	}
	return errors.Join(errs...)
}
