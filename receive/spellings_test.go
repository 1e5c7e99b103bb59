package receive

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/prompb"

	"carillon/cuckoo"
	"carillon/series"
)

// counted counts what the directory is asked.
type counted struct {
	*fakeDirectory
	lookups int
}

func (d *counted) Lookup(key series.Key) (series.ID, bool) {
	d.lookups++
	return d.fakeDirectory.Lookup(key)
}

// newCountedRig counts look-ups; deltas says how many a call makes.
func newCountedRig(t testing.TB) (r *rig, deltas func(func()) int) {
	r = newRig(t)
	directory := &counted{fakeDirectory: r.directory}
	r.Writer.directory = directory
	return r, func(call func()) int {
		before := directory.lookups
		call()
		return directory.lookups - before
	}
}

// The first request defines a series, the second finds it in the directory, the
// third needs the directory no more; another order of labels is another spelling of
// the same series.
func TestSpellingsLeadToOneSeries(t *testing.T) {
	r, lookups := newCountedRig(t)
	rw := NewRemoteWrite(r.Writer)
	ms := start
	send := func(labels ...string) int {
		ms++
		return lookups(func() {
			if _, err := rw.WriteRemote(t.Context(), pack(t, sent(ms, 1, labels...))); err != nil {
				t.Fatal(err)
			}
		})
	}
	sorted, other := []string{"__name__", "good", "job", "a"}, []string{"job", "a", "__name__", "good"}
	for i, want := range []int{1, 1, 0, 0} {
		if got := send(sorted...); got != want {
			t.Errorf("request %d: %d look-ups, want %d", i, got, want)
		}
	}
	for i, want := range []int{1, 0} {
		if got := send(other...); got != want {
			t.Errorf("other order, request %d: %d look-ups, want %d", i, got, want)
		}
	}
	if got := r.got(`good{job="a"}`); len(got) != 6 || len(r.directory.ids) != 1 {
		t.Errorf("%d series, points %v", len(r.directory.ids), got)
	}
	if got := r.Spellings(); got.Hits != 3 || got.Misses != 3 || got.Entries != 2 {
		t.Errorf("%+v", got)
	}
}

// The same bytes are different things in different protocols, and of an event and
// a gauge.
func TestDialectsAreApart(t *testing.T) {
	r := newRig(t)
	text := []byte("Name.A 1 1700000000\n")
	for range 3 {
		for _, p := range []Protocol{ProtocolGraphite, ProtocolIstatd} {
			l := newLines(r.Writer, p, &session{})
			l.addAll(text)
			if p == ProtocolIstatd {
				l.addAll([]byte("Name.A 1700000000 2\n*Name.A 1700000000 3\n"))
			}
			if err := l.commit(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got, want := r.got("Name.A"), []point{{start, 1}}; !cmp.Equal(got[2:], want, cmp.AllowUnexported(point{})) {
		t.Errorf("as Graphite: %v", got)
	}
	// istatd reads time 1 and value 1700000000 in the first.
	want := []point{{1000, 1700000000}, {start, 2}, {start, 3}}
	if got := r.got("name.a"); len(got) != 9 || !cmp.Equal(got[6:], want, cmp.AllowUnexported(point{})) {
		t.Errorf("as istatd: %v", got)
	}
	var l lookups
	l.begin(r.spellings)
	seen := make(map[cuckoo.Key]dialect)
	for i, d := range []dialect{labelFields, graphiteName, istatdName} {
		l.spell(i, d, []byte("same"))
		if was, ok := seen[l.keys[i]]; ok {
			t.Errorf("dialects %x and %x share a key", was, d)
		}
		seen[l.keys[i]] = d
	}
}

// What is refused is refused each time, and never cached.
func TestRefusedSpellingsAreNotLearnt(t *testing.T) {
	r, lookups := newCountedRig(t)
	rw := NewRemoteWrite(r.Writer)
	for range 3 {
		if _, err := rw.WriteRemote(t.Context(), pack(t,
			sent(start, 1, "job", "a"), sent(start, 1, "__name__", "a", "b", "1", "b", "2"), sent(-1, 1, "__name__", "c"))); err == nil {
			t.Fatal("nothing refused")
		}
		l := newLines(r.Writer, ProtocolIstatd, &session{})
		l.addAll([]byte("#version 3\n!x 1\n@x 1\n^ 1\n* 1\na^b^c 1\n"))
		if err := l.commit(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if got := r.refused(ProtocolAgent); !cmp.Equal(got, map[string]int{"no_name": 3, "duplicate_label": 3, "bad_time": 3}) {
		t.Errorf("refused %v", got)
	}
	if got := r.refused(ProtocolIstatd); !cmp.Equal(got, map[string]int{"bad_name": 6}) {
		t.Errorf("refused %v", got)
	}
	if got := r.Spellings(); got.Entries != 0 || got.Hits != 0 {
		t.Errorf("learnt %+v", got)
	}
	// A bad time says nothing of the series.
	ms := start
	for i, want := range []int{1, 1, 0} {
		if got := lookups(func() {
			rw.WriteRemote(t.Context(), pack(t, sent(ms, 1, "__name__", "c"), sent(-1, 1, "__name__", "d")))
		}); got != want+1 {
			t.Errorf("request %d: %d look-ups", i, got)
		}
	}
	if got := r.refused(ProtocolAgent)["bad_time"]; got != 6 {
		t.Errorf("%d bad times", got)
	}
}

// A line whose name is cut off otherwise than it was parsed teaches nothing.
func TestTabsAreNoPartOfASpelling(t *testing.T) {
	r := newRig(t)
	for range 3 {
		l := newLines(r.Writer, ProtocolIstatd, &session{})
		l.addAll([]byte("a\t5 7\na 1700000000 1\n"))
		if err := l.commit(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	want := []point{{5000, 7}, {start, 1}}
	if got := r.got("a"); !cmp.Equal(got, slices.Repeat(want, 3), cmp.AllowUnexported(point{})) {
		t.Errorf("got %v", got)
	}
}

// Points of one series keep their order, whichever way each of them takes.
func TestOrderInsideARequest(t *testing.T) {
	r := newRig(t)
	rw := NewRemoteWrite(r.Writer)
	known := pack(t, sent(start, 0, "__name__", "a", "b", "c"))
	for range 2 {
		if _, err := rw.WriteRemote(t.Context(), known); err != nil {
			t.Fatal(err)
		}
	}
	var list []prompb.TimeSeries
	for i := range 3 * batchSize {
		labels := []string{"__name__", "a", "b", "c"}
		if i%3 == 0 { // another spelling
			labels = []string{"b", "c", "__name__", "a"}
		}
		ts := sent(start+int64(i), float64(i), labels...)
		if i%5 == 0 { // the slow way
			ts.Exemplars = []prompb.Exemplar{{}}
		}
		list = append(list, ts)
	}
	if _, err := rw.WriteRemote(t.Context(), pack(t, list...)); err != nil {
		t.Fatal(err)
	}
	got := r.got(`a{b="c"}`)[2:]
	if len(got) != len(list) || !slices.IsSortedFunc(got, func(a, b point) int { return int(a.ms - b.ms) }) {
		t.Errorf("%d points, sent %d", len(got), len(list))
	}
}

// The cache doubles as it fills, loses nothing meanwhile, and evicts at its bound.
func TestSpellingsGrow(t *testing.T) {
	s := newSpellings(firstSpellingBits + 3)
	put := func(from, to int) {
		var l lookups
		for i := from; i < to; i++ {
			l.begin(s)
			l.spell(0, graphiteName, fmt.Appendf(nil, "name%d", i))
			l.learn(0, handleOf(series.NewID(1, uint32(i)), uint64(i)))
			l.find(1)
			l.end(1)
		}
	}
	found := func(i int) bool {
		var l lookups
		l.begin(s)
		l.spell(0, graphiteName, fmt.Appendf(nil, "name%d", i))
		l.find(1)
		h, ok := l.known(0)
		if ok && h != handleOf(series.NewID(1, uint32(i)), uint64(i)) {
			t.Errorf("%d has handle %x", i, h)
		}
		return ok
	}
	const most = 1 << (firstSpellingBits + 3)
	if got := s.stats(); got.Slots != 1<<firstSpellingBits || got.MaxSlots != most {
		t.Errorf("at the start: %+v", got)
	}
	const some = most / 4 * 3
	put(0, some)
	for i := range some {
		if !found(i) {
			t.Fatalf("%d was lost", i)
		}
	}
	if got := s.stats(); got.Slots != most || got.Entries != some || got.Evictions != 0 {
		t.Errorf("after %d: %+v", some, got)
	}
	put(some, 2*most)
	if got := s.stats(); got.Slots != most || got.Evictions == 0 || got.Entries > most {
		t.Errorf("after %d: %+v", 2*most, got)
	}
	for _, c := range []struct{ bits, slots int }{{0, 1 << DefaultSpellingBits}, {1, 1 << MinSpellingBits}, {99, 1 << MaxSpellingBits}} {
		if got := newSpellings(c.bits).stats().MaxSlots; got != c.slots {
			t.Errorf("%d bits: %d slots", c.bits, got)
		}
	}
}

// Readers, fills and growth at once: whoever finds a spelling finds its handle.
func TestSpellingsAtOnce(t *testing.T) {
	s := newSpellings(firstSpellingBits + 2)
	var all sync.WaitGroup
	for worker := range 4 {
		all.Go(func() {
			random := rand.New(rand.NewPCG(uint64(worker), 1))
			var l lookups
			for range 200 {
				l.begin(s)
				var numbers [batchSize]int
				for i := range numbers {
					numbers[i] = random.IntN(2 << firstSpellingBits)
					l.spell(i, istatdName, fmt.Appendf(nil, "n%d", numbers[i]))
				}
				l.find(batchSize)
				for i, number := range numbers {
					want := handleOf(series.NewID(0, uint32(number)), 0)
					if h, ok := l.known(i); !ok {
						l.learn(i, want)
					} else if h != want {
						t.Errorf("%d has handle %x", number, h)
					}
				}
				l.end(batchSize)
			}
		})
	}
	all.Wait()
	if got := s.stats(); got.Hits+got.Misses != 4*200*batchSize || got.Entries == 0 {
		t.Errorf("%+v", got)
	}
}

func TestSpellingMetrics(t *testing.T) {
	r := newRig(t)
	for range 3 {
		if _, err := NewRemoteWrite(r.Writer).WriteRemote(t.Context(), pack(t, good)); err != nil {
			t.Fatal(err)
		}
	}
	if got := gathered(t, r, "carillon_spellings_lookups_total"); got != 3 {
		t.Errorf("%v look-ups", got)
	}
	families, err := r.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() == "carillon_spellings_entries" && family.GetMetric()[0].GetGauge().GetValue() != 1 {
			t.Errorf("%v", family)
		}
	}
}

// What lines do when their names are new, they do as well when their spellings are
// known.
func FuzzSpellings(f *testing.F) {
	f.Add([]byte("a\t5 7\n*a^b 1\n#k 2\na;b=c 1 2\na 1 N\r\n a 1 2\n"))
	f.Add([]byte("n 1700000000 30 350 5 15 3\nA/b 1 1\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, p := range []Protocol{ProtocolGraphite, ProtocolIstatd} {
			r := newRig(t)
			r.repeats(t, func() {
				l := newLines(r.Writer, p, &session{})
				l.addAll(text)
				if err := l.commit(t.Context()); err != nil {
					t.Fatal(err)
				}
			})
		}
	})
}

// repeats checks that sending again does once more what it did the first time:
// first the series are new, then the directory knows them, then their spellings are
// cached.
func (r *rig) repeats(t *testing.T, send func()) {
	send()
	first := r.sums()
	for times := uint64(2); times <= 4; times++ {
		send()
		got := r.sums()
		for what, n := range first {
			if got[what] != n*times {
				t.Fatalf("sent %d times: %d of %s, %d the first time", times, got[what], what, n)
			}
		}
		if len(got) != len(first) {
			t.Fatalf("sent %d times: %v, the first time %v", times, got, first)
		}
	}
}

// sums counts the points of each series by value and time, but for times of
// arrival, and what was refused by reason.
func (r *rig) sums() map[string]uint64 {
	counts := make(map[string]uint64)
	near := func(ms int64) int64 {
		if ms >= start && ms < start+1000 {
			return start
		}
		return ms
	}
	for name, points := range r.journal.points {
		for _, p := range points {
			counts[fmt.Sprint(name, near(p.ms), p.value)]++
		}
	}
	for name, buckets := range r.journal.aggregates {
		for _, b := range buckets {
			b.FirstTime, b.LastTime = near(b.FirstTime), near(b.LastTime)
			counts[fmt.Sprint(name, b)]++
		}
	}
	for _, e := range r.ledger.Entries() {
		counts[e.Protocol+" "+e.Reason] = e.Count
	}
	return counts
}

// The table of waiting points is a map from handles.
func TestWaiting(t *testing.T) {
	var w waiting
	random := rand.New(rand.NewPCG(1, 2))
	for round := range 20 {
		model := make(map[Handle]float64)
		for range 1 << (round % 11) {
			h := Handle(random.Uint64N(512))<<32 | Handle(random.Uint64N(4))
			entry, isNew := w.find(h)
			if _, ok := model[h]; ok == isNew {
				t.Fatalf("%x: new is %v", h, isNew)
			}
			if isNew {
				entry.value = random.Float64()
				model[h] = entry.value
			}
			if entry.value != model[h] || entry.handle != h {
				t.Fatalf("%x: %+v, want %v", h, entry, model[h])
			}
		}
		if len(w.list) != len(model) {
			t.Fatalf("%d entries, want %d", len(w.list), len(model))
		}
		w.reset()
		if slices.ContainsFunc(w.table, func(i uint32) bool { return i != 0 }) {
			t.Fatal("something is left")
		}
	}
}
