package tsdb

import (
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"

	"carillon/bucket"
	"carillon/importer"
	"carillon/series"
)

const (
	hour  = int64(3600_000)
	begin = int64(1_800_000_000_000) / hour / 2 * hour * 2
)

var stale = math.Float64frombits(bucket.StaleNaN)

// point is a sample as tsdb.CreateBlock takes it; with a histogram it has that instead of
// a value.
type point struct {
	time  int64
	value float64
	h     *histogram.Histogram
}

func (p point) ST() int64                     { return 0 }
func (p point) T() int64                      { return p.time }
func (p point) F() float64                    { return p.value }
func (p point) H() *histogram.Histogram       { return p.h }
func (p point) FH() *histogram.FloatHistogram { return nil }
func (p point) Copy() chunks.Sample           { return p }
func (p point) Type() chunkenc.ValueType {
	if p.h != nil {
		return chunkenc.ValHistogram
	}
	return chunkenc.ValFloat
}

// newBlock makes a block of series, all with the same points.
func newBlock(t testing.TB, dir string, points []chunks.Sample, names ...string) string {
	t.Helper()
	var all []storage.Series
	for _, name := range names {
		all = append(all, storage.NewListSeries(labels.FromStrings("__name__", name, "job", "test"), points))
	}
	block, err := tsdb.CreateBlock(all, dir, 24*hour, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return block
}

func every(from, to, step int64, value func(at int64) float64) (points []chunks.Sample) {
	for at := from; at < to; at += step {
		points = append(points, point{time: at, value: value(at)})
	}
	return points
}

func open(t testing.TB, dir string) (*Blocks, *importer.Ledger) {
	t.Helper()
	ledger := importer.NewLedger()
	b, err := Open(dir, ledger)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b, ledger
}

// read is what blocks have in a span, by series.
func read(t testing.TB, b *Blocks, span importer.Span) map[string][]bucket.Bucket {
	t.Helper()
	refs := map[series.Key][]uint64{}
	if err := b.Each(t.Context(), span, func(e importer.Entry) error {
		refs[e.Key] = append(refs[e.Key], e.Ref)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	all := map[string][]bucket.Bucket{}
	r := b.Reader()
	for key, refs := range refs {
		name := key.Get(series.MetricName)
		if err := r.Read(refs, span, func(b *bucket.Bucket) { all[name] = append(all[name], *b) }); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// listing is every file below a folder, with its size and time.
func listing(t testing.TB, dir string) (all string) {
	t.Helper()
	if err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err == nil {
			all += fmt.Sprintln(path, info.Size(), info.ModTime(), info.Mode())
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

// TestBlocks: samples of blocks that follow each other and of two that overlap, exactly, and
// nothing is written.
func TestBlocks(t *testing.T) {
	dir := t.TempDir()
	value := func(at int64) float64 {
		if at == begin+hour {
			return stale
		}
		return float64(at%7919) / 8
	}
	newBlock(t, dir, every(begin, begin+2*hour, 15_001, value), "up", "http_requests_total")
	newBlock(t, dir, every(begin+2*hour, begin+4*hour, 15_000, value), "up")
	newBlock(t, dir, every(begin+3*hour, begin+5*hour, 30_000, value), "up", "late")
	marker := []chunks.Sample{point{time: begin + 5*hour + 1, value: stale}}
	newBlock(t, dir, marker, "up")
	before := listing(t, dir)
	b, ledger := open(t, dir)
	if !strings.HasPrefix(b.Name(), "prometheus /") || b.Log() {
		t.Error(b.Name())
	}
	var ends []int64
	have := map[string]int{}
	var newest int64
	for from, to := int64(0), b.Next(0); to > from; from, to = to, b.Next(to) {
		ends = append(ends, to-begin)
		span := importer.Span{From: from, To: to}
		if b.Size(span) == 0 {
			t.Errorf("nothing is said to end at %d", to)
		}
		all := read(t, b, span)
		for name, buckets := range all {
			have[name] += len(buckets)
			for _, one := range buckets {
				if name == "up" && one.FirstTime <= newest {
					t.Fatalf("%d comes after %d", one.FirstTime, newest)
				}
				if name == "up" {
					newest = one.FirstTime
				}
				if one.Count == 1 && math.Float64bits(one.Last) != math.Float64bits(value(one.FirstTime)) {
					t.Fatalf("%s: %v at %d", name, one.Last, one.FirstTime)
				}
			}
		}
	}
	if len(ends) != 3 || ends[0] > 2*hour || ends[2] != 5*hour+2 {
		t.Errorf("spans end at %v", ends)
	}
	if have["up"] != 480+480+120+1 || have["late"] != 240 || have["http_requests_total"] != 480 {
		t.Errorf("%v", have)
	}
	if newest != begin+5*hour+1 || len(ledger.Refusals()) != 0 {
		t.Errorf("up to %d, %v", newest, ledger.Refusals())
	}
	if after := listing(t, dir); after != before {
		t.Errorf("the blocks have changed from\n%s\nto\n%s", before, after)
	}
}

// TestTombstones: what was deleted and is still in the block stays deleted.
func TestTombstones(t *testing.T) {
	dir := t.TempDir()
	path := newBlock(t, dir, every(begin, begin+hour, 10_000, func(int64) float64 { return 1 }), "up")
	one, err := tsdb.OpenBlock(nil, path, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	up := labels.MustNewMatcher(labels.MatchEqual, "__name__", "up")
	if err := one.Delete(context.Background(), begin+600_000, begin+1_199_999, up); err != nil {
		t.Fatal(err)
	}
	if err := one.Close(); err != nil {
		t.Fatal(err)
	}
	b, _ := open(t, path) // the block itself
	if n := len(read(t, b, importer.Span{To: begin + 2*hour})["up"]); n != 300 {
		t.Errorf("%d samples", n)
	}
}

// TestWhatIsNotTaken: histograms, parents of a compaction, what is damaged.
func TestWhatIsNotTaken(t *testing.T) {
	dir := t.TempDir()
	h := &histogram.Histogram{Count: 3, Sum: 7, Schema: 1, PositiveSpans: []histogram.Span{{Offset: 0, Length: 1}}, PositiveBuckets: []int64{3}}
	newBlock(t, dir, []chunks.Sample{point{time: begin, h: h}, point{time: begin + 1000, h: h}}, "latency")
	parent := newBlock(t, dir, every(begin, begin+hour, 10_000, func(int64) float64 { return 1 }), "up")
	child := newBlock(t, dir, every(begin, begin+hour, 10_000, func(int64) float64 { return 1 }), "up")
	text, err := os.ReadFile(filepath.Join(child, metaName))
	if err != nil {
		t.Fatal(err)
	}
	parents := fmt.Sprintf(`"compaction": {"parents": [{"ulid": %q}],`, filepath.Base(parent))
	edit(t, filepath.Join(child, metaName), []byte(strings.Replace(string(text), `"compaction": {`, parents, 1)))

	torn := newBlock(t, dir, every(begin, begin+hour, 10_000, func(int64) float64 { return 2 }), "torn")
	segment := filepath.Join(torn, chunksName, "000001")
	data, err := os.ReadFile(segment)
	if err != nil {
		t.Fatal(err)
	}
	data[40] ^= 1
	edit(t, segment, data)
	edit(t, filepath.Join(newBlock(t, dir, every(begin, begin+hour, 10_000, func(int64) float64 { return 2 }), "gone"), indexName), []byte("short"))
	edit(t, filepath.Join(newBlock(t, dir, every(begin, begin+hour, 10_000, func(int64) float64 { return 2 }), "odd"), metaName), []byte(`{"version": 9}`))
	if err := os.Mkdir(filepath.Join(dir, "wal"), 0o755); err != nil {
		t.Fatal(err)
	}
	edit(t, filepath.Join(dir, "wal", "00000000"), nil)

	b, ledger := open(t, dir)
	all := read(t, b, importer.Span{To: begin + 2*hour})
	if len(all["up"]) != 360 || len(all["latency"]) != 0 || len(all["torn"]) >= 360 || len(all) > 3 || !b.Log() {
		t.Errorf("%d, %d, %d samples", len(all["up"]), len(all["latency"]), len(all["torn"]))
	}
	refused := map[importer.Reason]uint64{}
	for _, r := range ledger.Refusals() {
		refused[r.Reason] = r.Count
	}
	if refused[importer.Histogram] != 2 || refused[importer.BadChunk] != 1 || refused[importer.Unreadable] != 2 || len(refused) != 3 {
		t.Errorf("%v", ledger.Refusals())
	}
	for _, path := range []string{filepath.Join(dir, "absent"), t.TempDir()} {
		if _, err := Open(path, importer.NewLedger()); err == nil {
			t.Errorf("%s has blocks", path)
		}
	}
}

func edit(t testing.TB, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func FuzzMeta(f *testing.F) {
	f.Add([]byte(`{"version": 1, "ulid": "01", "minTime": 1, "maxTime": 2, "stats": {"numSeries": 3}, "compaction": {"parents": [{"ulid": "00"}]}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		dir := t.TempDir()
		edit(t, filepath.Join(dir, metaName), text)
		if m, err := readMeta(dir); err == nil && (m.Version != 1 || m.MinTime >= m.MaxTime) {
			t.Errorf("%+v", m)
		}
	})
}
