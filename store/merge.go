package store

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"carillon/bucket"
)

// merge merges one run of files, if there is one that is due.
func (w *worker) merge() (bool, error) {
	current := w.store.current
	for _, due := range [...]func([]*file) []*file{due, w.leftOver} {
		for tier, files := range current.files {
			if run := due(files); run != nil {
				return w.mergeDue(current, tier, run)
			}
		}
	}
	return w.purge()
}

// mergeDue reports false when there is no room or no turn for it, too.
func (w *worker) mergeDue(current *version, tier int, run []*file) (bool, error) {
	if !w.begin(run) {
		return false, nil
	}
	defer w.end()
	done, err := w.mergeRun(current, tier, run)
	if err != nil {
		return false, fmt.Errorf("merging %d files of tier %s: %w", len(run), w.config.Tiers[tier], err)
	}
	return done, nil
}

// mergeRun puts the outcome in the run's place. It gives up, and reports false,
// when the store is closing.
func (w *worker) mergeRun(current *version, tier int, run []*file) (bool, error) {
	next := current.next()
	level := slices.MaxFunc(run, func(a, b *file) int { return cmp.Compare(a.level, b.level) }).level
	if len(run) > 1 {
		level++
	}
	out := newOutput(w.config, level, next.sequence)
	defer out.abort()
	if done, err := w.mergeSeries(tier, run, next, out); err != nil || !done {
		return false, err
	}
	made, err := out.finish()
	if err != nil {
		return false, err
	}
	next.sequence = out.sequence
	at := slices.Index(next.files[tier], run[0])
	next.files[tier] = slices.DeleteFunc(next.files[tier], func(f *file) bool { return slices.Contains(run, f) })
	next.files[tier] = slices.Insert(next.files[tier], at, made[tier]...)
	w.store.written.merged.Add(sizeOf(made))
	return true, w.commit(next, made, false)
}

func (w *worker) mergeSeries(tier int, run []*file, next *version, out *output) (bool, error) {
	m := newMerging(w.config, tier, run, next, out)
	for number := uint32(0); !w.closing(); number++ {
		n, ok, err := m.reader.next(tier, number, next.horizons[tier], math.MaxInt64)
		if err != nil || !ok {
			return true, err
		}
		if err := m.series(n); err != nil {
			return false, err
		}
		w.pace.step(w.wanted)
		if number = n; number == math.MaxUint32 {
			return true, nil
		}
	}
	return false, nil
}

func (w *worker) closing() bool {
	w.store.mu.Lock()
	defer w.store.mu.Unlock()
	return w.store.closing
}

// merging puts the buckets of one series in a run of files together. What lies
// before the run must stay able to shine through where nothing of the run takes
// its place, so a segment goes to the file that replaces if any of the run did,
// else to the one that merges. No segment is in both.
type merging struct {
	config Config
	tier   int
	run    []*file
	next   *version
	out    *output
	reader *reader
	alike  bool // all files of the run replace, or none does

	samples           columns
	replacing, adding fold
	inReplacing       []bucket.Bucket // scratch
	inAdding          []bucket.Bucket
}

func newMerging(config Config, tier int, run []*file, next *version, out *output) *merging {
	only := &version{files: make([][]*file, tier+1), graves: next.graves}
	only.files[tier] = run
	differs := func(f *file) bool { return f.replaces != run[0].replaces }
	return &merging{
		config: config, tier: tier, run: run, next: next, out: out,
		reader: newReader(only), alike: !slices.ContainsFunc(run, differs),
	}
}

// series merges one series: as columns if it has nothing but samples in order.
func (m *merging) series(number uint32) error {
	horizon := m.next.horizon(&m.config, number, m.tier)
	if m.tier == 0 {
		m.next.shorten(&m.config, number)
	}
	if m.alike {
		var ok bool
		var err error
		m.samples, ok, err = m.reader.samples(m.tier, number, horizon, math.MaxInt64, m.samples.slice(0, 0))
		if err != nil {
			return err
		}
		if ok {
			return m.out.addSamples(m.tier, m.run[0].replaces, number, m.samples)
		}
	}
	m.reset(m.config, m.tier, number)
	for _, f := range m.run {
		buckets, err := m.reader.cursor(m.tier, f).buckets(number, horizon, math.MaxInt64, m.reader.scratch[:0])
		if err != nil {
			return err
		}
		m.reader.scratch = buckets
		m.add(buckets, f.replaces)
	}
	if err := m.out.addBuckets(m.tier, true, number, m.replacing.acc); err != nil {
		return err
	}
	return m.out.addBuckets(m.tier, false, number, m.adding.acc)
}

func (m *merging) reset(config Config, tier int, number uint32) {
	kind, resolution := config.Kind(number), config.Tiers[tier].Resolution.Milliseconds()
	m.replacing.reset(kind, resolution)
	m.adding.reset(kind, resolution)
	m.replacing.coarse, m.adding.coarse = tier > 0, tier > 0
}

func (m *merging) add(buckets []bucket.Bucket, replaces bool) {
	if replaces {
		m.replacing.add(buckets, true)
		m.adding.drop(buckets)
		return
	}
	if len(m.replacing.acc) == 0 {
		m.adding.add(buckets, false)
		return
	}
	m.inReplacing, m.inAdding = m.inReplacing[:0], m.inAdding[:0]
	resolution := m.adding.resolution
	for _, b := range buckets {
		if has(m.replacing.acc, b.Start(resolution), resolution) {
			m.inReplacing = append(m.inReplacing, b)
		} else {
			m.inAdding = append(m.inAdding, b)
		}
	}
	m.replacing.add(m.inReplacing, false)
	m.adding.add(m.inAdding, false)
}
