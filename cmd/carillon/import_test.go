package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"

	"carillon/importer"
)

// imported is what `carillon import --json` reports.
type imported struct {
	importer.Counts
	Refused []importer.Refusal
	Notices []string
}

func importJSON(t *testing.T, args ...string) (r imported) {
	t.Helper()
	cmd := carillon(append([]string{"import", "--json"}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s%s", args, err, out, &stderr)
	}
	if err := json.Unmarshal(out, &r); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	return r
}

// exportAll is everything a data directory has, as OpenMetrics. Series of a family come by
// their numbers.
func exportAll(t *testing.T, data string, from time.Time) string {
	t.Helper()
	out, err := carillon("export", `{__name__=~".+"}`, "--from", strconv.FormatInt(from.Unix(), 10), "--data", data).Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func sortedLines(text string) string {
	lines := slices.Collect(strings.Lines(text))
	slices.Sort(lines)
	return strings.Join(lines, "")
}

// TestImportExported sends points, exports them in both formats, and imports each into a
// directory of its own, of which one had points already: the same comes out again. A server
// then goes on with it, after a kill too.
func TestImportExported(t *testing.T) {
	data := tempData(t)
	s := startServer(t, data, "--agent=false", "--partitions", "3")
	now := time.Now()
	from := now.Add(-2 * time.Hour)
	sendBeats(t, s.Graphite, "out", 40, 50, now)
	if out, err := carillon("import", "openmetrics", "testdata/import/one.om", "--data", data).CombinedOutput(); err == nil || !strings.Contains(string(out), "in use by process") {
		t.Errorf("beside a server: %v\n%s", err, out)
	}
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	want := exportAll(t, data, from)

	text, dump := filepath.Join(t.TempDir(), "all.om"), filepath.Join(t.TempDir(), "all.rw")
	if err := os.WriteFile(text, []byte(want), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := carillon("export", `{__name__=~".+"}`, "--from", strconv.FormatInt(from.Unix(), 10), "--data", data, "--format", "remote-write").Output()
	if err == nil {
		err = os.WriteFile(dump, out, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}

	other := tempData(t)
	s = startServer(t, other, "--agent=false", "--partitions", "5", "--seal-every", "1h")
	sendBeats(t, s.Graphite, "there", 3, 7, now)
	sendBeats(t, s.Graphite, "out", 2, 1, now.Add(-time.Hour)) // some of the series, in another order
	s.kill()                                                   // what it had is in the journal alone
	for format, path := range map[string]string{"openmetrics": text, "remote-write": dump} {
		fresh := tempData(t)
		r := importJSON(t, format, path, "--data", fresh)
		if r.Series != 40 || r.Samples != 2000 || len(r.Refused) != 0 {
			t.Errorf("%s: %+v", format, r)
		}
		if have := exportAll(t, fresh, from); sortedLines(have) != sortedLines(want) {
			t.Errorf("%s: there are %d bytes, not %d:\n%.500s", format, len(have), len(want), have)
		}
		if again := importJSON(t, format, path, "--data", fresh); again.Counts != (importer.Counts{}) {
			t.Errorf("%s, again: %+v", format, again)
		}
	}
	if r := importJSON(t, "remote-write", dump, "--data", other); r.Samples != 2000 {
		t.Errorf("%+v", r)
	}
	if out := shell(t, "verify", other); !strings.Contains(out, " 0 problems") {
		t.Error(out)
	}
	for range 2 {
		s = startServer(t, other, "--agent=false", "--partitions", "5")
		all := samples(t, s.URL, `{__name__=~"out|there"}`, now)
		if len(all) != 43 {
			t.Errorf("%d series", len(all))
		}
		for name, list := range all {
			switch {
			case strings.HasPrefix(name, "there") && len(list) != 7,
				strings.HasPrefix(name, "out") && len(list) != 50 && len(list) != 51:
				t.Errorf("%s: %d samples", name, len(list))
			}
		}
		sendBeats(t, s.Graphite, "later", 2, 1, now)
		s.kill()
	}
}

// TestImportBlocks kills an import of blocks again and again, and has every sample once in
// the end.
func TestImportBlocks(t *testing.T) {
	const step, blocks = 15_000, 12
	dir, data := t.TempDir(), tempData(t)
	to := time.Now().Truncate(2 * time.Hour)
	from := to.Add(-2 * blocks * time.Hour)
	perBlock := int(2 * time.Hour.Milliseconds() / step)
	for i := range blocks {
		begin := from.Add(time.Duration(2*i) * time.Hour).UnixMilli()
		var all []storage.Series
		for n := range 20 {
			var times []int64
			var values []float64
			for at := range perBlock {
				times = append(times, begin+int64(at)*step+int64(n))
				values = append(values, float64(at*n)/4)
			}
			all = append(all, storage.MockSeries(nil, times, values, []string{"__name__", "block_metric", "n", strconv.Itoa(n)}))
		}
		if _, err := tsdb.CreateBlock(all, dir, 24*time.Hour.Milliseconds(), slog.New(slog.DiscardHandler)); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 8 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(100+60*i)*time.Millisecond)
		_ = carillonContext(ctx, "import", "prometheus", dir, "--data", data).Run() // SIGKILL
		cancel()
	}
	importJSON(t, "prometheus", dir, "--data", data)
	if r := importJSON(t, "prometheus", dir, "--data", data); r.Counts != (importer.Counts{}) || len(r.Refused) != 0 {
		t.Errorf("again: %+v", r)
	}
	if out := shell(t, "verify", data); !strings.Contains(out, " 0 problems") {
		t.Error(out)
	}
	lines := strings.Split(strings.TrimSpace(exportAll(t, data, from.Add(-time.Hour))), "\n")
	if want := 2 + 20*blocks*perBlock; len(lines) != want {
		t.Errorf("%d lines, not %d", len(lines), want)
	}
}

// whisperFile is a file with one archive of points at some times, in whose slots it is
// that they stand.
func whisperFile(step int64, times ...int64) []byte {
	b := []byte{0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 28}
	b = binary.BigEndian.AppendUint32(b, uint32(step))
	b = binary.BigEndian.AppendUint32(b, 100)
	points := make([]byte, 100*12)
	for i, at := range times {
		slot := points[12*((at-times[0])/step):]
		binary.BigEndian.PutUint32(slot, uint32(at))
		binary.BigEndian.PutUint64(slot[4:], math.Float64bits(float64(i)+0.5))
	}
	return append(b, points...)
}

// istatdFile is a file with one segment a page, at some times.
func istatdFile(interval int64, at int64, sum float64, count uint32) []byte {
	const page = 8192
	b := make([]byte, 2*page)
	copy(b, "istatd 4.0\n\x00\xf5\x14\x07\x00")
	for offset, v := range map[int]int64{0x28: page, 0x30: 1, 0x48: at, 0x70: at, page: at, page + 8: int64(math.Float64bits(sum))} {
		binary.LittleEndian.PutUint64(b[offset:], uint64(v))
	}
	for offset, v := range map[int]uint32{
		0x10: 464, 0x14: uint32(interval), 0x1c: 8, 0x20: 4, page + 16: math.Float32bits(float32(sum) / float32(count)),
		page + 20: math.Float32bits(float32(sum)), page + 24: count, page + 28: math.Float32bits(float32(sum * sum)),
	} {
		binary.LittleEndian.PutUint32(b[offset:], v)
	}
	return b
}

// TestImportFiles imports files of Graphite and istatd, and again when there is more.
func TestImportFiles(t *testing.T) {
	data, graphite, store := tempData(t), t.TempDir(), t.TempDir()
	at := time.Now().Unix()/10*10 - 600
	write := func(path string, content []byte) {
		t.Helper()
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		if err == nil {
			err = os.WriteFile(path, content, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(graphite, "a", "b.wsp")
	write(file, whisperFile(10, at, at+10))
	write(filepath.Join(graphite, "junk.wsp"), []byte("junk"))
	r := importJSON(t, "whisper", graphite, "--data", data)
	if r.Series != 1 || r.Samples != 2 || len(r.Refused) != 1 || r.Refused[0].Reason != importer.Unreadable || !strings.Contains(r.Refused[0].Example, "junk.wsp") {
		t.Errorf("%+v", r)
	}
	write(filepath.Join(store, "c", "d", "10s"), istatdFile(10, at, 30, 3))
	if r := importJSON(t, "istatd", store, "--data", data); r.Series != 1 || r.Samples != 3 || r.Buckets != 1 {
		t.Errorf("%+v", r)
	}
	text := exportAll(t, data, time.Unix(at-10, 0))
	for _, want := range []string{
		fmt.Sprintf("{\"a.b\"} 0.5 %d\n", at), fmt.Sprintf("{\"a.b\"} 1.5 %d\n", at+10), fmt.Sprintf("{\"c.d\"} 10 %d\n", at),
	} {
		if !strings.Contains(text, want) {
			t.Errorf("there is no %q in\n%s", want, text)
		}
	}
	if out := shell(t, "import", "whisper", graphite, "--data", tempData(t)); !strings.Contains(out, "1 series, 2 samples in 2 buckets\n1 files could not be read (junk.wsp: ") {
		t.Error(out)
	}
	for what, args := range map[string][]string{
		"no such file":                 {"istatd", "absent", "--data", data},
		"there are no .wsp files":      {"whisper", store, "--data", data},
		"there are no blocks":          {"prometheus", store, "--data", data},
		"there are no counters":        {"istatd", t.TempDir(), "--data", data},
		"say the --tiers":              {"whisper", graphite, "--data", data, "--tiers", "1s:1d"},
		"is no data directory":         {"whisper", graphite, "--data", store},
		"--tiers: ":                    {"whisper", graphite, "--data", data, "--tiers", "1s"},
		"requires at least 1 arg":      {"openmetrics"},
		"it does not end with \"# EOF": {"openmetrics", cutShort(t), "--data", data},
	} {
		out, err := carillon(append([]string{"import"}, args...)...).CombinedOutput()
		if err == nil || !strings.Contains(string(out), what) {
			t.Errorf("%v: %v, want %q in\n%s", args, err, what, out)
		}
	}
}

func cutShort(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "cut.om")
	if err := os.WriteFile(path, []byte("up 1 1700000000\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
