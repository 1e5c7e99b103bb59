package store

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"carillon/bucket"
	"carillon/store/page"
)

// windowSegments is how many segments a file may span: a day of 10 s, thirty days
// of 5 m, a year of 1 h. A file belongs to one window, so that retention can drop
// it whole.
const windowSegments = 8640

// output writes the new files of one commit, one a tier, sort and window. A
// backfill that touches every window of a tier has maxWindows of them open.
type output struct {
	config   Config
	level    uint8
	sequence uint64 // of the next file
	writers  map[outputKey]*fileWriter
	recent   [MaxTiers]recentWriter // by tier: what comes next mostly goes there too
	encoder  page.Encoder
}

// recentWriter is the one that a tier's last buckets went to.
type recentWriter struct {
	key    outputKey
	writer *fileWriter
}

type outputKey struct {
	tier     int
	replaces bool
	window   int64
}

func newOutput(config Config, level uint8, sequence uint64) *output {
	return &output{config: config, level: level, sequence: sequence, writers: make(map[outputKey]*fileWriter)}
}

// addBuckets appends buckets of a series, sorted, one a segment. Series come in
// ascending order, and the pieces of one in ascending time.
func (o *output) addBuckets(tier int, replaces bool, number uint32, buckets []bucket.Bucket) error {
	for len(buckets) > 0 {
		w, end, err := o.writer(tier, replaces, buckets[0].FirstTime)
		if err != nil {
			return err
		}
		n := from(buckets, end)
		if err := w.addBuckets(number, buckets[:n]); err != nil {
			return err
		}
		buckets = buckets[n:]
	}
	return nil
}

// addSamples is addBuckets for buckets of one sample, or one staleness marker, each.
func (o *output) addSamples(tier int, replaces bool, number uint32, samples columns) error {
	for samples.len() > 0 {
		w, end, err := o.writer(tier, replaces, samples.times[0])
		if err != nil {
			return err
		}
		part := samples.within(samples.times[0], end)
		if err := w.addSamples(number, part); err != nil {
			return err
		}
		samples = samples.slice(part.len(), samples.len())
	}
	return nil
}

// writer is where buckets from a time on go, until the end of its window.
func (o *output) writer(tier int, replaces bool, time int64) (w *fileWriter, end int64, err error) {
	resolution := o.config.Tiers[tier].Resolution.Milliseconds()
	length := windowSegments * resolution
	key := outputKey{tier, replaces, bucket.Floor(time, length)}
	recent := &o.recent[tier]
	if recent.writer == nil || recent.key != key {
		if w = o.writers[key]; w == nil {
			if w, err = o.create(key, resolution); err != nil {
				return nil, 0, err
			}
		}
		*recent = recentWriter{key, w}
	}
	return recent.writer, key.window + length, nil
}

func (o *output) create(key outputKey, resolution int64) (*fileWriter, error) {
	path := filePath(o.config.Dir, o.config.Tiers[key.tier], o.sequence)
	w, err := createFile(o.config.FS, path, o.sequence, footer{
		resolution: resolution, window: key.window, replaces: key.replaces, level: o.level,
	}, &o.encoder)
	if w != nil {
		o.sequence++
		o.writers[key] = w
	}
	return w, err
}

// finish makes the files durable and opens them for reading, by tier and in
// commit order: what replaces comes before what merges.
func (o *output) finish() ([][]*file, error) {
	keys := make([]outputKey, 0, len(o.writers))
	for key := range o.writers {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, func(a, b outputKey) int {
		if a.replaces != b.replaces && a.tier == b.tier {
			if a.replaces {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(a.tier, b.tier), cmp.Compare(a.window, b.window))
	})
	made := make([][]*file, len(o.config.Tiers))
	for _, key := range keys {
		f, err := o.finishFile(key)
		if err != nil {
			return nil, errors.Join(err, closeFiles(made))
		}
		made[key.tier] = append(made[key.tier], f)
	}
	for tier, files := range made {
		if len(files) == 0 {
			continue
		}
		dir := tierDir(o.config.Dir, o.config.Tiers[tier])
		if err := o.config.FS.SyncDir(dir); err != nil {
			return nil, errors.Join(fmt.Errorf("syncing %s: %w", dir, err), closeFiles(made))
		}
	}
	return made, nil
}

// sizeOf is how many bytes files take.
func sizeOf(made [][]*file) (bytes int64) {
	for _, files := range made {
		for _, f := range files {
			bytes += f.size
		}
	}
	return bytes
}

func (o *output) finishFile(key outputKey) (*file, error) {
	w := o.writers[key]
	delete(o.writers, key)
	if err := w.finish(); err != nil {
		return nil, err
	}
	return openFile(o.config.FS, w.path, w.sequence)
}

// abort closes the files that are not finished.
func (o *output) abort() {
	for _, w := range o.writers {
		w.abort()
	}
}
