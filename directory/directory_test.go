package directory

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"

	"carillon/series"
)

const testDir = "data/directory"

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// openMem opens a directory in fs and closes it after the test.
func openMem(t testing.TB, fs vfs.FS, partitions int) *Directory {
	t.Helper()
	d, err := open(fs, testDir, partitions, Caches{Series: 10, Absent: 10}, quiet())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeNow(t, d) })
	return d
}

func closeNow(t testing.TB, d *Directory) {
	t.Helper()
	if err := d.Close(); err != nil {
		t.Error(err)
	}
}

// key makes a key of name, value, name, value, …
func key(t testing.TB, pairs ...string) series.Key {
	t.Helper()
	var labels []series.Label
	for i := 0; i < len(pairs); i += 2 {
		labels = append(labels, series.Label{Name: pairs[i], Value: pairs[i+1]})
	}
	k, err := series.NewKey(labels)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// define defines keys as gauges, each in its partition, and returns their ids.
func define(t testing.TB, d *Directory, keys ...series.Key) []series.ID {
	t.Helper()
	ids := make([]series.ID, len(keys))
	for i, k := range keys {
		ids[i] = defineAs(t, d, k, series.Gauge)
	}
	return ids
}

func defineAs(t testing.TB, d *Directory, k series.Key, kind series.Kind) series.ID {
	t.Helper()
	partition := k.Partition(d.Partitions())
	numbers, err := d.Define(partition, []series.Definition{{Key: k, Kind: kind}})
	if err != nil {
		t.Fatal(err)
	}
	return series.NewID(partition, numbers[0])
}

// named makes n keys with nothing but a name.
func named(t testing.TB, n int) []series.Key {
	t.Helper()
	keys := make([]series.Key, n)
	for i := range keys {
		keys[i] = key(t, series.MetricName, fmt.Sprintf("m%d", i))
	}
	return keys
}

// keyIn makes a key, whose name begins with prefix, of the given partition.
func keyIn(t testing.TB, partition, partitions int, prefix string) series.Key {
	t.Helper()
	for i := 0; ; i++ {
		if k := key(t, series.MetricName, fmt.Sprint(prefix, i)); k.Partition(partitions) == partition {
			return k
		}
	}
}

func wantError(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want one with %q", parts)
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error %q does not say %q", err, part)
		}
	}
}

func TestDefineAndLookup(t *testing.T) {
	d := openMem(t, vfs.NewMem(), 4)
	keys := named(t, 100)
	ids := define(t, d, keys...)
	counts := make([]int, d.Partitions())
	for i, k := range keys {
		if got, ok := d.Lookup(k); !ok || got != ids[i] {
			t.Errorf("Lookup(%s) = %d, %v, want %d", k.Format(), got, ok, ids[i])
		}
		if got, ok := d.Key(ids[i]); !ok || got != k {
			t.Errorf("Key(%d) = %s, %v, want %s", ids[i], got.Format(), ok, k.Format())
		}
		p := ids[i].Partition()
		if int(ids[i].Number()) != counts[p] {
			t.Errorf("series %d of partition %d has number %d", counts[p], p, ids[i].Number())
		}
		counts[p]++
	}
	for p, want := range counts {
		if got := d.Count(p); got != want {
			t.Errorf("Count(%d) = %d, want %d", p, got, want)
		}
	}
	if _, ok := d.Lookup(key(t, series.MetricName, "unheard")); ok {
		t.Error("found a series that was never defined")
	}
}

func TestUnknownIDs(t *testing.T) {
	d := openMem(t, vfs.NewMem(), 2)
	for _, id := range []series.ID{0, series.NewID(1, 7), series.NewID(2, 0), 1<<64 - 1} {
		if _, ok := d.Key(id); ok {
			t.Errorf("Key(%#x) found something", uint64(id))
		}
		if kind := d.Kind(id); kind != series.Gauge {
			t.Errorf("Kind(%#x) = %s", uint64(id), kind)
		}
	}
}

func TestDefineIsIdempotent(t *testing.T) {
	d := openMem(t, vfs.NewMem(), 1)
	a, b := key(t, series.MetricName, "a"), key(t, series.MetricName, "b")
	batches := []struct {
		definitions []series.Definition
		want        []uint32
	}{
		{[]series.Definition{{Key: a, Kind: series.Event}}, []uint32{0}},
		{[]series.Definition{{Key: b}, {Key: a}, {Key: b, Kind: series.Counter}}, []uint32{1, 0, 1}},
		{[]series.Definition{{Key: a, Kind: series.Counter}}, []uint32{0}},
		{nil, []uint32{}},
	}
	for i, batch := range batches {
		got, err := d.Define(0, batch.definitions)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(batch.want, got); diff != "" {
			t.Errorf("batch %d: -want +got\n%s", i, diff)
		}
	}
	if d.Kind(0) != series.Event || d.Kind(1) != series.Gauge {
		t.Errorf("kinds are %s, %s: the first definition must win", d.Kind(0), d.Kind(1))
	}
}

func TestReopenKeepsEverything(t *testing.T) {
	fs := vfs.NewMem()
	d := openMem(t, fs, 4)
	keys := named(t, 200)
	ids := define(t, d, keys...)
	event := defineAs(t, d, key(t, series.MetricName, "e", "host", "a"), series.Event)
	help := series.Metadata{Family: "m1", Type: "counter", Help: "h", Unit: "u"}
	if _, err := d.Describe(ids[1].Partition(), []series.Metadata{help}); err != nil {
		t.Fatal(err)
	}
	closeNow(t, d)

	d = openMem(t, fs, 4)
	if got := define(t, d, keys...); !cmp.Equal(got, ids) {
		t.Error("numbers changed by reopening")
	}
	if d.Kind(event) != series.Event || d.Kind(ids[1]) != series.Counter || d.Kind(ids[0]) != series.Gauge {
		t.Error("kinds changed by reopening")
	}
	if diff := cmp.Diff([]series.Metadata{help}, d.Metadata()); diff != "" {
		t.Errorf("metadata: -want +got\n%s", diff)
	}
	if err := d.Verify(); err != nil {
		t.Error(err)
	}
}

func TestRefusedDefinitions(t *testing.T) {
	d := openMem(t, vfs.NewMem(), 2)
	here, there := keyIn(t, 0, 2, "here"), keyIn(t, 1, 2, "there")
	tests := []struct {
		name       string
		definition series.Definition
		parts      []string
		is         error
	}{
		{"malformed", series.Definition{Key: "\x08__name__\x05ab"}, []string{`__name__\x05ab`}, series.ErrBadKey},
		{"empty", series.Definition{}, []string{`""`}, series.ErrBadKey},
		{"other partition", series.Definition{Key: there}, []string{"there", "belongs to partition 1"}, ErrRefused},
		{"kind", series.Definition{Key: keyIn(t, 0, 2, "kind"), Kind: 9}, []string{"kind", "9"}, ErrRefused},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := d.Define(0, []series.Definition{{Key: here}, test.definition})
			wantError(t, err, test.parts...)
			if !errors.Is(err, ErrRefused) || !errors.Is(err, test.is) {
				t.Errorf("error %q is not both ErrRefused and %q", err, test.is)
			}
			if _, ok := d.Lookup(here); ok || d.Count(0) != 0 {
				t.Error("a part of a refused batch was defined")
			}
		})
	}
	if define(t, d, here); d.Count(0) != 1 {
		t.Error("the directory is poisoned by a refused batch")
	}
}

func TestOpenRefusals(t *testing.T) {
	t.Run("other number of partitions", func(t *testing.T) {
		fs := vfs.NewMem()
		closeNow(t, openMem(t, fs, 8))
		_, err := open(fs, testDir, 4, DefaultCaches(), quiet())
		wantError(t, err, "8 partitions", "with 4", testDir)
	})
	t.Run("senseless number of partitions", func(t *testing.T) {
		for _, n := range []int{-1, 0, maxPartitions + 1} {
			_, err := open(vfs.NewMem(), testDir, n, DefaultCaches(), quiet())
			wantError(t, err, "1 to 1024", fmt.Sprint(n))
		}
	})
	t.Run("locked by another process", func(t *testing.T) {
		fs := vfs.NewMem() // it answers EAGAIN, as the kernel does
		openMem(t, fs, 1)
		if _, err := open(fs, testDir, 1, DefaultCaches(), quiet()); !errors.Is(err, ErrInUse) {
			t.Errorf("error %v, want ErrInUse", err)
		}
	})
	t.Run("open already on disk", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "directory")
		d, err := Open(dir, 2, DefaultCaches(), quiet())
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		_, err = Open(dir, 2, DefaultCaches(), quiet())
		wantError(t, err, dir, "in use")
		if !errors.Is(err, ErrInUse) {
			t.Errorf("error %v, want ErrInUse", err)
		}
		closeNow(t, d)
		again, err := Open(dir, 2, DefaultCaches(), quiet())
		if err != nil {
			t.Fatalf("after Close: %v", err)
		}
		closeNow(t, again)
	})
	t.Run("a file stands there", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "directory")
		if err := os.WriteFile(dir, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(dir, 2, DefaultCaches(), quiet()); err == nil || errors.Is(err, ErrInUse) {
			t.Errorf("error %v, want one about the file", err)
		} else {
			wantError(t, err, dir)
		}
	})
}

func TestBytesGrow(t *testing.T) {
	d := openMem(t, vfs.NewMem(), 1)
	before := d.Bytes()
	define(t, d, named(t, 1000)...)
	if err := d.Sync(); err != nil {
		t.Fatal(err)
	}
	if after := d.Bytes(); after < before+1000 {
		t.Errorf("%d bytes before 1000 series, %d after", before, after)
	}
}
