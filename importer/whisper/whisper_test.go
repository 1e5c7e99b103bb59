package whisper

import (
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"carillon/bucket"
	"carillon/importer"
	"carillon/require"
	"carillon/series"
)

const now = int64(1_800_000_000)

// wsp writes a file as whisper does.
type wsp struct {
	aggregation aggregation
	archives    []archive
	points      [][]point
}

func newWSP(a aggregation, stepsAndPoints ...int64) *wsp {
	w := &wsp{aggregation: a}
	for i := 0; i < len(stepsAndPoints); i += 2 {
		w.archives = append(w.archives, archive{step: stepsAndPoints[i], points: stepsAndPoints[i+1]})
		w.points = append(w.points, make([]point, stepsAndPoints[i+1]))
	}
	offset := int64(headerBytes + archiveBytes*len(w.archives))
	for i := range w.archives {
		w.archives[i].offset = offset
		offset += w.archives[i].bytes()
	}
	return w
}

// put writes a point of an archive.
func (w *wsp) put(archive int, at int64, value float64) {
	a := w.archives[archive]
	at -= at % a.step
	points := w.points[archive]
	if points[0].time == 0 {
		points[0] = point{at, value}
		return
	}
	place := ((at-points[0].time)/a.step%a.points + a.points) % a.points
	points[place] = point{at, value}
}

func (w *wsp) bytes() []byte {
	var b []byte
	for _, v := range []uint32{uint32(w.aggregation), 0, math.Float32bits(0.5), uint32(len(w.archives))} {
		b = binary.BigEndian.AppendUint32(b, v)
	}
	for _, a := range w.archives {
		for _, v := range []int64{a.offset, a.step, a.points} {
			b = binary.BigEndian.AppendUint32(b, uint32(v))
		}
	}
	for _, points := range w.points {
		for _, p := range points {
			b = binary.BigEndian.AppendUint32(b, uint32(p.time))
			b = binary.BigEndian.AppendUint64(b, math.Float64bits(p.value))
		}
	}
	return b
}

func write(t testing.TB, path string, data []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// imported is what a folder has, by series, with the first thing that was refused for each
// reason.
func imported(t testing.TB, dir string, at int64, span importer.Span) (map[string][]bucket.Bucket, map[importer.Reason]importer.Refusal) {
	t.Helper()
	ledger := importer.NewLedger()
	d, err := Open(dir, time.Unix(at, 0), ledger)
	if err != nil {
		t.Fatal(err)
	}
	if d.Next(0) != 1000*at || d.Next(2000*at) != 2000*at || !strings.HasPrefix(d.Name(), "whisper /") || d.Size(span) == 0 {
		t.Errorf("%q has %d", d.Name(), d.Size(span))
	}
	refs := map[series.Key][]uint64{}
	err = d.Each(t.Context(), span, func(e importer.Entry) error {
		refs[e.Key] = append(refs[e.Key], e.Ref)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]bucket.Bucket{}
	r := d.Reader()
	for key, refs := range refs {
		if err := r.Read(refs, span, func(b *bucket.Bucket) { all[key.Format()] = append(all[key.Format()], *b) }); err != nil {
			t.Fatal(err)
		}
	}
	refused := map[importer.Reason]importer.Refusal{}
	for _, one := range ledger.Refusals() {
		refused[one.Reason] = one
	}
	return all, refused
}

// TestArchives: each time comes from the finest archive that has it.
func TestArchives(t *testing.T) {
	dir := t.TempDir()
	w := newWSP(1, 10, 360, 60, 600, 600, 400)
	for at := now - 3*24*3600; at < now-600; at += 10 {
		for i := range w.archives {
			w.put(i, at, float64(at%w.archives[i].step))
		}
	}
	write(t, filepath.Join(dir, "a/b.wsp"), w.bytes())
	all, refused := imported(t, dir, now, importer.Span{To: 1000 * now})
	if len(all) != 1 || len(refused) != 0 {
		t.Fatalf("%d series, %v", len(all), refused)
	}
	counts := map[int64]int{}
	buckets := all["a.b"]
	for i := 1; i < len(buckets); i++ {
		counts[buckets[i].FirstTime-buckets[i-1].FirstTime]++
		if buckets[i].Count != 1 {
			t.Fatalf("%+v", buckets[i])
		}
	}
	newest := now - 610
	if counts[10_000] < 350 || counts[60_000] < 530 || counts[600_000] < 330 || len(counts) != 3 || buckets[len(buckets)-1].FirstTime != 1000*newest {
		t.Errorf("%v, up to %d", counts, buckets[len(buckets)-1].FirstTime/1000-now)
	}
	// What was there at an earlier time is not taken again.
	all, _ = imported(t, dir, now, importer.Span{From: 1000 * (now - 700), To: 1000 * now})
	if n := len(all["a.b"]); n != 10 {
		t.Errorf("%d points since then", n)
	}
}

// TestSums: of points that are sums the coarser ones are spread over the finer ones'
// number.
func TestSums(t *testing.T) {
	dir := t.TempDir()
	w := newWSP(sum, 10, 6, 60, 60)
	for at := now - 1800; at < now; at += 10 {
		w.put(0, at, 2)
		w.put(1, at, 12)
	}
	write(t, filepath.Join(dir, "hits.wsp"), w.bytes())
	all, _ := imported(t, dir, now, importer.Span{To: 1000 * now})
	var sum float64
	var count uint64
	for _, b := range all["hits"] {
		if b.Mean() != 2 || b.Min != 2 || b.Max != 2 {
			t.Errorf("%+v", b)
		}
		sum += b.Sum
		count += b.Count
	}
	if sum != 360 || count != 180 {
		t.Errorf("%v in %d", sum, count)
	}
}

// TestNames: paths are read as the lines of Graphite are.
func TestNames(t *testing.T) {
	dir := t.TempDir()
	w := newWSP(1, 10, 6)
	w.put(0, now-100, 1)
	for _, path := range []string{
		"a/b/c.wsp", "_tagged/1a2/b3c/disk_DOT_used;host=web;rack=a1.wsp", "_tagged/1a2/b3c/1a2b3c4d.wsp", "a/b c.wsp", "a/b.c.wsp", "a/notes.txt",
	} {
		write(t, filepath.Join(dir, path), w.bytes())
	}
	write(t, filepath.Join(dir, "empty.wsp"), newWSP(1, 10, 6).bytes())
	write(t, filepath.Join(dir, "junk.wsp"), []byte("this is not a file of whisper"))
	if err := os.Symlink(filepath.Join(dir, "a"), filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	all, refused := imported(t, dir, now, importer.Span{To: 1000 * now})
	if len(all) != 2 || len(all["a.b.c"]) != 1 || len(all[`disk.used{host="web",rack="a1"}`]) != 1 {
		t.Errorf("%+v", all)
	}
	for reason, want := range map[importer.Reason]uint64{importer.HashedName: 1, importer.BadSeries: 2, importer.Unreadable: 1, importer.Symlink: 1} {
		if refused[reason].Count != want {
			t.Errorf("%s: %+v, want %d", reason, refused[reason], want)
		}
	}
}

// TestPoints: what does not belong where it stands.
func TestPoints(t *testing.T) {
	dir := t.TempDir()
	w := newWSP(1, 10, 10)
	for at := now - 1000; at < now-500; at += 10 {
		w.put(0, at, 1)
	}
	w.put(0, now-100, 2) // all the others become stale but those of its round
	w.put(0, now, 3)     // not over
	w.points[0][7] = point{now - 33, 4}
	write(t, filepath.Join(dir, "a.wsp"), w.bytes())
	all, refused := imported(t, dir, now, importer.Span{To: 1000 * now})
	if len(all["a"]) != 0 || refused[importer.Damaged].Count != 1 || refused[importer.Unfinished].Count != 1 || refused[importer.StaleSlot].Count != 8 {
		t.Errorf("%+v, %+v", all, refused)
	}
	for _, path := range []string{filepath.Join(dir, "absent"), t.TempDir()} {
		if _, err := Open(path, time.Unix(now, 0), importer.NewLedger()); err == nil {
			t.Errorf("%s has files", path)
		}
	}
}

// TestAgainstWhisper has the original write a file, and reads what it would answer.
func TestAgainstWhisper(t *testing.T) {
	const python = "/usr/bin/python3" // where Debian's package puts the module
	err := exec.Command(python, "-c", "import whisper").Run()
	require.Feature(t, "whisper", err == nil, fmt.Sprint("the Python module is not installed: ", err))
	dir := t.TempDir()
	path := filepath.Join(dir, "x.wsp")
	script := `
import sys, time, whisper
path, now = sys.argv[1], int(sys.argv[2])
whisper.create(path, [(10, 60), (60, 60), (600, 60)], 0.0, "sum")
for at in range(now - 30000, now, 10):
    whisper.update(path, at % 7, at, now=at)
for step, span in ((10, 590), (60, 3500), (600, 30000)):
    (start, end, step), values = whisper.fetch(path, now - span, now, now=now)
    for i, value in enumerate(values):
        if value is not None:
            print(step, start + i * step, value)
`
	at := time.Now().Unix() / 600 * 600
	out, err := exec.Command(python, "-c", script, path, fmt.Sprint(at)).Output()
	if err != nil {
		t.Fatal(err)
	}
	want := map[int64]map[int64]float64{10: {}, 60: {}, 600: {}}
	first := map[int64]int64{10: at, 60: at, 600: at} // that it answers with: there are older ones
	for line := range strings.Lines(string(out)) {
		var step, time int64
		var value float64
		if _, err := fmt.Sscan(line, &step, &time, &value); err != nil {
			t.Fatal(err)
		}
		want[step][time] = value
		first[step] = min(first[step], time)
	}
	all, refused := imported(t, dir, at, importer.Span{To: 1000 * at})
	steps := map[int64]int{}
	for _, b := range all["x"] {
		step := int64(10 * b.Count)
		steps[step]++
		if b.FirstTime/1000 < first[step] {
			continue
		}
		if value, ok := want[step][b.FirstTime/1000]; !ok || value != b.Sum {
			t.Errorf("a point of %d s at %d is %v, not %v", step, b.FirstTime/1000, b.Sum, value)
		}
	}
	if steps[10] < 50 || steps[60] < 40 || steps[600] < 35 {
		t.Errorf("%v, %v", steps, refused)
	}
	var sum float64
	for _, b := range all["x"] {
		sum += b.Sum
	}
	whole := 0.0
	for time := all["x"][0].FirstTime / 1000; time < at; time += 10 {
		whole += float64(time % 7)
	}
	if sum != whole {
		t.Errorf("%v of %v", sum, whole)
	}
}

func FuzzFile(f *testing.F) {
	w := newWSP(sum, 10, 30, 60, 10)
	for at := now - 1000; at < now; at += 10 {
		w.put(0, at, 1)
		w.put(1, at, 6)
	}
	f.Add(w.bytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := parseHeader(data[:min(len(data), maxHeaderBytes)], int64(len(data)))
		if err != nil {
			return
		}
		for i, a := range file.archives {
			if i > 0 && a.step < file.archives[i-1].step {
				t.Fatal("archives are not sorted")
			}
			found := a.ring(data[a.offset:a.offset+a.bytes()], now, a.step/file.archives[0].step)
			times := make([]int64, 0, len(found.level.Buckets))
			for _, b := range found.level.Buckets {
				times = append(times, b.FirstTime)
			}
			if !slices.IsSorted(times) || len(slices.Compact(times)) != len(found.level.Buckets) {
				t.Fatal("times are not sorted")
			}
		}
	})
}
