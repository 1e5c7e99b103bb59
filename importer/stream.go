package importer

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/zeebo/xxh3"
	"golang.org/x/sync/errgroup"

	"carillon/bucket"
	"carillon/series"
	"carillon/store"
)

const (
	batchSamples  = 4 << 20   // samples that are committed together
	batchSeries   = 256 << 10 // series of those
	batchMetadata = 16 << 10  // families that are described together
	maxTextBytes  = 4096      // of a help text
)

// Stream is history in an order of its own, which is the same whenever it is read.
type Stream interface {
	// Name tells what is read, by its contents.
	Name() string
	// Read gives everything away. It counts what it cannot read.
	Read(ctx context.Context, to Sink) error
}

// Sink takes what a stream has. An error ends the import.
type Sink interface {
	// Add takes a sample. The key is kept.
	Add(key series.Key, time int64, value float64) error
	// Describe takes metadata, and keeps copies.
	Describe(m series.Metadata) error
	// Progress tells how many bytes of the stream are read.
	Progress(done, total int64)
}

// nameBytes is how much of the start and of the end of a file its name is made of.
const nameBytes = 1 << 20

// NameOf names a file by its length, its start and its end, so that it is known wherever it
// lies.
func NameOf(format string, f *os.File) (name string, size int64, err error) {
	info, err := f.Stat()
	if err != nil {
		return "", 0, err
	}
	size = info.Size()
	hash := xxh3.New()
	for _, at := range []int64{0, max(0, size-nameBytes)} {
		if _, err := io.Copy(hash, io.NewSectionReader(f, at, nameBytes)); err != nil {
			return "", 0, err
		}
	}
	return fmt.Sprintf("%s %d %x", format, size, hash.Sum128().Bytes()), size, nil
}

// The stages of a stream's positions. The item of the first one is how many samples are
// taken.
const (
	streamBegun    = 1
	streamFinished = 2
)

// Stream imports what earlier runs have not taken of a stream.
func (im *Importer) Stream(ctx context.Context, s Stream) error {
	c := &collector{im: im, ctx: ctx, source: sourceOf(s.Name()), series: make(map[series.Key]uint32)}
	finished := true
	for _, s := range im.config.Target.Stores {
		at := s.Imported(c.source)
		c.from = append(c.from, at)
		finished = finished && at.Stage == streamFinished
	}
	if finished {
		return nil
	}
	if err := s.Read(ctx, c); err != nil {
		return err
	}
	if err := c.flush(); err != nil {
		return err
	}
	for i := range c.from {
		if err := im.reach(i, c.source, store.Position{Stage: streamFinished}); err != nil {
			return err
		}
	}
	return nil
}

// collector gathers the samples of a stream until there are enough for a commit. One
// goroutine uses it.
type collector struct {
	im      *Importer
	ctx     context.Context // of the import
	source  store.Source
	from    []store.Position // by partition: how far earlier runs came
	ordinal uint64           // samples so far, taken or not

	series   map[series.Key]uint32 // indexes of keys
	keys     []series.Key
	refs     []uint32 // by sample: index of its key
	times    []int64
	values   []float64
	metadata []series.Metadata
}

// Progress implements Sink.
func (c *collector) Progress(done, total int64) {
	c.im.config.Progress("importing", uint64(min(done, total)), uint64(max(total, 1)))
}

// Add implements Sink.
func (c *collector) Add(key series.Key, time int64, value float64) error {
	c.ordinal++
	at := &c.from[key.Partition(len(c.from))]
	if at.Stage == streamFinished || at.Stage == streamBegun && at.Item >= c.ordinal || !c.im.admits(time) {
		return nil
	}
	if len(c.refs) == 0 || c.keys[c.refs[len(c.refs)-1]] != key || len(c.refs) == c.im.batchSamples {
		return c.addOf(key, time, value)
	}
	c.append(c.refs[len(c.refs)-1], time, value)
	return nil
}

func (c *collector) append(ref uint32, time int64, value float64) {
	c.refs, c.times, c.values = append(c.refs, ref), append(c.times, time), append(c.values, value)
}

// addOf is Add for another series than the last one's, or when a batch is full.
func (c *collector) addOf(key series.Key, time int64, value float64) error {
	if len(c.refs) == c.im.batchSamples || len(c.keys) == batchSeries {
		c.ordinal-- // this one is of the next batch
		if err := c.flush(); err != nil {
			return err
		}
		c.ordinal++
	}
	ref, ok := c.series[key]
	if !ok {
		ref = uint32(len(c.keys))
		c.series[key] = ref
		c.keys = append(c.keys, key)
	}
	c.append(ref, time, value)
	return nil
}

// Describe implements Sink.
func (c *collector) Describe(m series.Metadata) error {
	for _, text := range []*string{&m.Family, &m.Type, &m.Help, &m.Unit} {
		*text = strings.Clone(*text)
	}
	if m.Family == "" || len(m.Family) > series.MaxValueBytes || !utf8.ValidString(m.Family) {
		c.im.config.Ledger.Refuse(BadMeta, 1, m.Family, "")
		return nil
	}
	m.Help = strings.ToValidUTF8(m.Help[:min(len(m.Help), maxTextBytes)], "")
	m.Unit = strings.ToValidUTF8(m.Unit[:min(len(m.Unit), maxTextBytes)], "")
	c.metadata = append(c.metadata, m)
	if len(c.metadata) < batchMetadata {
		return nil
	}
	return c.define()
}

// flush commits what was gathered.
func (c *collector) flush() error {
	if err := c.ctx.Err(); err != nil {
		return err
	}
	if err := c.define(); err != nil {
		return err
	}
	batch, err := c.batch()
	if err != nil {
		return err
	}
	var group errgroup.Group
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i, members := range batch.partitions {
		if len(members) > 0 {
			group.Go(func() error { return c.commit(batch, i) })
		}
	}
	err = group.Wait()
	clear(c.series)
	c.keys, c.refs, c.times, c.values = c.keys[:0], c.refs[:0], c.times[:0], c.values[:0]
	return err
}

// define makes the series of the batch known, and the metadata.
func (c *collector) define() error {
	var fresh []series.Definition
	for _, key := range c.keys {
		if _, ok := c.im.config.Target.Lookup(key); !ok {
			fresh = append(fresh, series.Definition{Key: key, Kind: c.im.config.Target.KindOf(key.Get(series.MetricName))})
		}
	}
	if len(fresh) == 0 && len(c.metadata) == 0 {
		return nil
	}
	err := c.im.config.Target.Define(c.ctx, fresh, c.metadata)
	c.metadata = c.metadata[:0]
	return err
}

// batch is samples by series: those of keys[i] are order[starts[i]:starts[i+1]].
type batch struct {
	order      []uint32
	starts     []uint32
	partitions [][]member // by number
}

type member struct {
	number uint32
	key    int
}

func (c *collector) batch() (*batch, error) {
	b := &batch{
		order: make([]uint32, len(c.refs)), starts: make([]uint32, len(c.keys)+1),
		partitions: make([][]member, len(c.from)),
	}
	for _, ref := range c.refs {
		b.starts[ref+1]++
	}
	for i := range c.keys {
		b.starts[i+1] += b.starts[i]
	}
	next := slices.Clone(b.starts)
	for i, ref := range c.refs {
		b.order[next[ref]] = uint32(i)
		next[ref]++
	}
	for i, key := range c.keys {
		id, ok := c.im.config.Target.Lookup(key)
		if !ok {
			return nil, fmt.Errorf("series %s was defined, but is not known", key.Format())
		}
		of := &b.partitions[id.Partition()]
		*of = append(*of, member{id.Number(), i})
	}
	for _, members := range b.partitions {
		slices.SortFunc(members, func(a, b member) int { return cmp.Compare(a.number, b.number) })
	}
	return b, nil
}

// commit imports what a batch has for a partition.
func (c *collector) commit(b *batch, partition int) error {
	var counts Counts
	var numbers []uint32
	buckets := func(yield func(uint32, []bucket.Bucket) bool) {
		var of []bucket.Bucket
		for _, m := range b.partitions[partition] {
			of = of[:0]
			for _, i := range b.order[b.starts[m.key]:b.starts[m.key+1]] {
				of = append(of, bucket.Of(c.times[i], c.values[i]))
				counts.Samples += of[len(of)-1].Count
			}
			slices.SortStableFunc(of, func(a, b bucket.Bucket) int { return cmp.Compare(a.FirstTime, b.FirstTime) })
			counts.Buckets += uint64(len(of))
			numbers = append(numbers, m.number)
			if !yield(m.number, of) {
				return
			}
		}
	}
	through := func() (store.Position, error) {
		return store.Position{Stage: streamBegun, Item: c.ordinal}, nil
	}
	if err := c.im.put(partition, c.source, buckets, through); err != nil {
		return err
	}
	c.im.taken(partition, numbers, counts)
	return nil
}
