package istatd

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"carillon/bucket"
	"carillon/importer"
	"carillon/series"
)

const (
	now       = int64(1_800_000_000)
	pageBytes = 8192
)

// ringFile writes a file as istatd does.
type ringFile struct {
	header
	path  string
	slots []slot
}

func newRingFile(path string, interval, pages, created int64, flags uint32) *ringFile {
	h := header{interval: interval, flags: flags, pageBytes: pageBytes, pages: pages, created: created - created%interval}
	if flags&flagAggregate != 0 {
		h.fixedCount = interval / defaultCollatedS
	}
	return &ringFile{header: h, path: path, slots: make([]slot, h.slots())}
}

// record does what istatd does with a value, or the segment of a collated file.
func (f *ringFile) record(at int64, value float64) {
	at -= at % f.interval
	place := (at - f.created) / f.interval % f.header.slots()
	if place < 0 {
		place += f.header.slots()
	}
	f.lastTime = max(f.lastTime, at)
	s := &f.slots[place]
	if s.time != at {
		*s = slot{time: at, least: float32(value), most: float32(value)}
	}
	switch {
	case f.is(flagCollated):
		s.sum += value
		s.least, s.most, s.sq, s.count = float32(s.sum), float32(s.sum), float32(s.sum*s.sum), 1
		return
	case f.is(flagAggregate):
		s.count = int32(f.fixedCount)
	default:
		s.count++
	}
	s.sum += value
	s.least, s.most = min(s.least, float32(value)), max(s.most, float32(value))
	s.sq += float32(value * value)
}

func (f *ringFile) bytes() []byte {
	b := make([]byte, f.pageBytes*(f.pages+1))
	copy(b, magic)
	put32 := func(at int, v int64) { binary.LittleEndian.PutUint32(b[at:], uint32(v)) }
	put64 := func(at int, v int64) { binary.LittleEndian.PutUint64(b[at:], uint64(v)) }
	put32(0x10, headerBytes)
	put32(0x14, f.interval)
	put32(0x18, int64(f.flags))
	put32(0x1c, 8)
	put32(0x20, 4)
	put64(0x28, f.pageBytes)
	put64(0x30, f.pages)
	put64(0x48, f.lastTime)
	put64(0x70, f.created)
	copy(b[0xb8:], f.path)
	put64(0x1c8, f.fixedCount)
	for i, s := range f.slots {
		at := int(f.pageBytes) + i*slotBytes
		put64(at, s.time)
		put64(at+8, int64(math.Float64bits(s.sum)))
		put32(at+16, int64(math.Float32bits(s.least)))
		put32(at+20, int64(math.Float32bits(s.most)))
		put32(at+24, int64(s.count))
		put32(at+28, int64(math.Float32bits(s.sq)))
	}
	return b
}

func (f *ringFile) write(t testing.TB) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(f.path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(f.path, f.bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
}

// imported is what a folder has, by series.
func imported(t testing.TB, dir string, span importer.Span) (map[string][]bucket.Bucket, map[string]series.Kind, map[importer.Reason]uint64) {
	t.Helper()
	ledger := importer.NewLedger()
	d, err := Open(dir, time.Unix(now, 0), ledger)
	if err != nil {
		t.Fatal(err)
	}
	if d.Next(0) != 1000*now || d.Next(2000*now) != 2000*now || !strings.HasPrefix(d.Name(), "istatd /") || d.Size(span) == 0 {
		t.Errorf("%q has %d", d.Name(), d.Size(span))
	}
	all, kinds := map[string][]bucket.Bucket{}, map[string]series.Kind{}
	r := d.Reader()
	err = d.Each(t.Context(), span, func(e importer.Entry) error {
		name := e.Key.Get(series.MetricName)
		kinds[name] = e.Kind
		return r.Read([]uint64{e.Ref}, span, func(b *bucket.Bucket) { all[name] = append(all[name], *b) })
	})
	if err != nil {
		t.Fatal(err)
	}
	refused := map[importer.Reason]uint64{}
	for _, one := range ledger.Refusals() {
		refused[one.Reason] = one.Count
	}
	return all, kinds, refused
}

// TestGauge: a counter of three files, over more time than the finest ones have room for.
func TestGauge(t *testing.T) {
	dir := t.TempDir()
	created := now - 30*24*3600
	files := []*ringFile{
		newRingFile(filepath.Join(dir, "cpu/idle/10s"), 10, 2, created, 0), // 512 slots: 85 minutes
		newRingFile(filepath.Join(dir, "cpu/idle/5m"), 300, 2, created, 0), // 42 hours
		newRingFile(filepath.Join(dir, "cpu/idle/1h"), 3600, 4, created, 0),
	}
	var sum float64
	var count uint64
	random := rand.New(rand.NewPCG(1, 2))
	for at := now - 10*24*3600; at < now-10; at += 7 {
		value := math.Round(random.Float64()*1000) / 8
		sum += value
		count++
		for _, f := range files {
			f.record(at, value)
		}
	}
	for _, f := range files {
		f.write(t)
	}
	all, kinds, refused := imported(t, dir, importer.Span{To: 1000 * now})
	if len(all) != 1 || kinds["cpu.idle"] != series.Gauge || len(refused) != 0 {
		t.Fatalf("%d series, %v, %v", len(all), kinds, refused)
	}
	buckets := all["cpu.idle"]
	for i := range buckets {
		b := &buckets[i]
		sum -= b.Sum
		count -= b.Count
		if b.Min > b.Mean() || b.Mean() > b.Max || i > 0 && b.FirstTime <= buckets[i-1].FirstTime {
			t.Fatalf("%+v", b)
		}
	}
	if sum != 0 || count != 0 {
		t.Errorf("%d samples of %v are missing", int64(count), sum)
	}
	if n := len(buckets); n < 511+42*12-20 {
		t.Errorf("%d buckets", n)
	}
	// A later run takes what has come since.
	files[0].record(now-10, 5)
	files[0].write(t)
	all, _, _ = imported(t, dir, importer.Span{From: 1000 * (now - 10), To: 1000 * now})
	if b := all["cpu.idle"]; len(b) != 1 || b[0].Sum != 5 {
		t.Errorf("later there is %+v", b)
	}
}

// TestDeviation: what single precision leaves of it.
func TestDeviation(t *testing.T) {
	h := &header{interval: 10}
	s := slot{time: 100, sum: 30, sq: 350, least: 5, most: 15, count: 3}
	want := bucket.Bucket{FirstTime: 100_000, LastTime: 100_000, First: 10, Last: 10, Count: 3, Sum: 30, Min: 5, Max: 15, M2: 50}
	if b, ok := h.bucketOf(&s, 1); !ok || b != want {
		t.Errorf("%+v", b)
	}
	same := slot{time: 100, sum: 0.1 * 5, sq: 0.06, least: 0.1, most: 0.1, count: 5}
	if b, ok := h.bucketOf(&same, 1); !ok || b.M2 > 1e-16 || b.Min > b.Mean() || b.Max < b.Mean() {
		t.Errorf("%+v", b)
	}
	for _, bad := range []slot{
		{sum: math.NaN(), count: 2}, {sum: 1, least: 2, most: 1, count: 2},
		{sum: 1, sq: float32(math.Inf(1)), most: 1, count: 2}, {sum: 1, most: float32(math.NaN()), count: 2},
	} {
		if b, ok := h.bucketOf(&bad, 1); ok {
			t.Errorf("%+v became %+v", bad, b)
		}
	}
}

// TestEvents: sums come out as they were sent, whichever file they are from.
func TestEvents(t *testing.T) {
	dir := t.TempDir()
	created := now - 10*24*3600
	fine := newRingFile(filepath.Join(dir, "hits/10s"), 10, 2, created, flagCollated)
	coarse := newRingFile(filepath.Join(dir, "hits/5m"), 300, 2, created, flagAggregate)
	sum := 0.0
	for at := now - 30*3600; at < now-10; at += 5 {
		fine.record(at, 2.0/defaultCollatedS)
		coarse.record(at, 2.0/defaultCollatedS)
		sum += 2
	}
	fine.write(t)
	coarse.write(t)
	check := func() {
		t.Helper()
		all, kinds, _ := imported(t, dir, importer.Span{To: 1000 * now})
		have := 0.0
		for _, b := range all["hits"] {
			have += b.Sum
		}
		if kinds["hits"] != series.Event || math.Abs(have-sum) > 1e-6*sum {
			t.Errorf("%v, %v of %v", kinds, have, sum)
		}
	}
	check()
	if err := os.Remove(fine.path); err != nil {
		t.Fatal(err)
	}
	check()
}

// TestWhatIsNotTaken: each with its reason.
func TestWhatIsNotTaken(t *testing.T) {
	dir := t.TempDir()
	good := newRingFile(filepath.Join(dir, "a/b/10s"), 10, 1, now-100_000, 0)
	good.record(now-100_000, 1) // an earlier round than the others
	good.record(now-50, 2)
	good.record(now, 3) // not over
	good.slots[5] = slot{time: now - now%10 - 20, sum: 1, count: 1}
	good.write(t)
	newRingFile(filepath.Join(dir, "a/10s"), 10, 1, now-100, 0).write(t) // never written
	newRingFile(filepath.Join(dir, "a/b/day"), 300, 1, now-100, flagTrailing).write(t)
	if err := os.WriteFile(filepath.Join(dir, "a/b/junk"), []byte("no counter"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(dir, "a"), filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	all, _, refused := imported(t, dir, importer.Span{To: 1000 * now})
	if len(all) != 1 || len(all["a.b"]) != 1 || all["a.b"][0] != bucket.Of(1000*((now-50)/10*10), 2) {
		t.Errorf("%+v", all)
	}
	for reason, want := range map[importer.Reason]uint64{
		importer.StaleSlot: 1, importer.Unfinished: 1, importer.Damaged: 1, importer.Seasonal: 1, importer.Unreadable: 1, importer.Symlink: 1,
	} {
		if refused[reason] != want {
			t.Errorf("%s: %d, want %d", reason, refused[reason], want)
		}
	}
	for _, path := range []string{filepath.Join(dir, "absent"), t.TempDir()} {
		if _, err := Open(path, time.Unix(now, 0), importer.NewLedger()); err == nil {
			t.Errorf("%s has counters", path)
		}
	}
}

func TestShortFile(t *testing.T) {
	f := newRingFile("x", 10, 4, now-10_000, 0)
	for at := now - 10_000; at < now; at += 10 {
		f.record(at, 1)
	}
	whole := f.bytes()
	h, err := parseHeader(whole)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(h.ring(whole[pageBytes:pageBytes+100*slotBytes+5], now, 1).level.Buckets); n != 100 {
		t.Errorf("%d buckets of the first 100 slots", n)
	}
	for n := range headerBytesOf4 {
		if _, err := parseHeader(whole[:n]); err == nil {
			t.Fatalf("%d bytes are a header", n)
		}
	}
}

func FuzzFile(f *testing.F) {
	for _, flags := range []uint32{0, flagCollated, flagAggregate} {
		r := newRingFile("x", 300, 1, now-10_000, flags)
		for at := now - 9000; at < now; at += 100 {
			r.record(at, float64(at%7))
		}
		whole := r.bytes()
		f.Add(whole[:headerBytes], slices.Clone(whole[pageBytes:]))
	}
	f.Fuzz(func(t *testing.T, head, data []byte) {
		h, err := parseHeader(head)
		if err != nil {
			return
		}
		buckets := h.ring(data, now, 10).level.Buckets
		for i := range buckets {
			b := &buckets[i]
			if b.Count == 0 || i > 0 && b.FirstTime <= buckets[i-1].FirstTime {
				t.Fatalf("%+v", b)
			}
			if b.Count > 1 && !(b.Min <= b.Mean() && b.Mean() <= b.Max && b.M2 >= 0) {
				t.Fatalf("%+v", b)
			}
		}
	})
}
