package index

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"unsafe"

	"carillon/series"
)

// All entries are found, and no others, at each size that the table grows through; some
// share their high bits or all but the lowest, and some lie at the very end.
func TestTable(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	var table table
	if _, ok := table.find(fingerprint{5, 5}); ok {
		t.Error("an empty table has something")
	}
	want := make(map[fingerprint]uint32)
	for number := range uint32(60_000) {
		f := fingerprint{random.Uint64(), random.Uint32()}
		switch number % 100 {
		case 0:
			f.high %= 100
		case 1:
			f.high = ^(f.high % 100)
		}
		if _, known := want[f]; known {
			continue
		}
		table.insert(f, number)
		want[f] = number
		if number == 2000 {
			table.reserve(10_000)
		}
		if number%9973 != 0 {
			continue
		}
		for f, number := range want {
			if got, ok := table.find(f); !ok || got != number {
				t.Fatalf("%d entries: %x has %d, %v; want %d", len(want), f, got, ok, number)
			}
			for _, other := range []fingerprint{{f.high + 1, f.low}, {f.high, f.low + 1}} {
				if _, known := want[other]; !known {
					if got, ok := table.find(other); ok {
						t.Fatalf("%d entries: %x has %d, want none", len(want), other, got)
					}
				}
			}
		}
	}
	if perEntry := float64(table.bytes()) / float64(len(want)); perEntry > 26 {
		t.Errorf("an entry costs %.1f bytes", perEntry)
	}
}

// Lists grow in turns, with distances of one byte to four.
func TestPostings(t *testing.T) {
	random := rand.New(rand.NewPCG(2, 2))
	var p postings
	const lists = 50
	var numbers [lists]uint32
	var want [lists][]uint32
	next := uint32(0)
	for range 20_000 {
		next += 1 + uint32(random.Uint64N(1<<random.IntN(17)))
		i := min(random.IntN(lists), random.IntN(lists))
		if want[i] = append(want[i], next); len(want[i]) > 1 {
			p.add(&numbers[i], want[i][0], next)
		}
	}
	for i, all := range want {
		if got := p.size(numbers[i]); got != len(all)-1 {
			t.Errorf("list %d has %d numbers, want %d", i, got, len(all)-1)
		}
		for _, limit := range []uint32{0, all[0], all[0] + 1, all[len(all)/2], all[len(all)/2] + 1, next + 1} {
			count, _ := slices.BinarySearch(all, limit)
			var got []uint32
			var some piece
			for r := p.read(numbers[i], all[0], limit); r.next(&some); {
				got = append(got, some.numbers[:some.n]...)
			}
			if !slices.Equal(got, all[:count]) {
				t.Fatalf("list %d below %d: %d numbers, want %d", i, limit, len(got), count)
			}
		}
	}
}

func TestNumbers(t *testing.T) {
	for _, n := range []uint32{0, 1, 127, 128, 16383, 16384, 1<<21 - 1, 1 << 21, 1<<28 - 1, 1 << 28, 1<<32 - 1} {
		b := appendNumber(nil, n)
		if got, rest := cutNumber(append(b, 5)); got != n || len(rest) != 1 {
			t.Errorf("%d is read as %d", n, got)
		}
		l := loader{rest: string(b)}
		if got, err := l.number(); got != n || err != nil || l.rest != "" {
			t.Errorf("%d is loaded as %d, %v", n, got, err)
		}
	}
}

// An index that was loaded from another's records is the same, and goes on the same.
func TestRecords(t *testing.T) {
	one, two := New(1), New(2)
	keys := several(t, 6000)
	for some := range slices.Chunk(keys, 700) {
		enter(one, some...)
		record := one.AppendRecord(nil)
		publish(one)
		if two.Count()%2 == 0 { // the other one is at times loaded, at times defined to
			if err := two.Load(record); err != nil {
				t.Fatal(err)
			}
			continue
		}
		enter(two, some...)
		if again := two.AppendRecord(nil); !bytes.Equal(again, record) {
			t.Fatal("the same series have different records")
		}
		publish(two)
	}
	for number := range uint32(len(keys)) {
		kind, _ := one.Kind(number)
		if got, _ := two.Kind(number); keyOf(two, number) != keys[number] || got != kind {
			t.Fatalf("series %d is %s, a %s", number, keyOf(two, number).Format(), got)
		}
	}
	if err := two.Verify(func(series.Key) error { return nil }); err != nil {
		t.Error(err)
	}
}

// A key may be a piece of a whole message of the journal, which must not stay in memory
// with it.
func TestNamesAreCopied(t *testing.T) {
	x := New(1)
	k := key(t, "a", "1")
	enter(x, k)
	if kept := x.dictionary.labels[0].name; unsafe.StringData(kept) == unsafe.StringData(string(k[1:])) {
		t.Error("the name that is kept is a piece of the key")
	}
}

// FuzzLoad checks that no record does harm, and that what is accepted is what would be
// written.
func FuzzLoad(f *testing.F) {
	x := New(1)
	enter(x, key(f, "a", "1", "b", "2"), key(f, "a", "1", "c", "3"), key(f, "b", "2"))
	f.Add(x.AppendRecord(nil))
	f.Add([]byte{1, 0, 1, 0, 1, 'a', 1, 'b'})
	f.Add([]byte{2, 0, 1, 0, 1, 'a', 1, 'b', 0, 1, 1, 1, 'a', 1, 'b'})
	f.Add([]byte{1, 0, 2, 0, 1, 'b', 1, 'b', 1, 1, 'a', 1, 'b'})
	f.Add([]byte{1, 0, 1, 0xff, 0xff, 0xff, 0xff, 0x0f})
	f.Fuzz(func(t *testing.T, record []byte) {
		x := New(1)
		if x.Load(record) != nil {
			return
		}
		for number := range uint32(x.Count()) {
			if k := keyOf(x, number); !Valid(k) {
				t.Errorf("series %d has the key %q", number, string(k))
			}
		}
		x.count, x.stored = 0, 0
		if again := x.AppendRecord(nil); !bytes.Equal(again, record) {
			t.Errorf("%x is written as %x", record, again)
		}
	})
}

// maxBytes is the budget of one series with five labels, and maxOwnBytes of one that has
// a label with a value of its own.
const (
	maxBytes    = 50
	maxOwnBytes = 150
)

func TestMemoryOfASeries(t *testing.T) {
	const n = 60_000
	for _, test := range []struct {
		name  string
		of    func(i int) string
		bytes float64
	}{
		{"hosts of 50 series", func(i int) string { return fmt.Sprint("host-", i%(n/50), ".example.com:9100") }, maxBytes},
		{"each its own", func(i int) string { return fmt.Sprintf("request-%016x", i) }, maxOwnBytes},
	} {
		t.Run(test.name, func(t *testing.T) {
			x := New(1)
			order := rand.New(rand.NewPCG(1, 1)).Perm(n)
			for some := range slices.Chunk(order, MaxEntered) {
				var keys []series.Key
				for _, i := range some {
					keys = append(keys, key(t, series.MetricName, fmt.Sprintf("node_measure_%d_total", i/50%500),
						"instance", test.of(i), "job", "node", "region", fmt.Sprint("r", i%5), "cpu", fmt.Sprint(i%7)))
				}
				enter(x, keys...)
				publish(x)
			}
			each := func(bytes int64) float64 { return float64(bytes) / float64(x.Count()) }
			t.Logf("bytes a series: %.1f dictionary, %.1f lists, %.1f rows, %.1f numbers by key",
				each(x.dictionary.bytes()), each(x.dictionary.series.bytes()), each(x.rows.bytes()), each(x.byKey.bytes()))
			if got := each(x.Bytes()); got > test.bytes {
				t.Errorf("%.1f bytes a series, want at most %v", got, test.bytes)
			}
		})
	}
}
