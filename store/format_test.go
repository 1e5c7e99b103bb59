package store

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"carillon/bucket"
	"carillon/store/page"
)

// TestVerify flips each bit of each byte of each file in turn: verify finds all.
func TestVerify(t *testing.T) {
	fs := newMemFS()
	config := testConfig(fs, testTiers(t, "10s:1h,1m:1d"))
	s, err := newStore(config)
	if err != nil {
		t.Fatal(err)
	}
	sc := script{tiers: config.Tiers}
	sc.run(s, 0, 2)
	if err := stop(s); err != nil {
		t.Fatal(err)
	}
	if report, err := verify(fs, config.Dir); err != nil || len(report.Problems) > 0 || report.Pages == 0 {
		t.Fatalf("an undamaged store: %+v, %v", report, err)
	}
	for name, node := range fs.names {
		for i := range node.data {
			bit := byte(1) << (i % 8)
			node.data[i] ^= bit
			report, err := verify(fs, config.Dir)
			if err != nil || len(report.Problems) == 0 {
				t.Errorf("%s: a flipped bit in byte %d of %d was not found: %v", name, i, len(node.data), err)
			}
			node.data[i] ^= bit
		}
	}
}

// TestCorruptRead: a damaged page is an error that names the file, and the other pages
// are still read.
func TestCorruptRead(t *testing.T) {
	fs := newMemFS()
	s, err := newStore(testConfig(fs, testTiers(t, "10s:1d")))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stop(s) }()
	const many = 2000
	for i := range int64(many) {
		for number := range uint32(2) { // of odd values: a page each
			b := bucket.Of(bucket.Floor(scriptStart, day)+i*10*second, math.Sqrt(float64(i)))
			s.Add(number, &b)
		}
	}
	if err := s.Seal(scriptStart, 1, none); err != nil {
		t.Fatal(err)
	}
	drive(s)
	path := s.current.files[0][0].path
	fs.names[path].data[headerBytes+3] ^= 1
	view := s.View([]uint32{0, 1}, nil)
	defer view.Close()
	_, err = view.Read(0, 0, 0, math.MaxInt64, nil)
	if err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("a damaged page: %v", err)
	}
	if got, err := view.Read(1, 0, 0, math.MaxInt64, nil); err != nil || len(got) != many {
		t.Errorf("its neighbour: %d buckets, %v", len(got), err)
	}
}

// TestFile writes many series, some of several pages, and reads them in any order.
func TestFile(t *testing.T) {
	fs := newMemFS()
	if err := fs.MkdirAll("/"); err != nil {
		t.Fatal(err)
	}
	const window = 100 * day
	w, err := createFile(fs, "/f", 1, footer{resolution: 10 * second, window: window}, new(page.Encoder))
	if err != nil {
		t.Fatal(err)
	}
	of := func(number uint32) (buckets []bucket.Bucket) {
		n := int64(1)
		if number%200 == 0 {
			n = windowSegments
		}
		for i := range n {
			buckets = append(buckets, bucket.Of(window+i*10*second, float64(number)))
		}
		return buckets
	}
	for number := uint32(0); number < 600; number += 2 {
		if err := w.addBuckets(number, of(number)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.finish(); err != nil {
		t.Fatal(err)
	}
	f, err := openFile(fs, "/f", 1)
	if err != nil {
		t.Fatal(err)
	}
	c := newCursor(f, new(page.Decoder))
	for i := range uint32(700) {
		number := i * 391 % 700
		var want []bucket.Bucket
		if number%2 == 0 && number < 600 {
			want = of(number)
		}
		got, err := c.buckets(number, 0, math.MaxInt64, nil)
		if err != nil || !cmp.Equal(got, want) {
			t.Fatalf("series %d: %d buckets, not %d; %v", number, len(got), len(want), err)
		}
		got, err = c.buckets(number, window+5000*10*second, window+5002*10*second, nil)
		if err != nil || len(want) > 5000 && !cmp.Equal(got, want[5000:5002]) || len(want) < 5000 && len(got) > 0 {
			t.Fatalf("part of series %d: %d buckets; %v", number, len(got), err)
		}
	}
}

// TestReadingAllocatesNothing: neither does finding a series, nor reading it into
// memory that is large enough.
func TestReadingAllocatesNothing(t *testing.T) {
	s, err := newStore(testConfig(newMemFS(), testTiers(t, "10s:1d")))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stop(s) }()
	const numbers = 2000
	for number := range uint32(numbers) {
		s.AddSamples([]uint32{number, number}, []int64{scriptStart, scriptStart + 10*second}, []float64{1, float64(number)})
	}
	if err := s.Seal(scriptStart, 1, none); err != nil {
		t.Fatal(err)
	}
	drive(s)
	r := newReader(s.current)
	samples := columns{make([]int64, 0, 8), make([]float64, 0, 8)}
	all := func() {
		for number := range uint32(numbers) {
			var ok bool
			if samples, ok, err = r.samples(0, number, 0, math.MaxInt64, samples.slice(0, 0)); err != nil || !ok || samples.len() != 2 {
				t.Fatalf("series %d: %v, %v, %v", number, samples, ok, err)
			}
		}
	}
	if n := testing.AllocsPerRun(5, all); n > 0 {
		t.Errorf("reading %d series allocates %v times", numbers, n)
	}
}

func FuzzManifest(f *testing.F) {
	f.Add([]byte{})
	f.Add((&manifest{sealed: 3, watermark: -5, sequence: 7}).appendCopy(nil))
	f.Add((&manifest{losses: []loss{{span{1, 2}, "text"}, {}}}).appendCopy(nil))
	listed := []listedPages{{listedFile: listedFile{1, 2, 3}, first: 4, last: 5, high: 6, buckets: 7}}
	f.Add((&manifest{tiers: []listedTier{{resolution: 10000, horizon: minTime, files: listed}, {}}}).appendCopy(nil))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, data := range [][]byte{data, sealedUp(data)} {
			m, err := decodeCopy(data)
			if err != nil {
				continue
			}
			if back := m.appendCopy(nil); string(back) != string(data) {
				t.Errorf("%x was written back as %x", data, back)
			}
		}
	})
}

// sealedUp gives a mutated manifest a right checksum.
func sealedUp(data []byte) []byte {
	sum := checksum(data)
	return append(data[:len(data):len(data)], byte(sum), byte(sum>>8), byte(sum>>16), byte(sum>>24))
}

// FuzzFile opens and reads anything: an error, or what is in it, but never a panic
// and no more memory than the file deserves.
func FuzzFile(f *testing.F) {
	dir := f.TempDir()
	path := filepath.Join(dir, "seed")
	w, err := createFile(OS{}, path, 1, footer{resolution: 10 * second}, new(page.Encoder))
	if err != nil {
		f.Fatal(err)
	}
	for number := range uint32(blockEntries + 2) {
		if err := w.addBuckets(number, []bucket.Bucket{bucket.Of(int64(number), 1)}); err != nil {
			f.Fatal(err)
		}
	}
	if err := w.finish(); err != nil {
		f.Fatal(err)
	}
	seed, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Add(seed[:headerBytes+footerBytes])
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, data := range [][]byte{data, resealed(data)} {
			fs := newMemFS()
			fs.names["/f"] = &memNode{data: data}
			var report Report
			file, err := openFile(fs, "/f", 1)
			if err != nil {
				continue
			}
			_ = report.file(fs, "/f", listedFile{1, file.size, file.crc}, file.resolution)
			c := newCursor(file, new(page.Decoder))
			for number := range uint32(4) {
				_, _ = c.buckets(number, minTime, maxTime, nil)
			}
		}
	})
}

// resealed gives a mutated file right checksums of the footer and the sparse
// index, so that mutations get past them.
func resealed(data []byte) []byte {
	if len(data) < headerBytes+footerBytes {
		return data
	}
	data = append([]byte(nil), data...)
	foot := data[len(data)-footerBytes:]
	put := func(at int, sum uint32) {
		copy(foot[at:], []byte{byte(sum), byte(sum >> 8), byte(sum >> 16), byte(sum >> 24)})
	}
	var f footer
	if decoded, err := decodeFooter(foot, int64(len(data))); err == nil {
		f = decoded
	}
	if f.sparse > 0 && f.sparse < uint64(len(data)-footerBytes) {
		put(80, checksum(data[f.sparse:len(data)-footerBytes]))
	}
	put(sealedBytes, checksum(foot[:sealedBytes]))
	return data
}

// TestWindows: the default tiers have files of a day, thirty days and a year.
func TestWindows(t *testing.T) {
	var got []string
	for _, tier := range testTiers(t, DefaultTiers) {
		got = append(got, fmt.Sprint(windowSegments*tier.Resolution.Milliseconds()/day))
	}
	if want := "1 30 360"; strings.Join(got, " ") != want {
		t.Errorf("windows of %v days, not %s", got, want)
	}
}

// TestMerging: files of any sorts merge so that, whatever older files hold, the
// outcome laid over it is what the files one by one would have been.
func TestMerging(t *testing.T) {
	type input struct {
		buckets  []bucket.Bucket
		replaces bool
	}
	time := int64(0)
	draw := func(t *rapid.T) (in input) {
		in.replaces = rapid.Bool().Draw(t, "replaces")
		for segment := range int64(6) {
			if rapid.Bool().Draw(t, "there") {
				time++ // no duplicates
				in.buckets = append(in.buckets, bucket.Of(segment*10*second+time%(10*second), float64(time)))
			}
		}
		return in
	}
	rapid.Check(t, func(t *rapid.T) {
		config := Config{Kind: kindOf, Tiers: []Tier{{Resolution: 10e9}}}
		var m merging
		m.reset(config, 0, 0)
		one, two := fold{resolution: 10 * second}, fold{resolution: 10 * second}
		older := draw(t).buckets
		one.add(older, false)
		two.add(older, false)
		for range rapid.IntRange(0, 5).Draw(t, "files") {
			in := draw(t)
			one.add(in.buckets, in.replaces)
			m.add(in.buckets, in.replaces)
		}
		two.add(m.replacing.acc, true)
		two.add(m.adding.acc, false)
		if !slices.EqualFunc(one.acc, two.acc, func(a, b bucket.Bucket) bool { return same(0, a, b) }) {
			t.Fatalf("one by one %v\nmerged %v", one.acc, two.acc)
		}
	})
}
