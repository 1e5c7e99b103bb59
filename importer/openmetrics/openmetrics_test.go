package openmetrics

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/model/labels"

	"carillon/bucket"
	"carillon/export"
	"carillon/importer"
	"carillon/series"
)

// sink writes down what it gets.
type sink struct {
	lines   []string
	patient int // calls of Add, and then an error; 0 for no end
}

var errEnough = errors.New("enough")

func (s *sink) Add(key series.Key, time int64, value float64) error {
	s.lines = append(s.lines, fmt.Sprintf("%s %v @%d", key.Format(), value, time))
	if len(s.lines) == s.patient {
		return errEnough
	}
	return nil
}

func (s *sink) Describe(m series.Metadata) error {
	s.lines = append(s.lines, fmt.Sprintf("%s is a %s: %q in %q", m.Family, m.Type, m.Help, m.Unit))
	return nil
}

func (s *sink) Progress(done, total int64) {
	if done > total {
		panic("more is read than there is")
	}
}

func openText(t testing.TB, name, text string) (*File, *importer.Ledger) {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	ledger := importer.NewLedger()
	f, err := Open(path, ledger)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f, ledger
}

func readText(t testing.TB, name, text string) ([]string, map[importer.Reason]importer.Refusal) {
	t.Helper()
	f, ledger := openText(t, name, text)
	var s sink
	if err := f.Read(t.Context(), &s); err != nil {
		t.Fatal(err)
	}
	refused := map[importer.Reason]importer.Refusal{}
	for _, r := range ledger.Refusals() {
		refused[r.Reason] = r
	}
	return s.lines, refused
}

func TestOpenMetrics(t *testing.T) {
	lines, refused := readText(t, "a.om", `# HELP cpu_seconds Time of the processor.
# TYPE cpu_seconds counter
# UNIT cpu_seconds seconds
cpu_seconds_total{mode="idle",host="a"} 17 1700000000.001
cpu_seconds_total{mode="idle",host="a"} 18.5 1700000010
cpu_seconds_total{host="b"} 3 1700000000 # {trace="x"} 1 1700000000
# TYPE load gauge
{"load",host="a\"b\\c\nd"} -Inf 1700000000
load NaN 1700000000
load 5
load{a="1",a="2"} 5 1700000000
this is no line
# EOF
# TYPE other gauge
other 1 1700000000
# EOF
`)
	want := []string{
		`cpu_seconds_total{host="a",mode="idle"} 17 @1700000000001`, `cpu_seconds_total{host="a",mode="idle"} 18.5 @1700000010000`,
		`cpu_seconds_total{host="b"} 3 @1700000000000`,
		`cpu_seconds is a counter: "Time of the processor." in "seconds"`,
		`load{host="a\"b\\c\nd"} -Inf @1700000000000`, `load NaN @1700000000000`,
		`load is a gauge: "" in ""`, `other 1 @1700000000000`, `other is a gauge: "" in ""`,
	}
	lines = withoutRepeats(lines)
	if !reflect.DeepEqual(sorted(lines), sorted(want)) {
		t.Errorf("have\n%s\nwant\n%s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
	}
	for reason, count := range map[importer.Reason]uint64{importer.BadLine: 1, importer.NoTime: 1, importer.Exemplar: 1, importer.BadSeries: 1} {
		if refused[reason].Count != count {
			t.Errorf("%s: %+v, want %d", reason, refused[reason], count)
		}
	}
	if e := refused[importer.BadLine].Example; !strings.Contains(e, "a.om, line 12: ") {
		t.Error(e)
	}
}

// withoutRepeats leaves out metadata that are told again because a block had a bad line.
func withoutRepeats(lines []string) (kept []string) {
	seen := map[string]bool{}
	for _, line := range lines {
		if !seen[line] {
			kept = append(kept, line)
		}
		seen[line] = true
	}
	return kept
}

func sorted(lines []string) map[string]bool {
	set := map[string]bool{}
	for _, line := range lines {
		set[line] = true
	}
	return set
}

func TestPrometheusText(t *testing.T) {
	lines, refused := readText(t, "a.prom", `# HELP up Whether it is.
# TYPE up gauge

# a remark
up{job="a"} 1 1700000000123
up{job="b"} 0`)
	if len(lines) != 2 || lines[0] != `up{job="a"} 1 @1700000000123` || lines[1] != `up is a gauge: "Whether it is." in ""` || refused[importer.NoTime].Count != 1 {
		t.Errorf("%q, %v", lines, refused)
	}
}

// TestManyLines: a file of several blocks, with one line too long and one that is bad.
func TestManyLines(t *testing.T) {
	var text strings.Builder
	for i := range 50_000 {
		switch i {
		case 20_000:
			text.WriteString("bad\n")
		case 30_000:
			text.WriteString(strings.Repeat("x", 3*maxLineBytes) + "\n")
		default:
			fmt.Fprintf(&text, "metric{n=\"%d\"} %d %d\n", i%100, i, 1_700_000_000+i)
		}
	}
	text.WriteString("# EOF\n")
	f, ledger := openText(t, "many", text.String())
	var s sink
	if err := f.Read(t.Context(), &s); err != nil {
		t.Fatal(err)
	}
	r := ledger.Refusals()
	if len(s.lines) != 49_998 || len(r) != 1 || r[0].Count != 2 || !strings.Contains(r[0].Example, "line 20001") {
		t.Errorf("%d lines, %+v", len(s.lines), r)
	}
	if err := f.Read(t.Context(), &sink{patient: 40_000}); !errors.Is(err, errEnough) {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := f.Read(ctx, &sink{}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	path := filepath.Join(t.TempDir(), "cut.om")
	if err := os.WriteFile(path, []byte("up 1 1700000000\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path, ledger); err == nil || !strings.Contains(err.Error(), "cut short") {
		t.Error(err)
	}
}

// TestWhatIsExported comes back.
func TestWhatIsExported(t *testing.T) {
	e, err := export.New("openmetrics")
	if err != nil {
		t.Fatal(err)
	}
	key, err := series.NewKey([]series.Label{{Name: "__name__", Value: "cpu.idle"}, {Name: "a.b", Value: "c\\\"\n"}})
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	c := export.Chunk{Key: key, Kind: series.Gauge}
	for i := range int64(1000) {
		at, value := 1_700_000_000_000+7*i, math.Sqrt(float64(i))
		c.Buckets = append(c.Buckets, bucket.Of(at, value))
		want = append(want, fmt.Sprintf("%s %v @%d", key.Format(), value, at))
	}
	text, err := e.Append(nil, &c)
	if err != nil {
		t.Fatal(err)
	}
	lines, refused := readText(t, "x.om", string(e.Finish(text)))
	want = append(want, `cpu.idle is a gauge: "" in ""`)
	if !reflect.DeepEqual(lines, want) || len(refused) != 0 {
		t.Errorf("%d lines, %v", len(lines), refused)
	}
}

func FuzzReader(f *testing.F) {
	f.Add(true, "# TYPE a counter\na_total{x=\"1\"} 5 1700000000 # {t=\"x\"} 1\n{\"b c\"} 3 4\nx\n")
	f.Add(false, "# HELP a b\na{x=\"1\"} 5 1700000000000\n\nb NaN\n")
	f.Fuzz(func(t *testing.T, open bool, text string) {
		var s sink
		r := &reader{open: open, path: "fuzz", to: &s, ledger: importer.NewLedger(), symbols: labels.NewSymbolTable()}
		if err := r.read(t.Context(), strings.NewReader(text), func(int64) {}); err != nil {
			t.Fatal(err)
		}
	})
}
