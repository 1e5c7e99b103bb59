package location

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// The pools are small, so that changes meet.
var (
	modelNames   = []string{"a", "b", "c", "d", "root.cell", "x_1-2"}
	modelServers = []string{"s1", "s2", "s3"}
	modelOwners  = []string{"", "me", "you"}
)

const modelIDs = 9

// model is the directory told naively: a map of entries, and rules spelled out one
// by one. Beside it go two directories that get the same changes, one by one and
// in batches, with and without caches: all three must agree.
type model struct {
	one, two *Directory
	pending  []Numbered // not yet applied by two
	results  []Result   // of one, for pending

	entries  map[string]Entry
	servers  map[string]bool
	nextID   uint64
	revision uint64
	time     int64
}

func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		bare := configOn(vfs.NewMem())
		bare.Caches = Caches{}
		m := &model{entries: map[string]Entry{}, servers: map[string]bool{}, nextID: 1, time: 1000}
		m.one, m.two = modelOpen(t, configOn(vfs.NewMem())), modelOpen(t, bare)
		defer func() {
			if err := errors.Join(m.one.Close(), m.two.Close()); err != nil {
				t.Fatal(err)
			}
		}()
		for _, s := range modelServers[:2] {
			m.apply(t, Change{Op: RegisterServer, Name: s})
		}
		t.Repeat(map[string]func(*rapid.T){
			"create":  func(t *rapid.T) { m.apply(t, Change{Op: Create, Entry: drawEntry(t)}) },
			"replace": m.replace,
			"update":  m.update,
			"delete": func(t *rapid.T) {
				m.apply(t, Change{Op: Delete, Name: drawQuery(t), Version: m.drawVersion(t), Owner: drawOwner(t)})
			},
			"new id": func(t *rapid.T) {
				m.apply(t, Change{Op: NewID, Count: rapid.Uint32Range(0, 3).Draw(t, "count")})
			},
			"lock": func(t *rapid.T) {
				expires := m.time + rapid.Int64Range(0, 50).Draw(t, "for")
				m.apply(t, Change{Op: TakeLock, Name: drawQuery(t), Owner: drawOwner(t), LockKind: 1, Expires: expires})
			},
			"release": func(t *rapid.T) { m.apply(t, Change{Op: ReleaseLock, Name: drawQuery(t), Owner: drawOwner(t)}) },
			"register": func(t *rapid.T) {
				op := rapid.SampledFrom([]Op{RegisterServer, UnregisterServer}).Draw(t, "op")
				m.apply(t, Change{Op: op, Name: rapid.SampledFrom(modelServers).Draw(t, "server")})
			},
			"look up":  m.lookUp,
			"resolve":  m.resolve,
			"restart":  m.restart,
			"list":     m.list,
			"":         m.check,
			"catch up": func(t *rapid.T) { m.catchUp(t) },
		})
		m.catchUp(t)
		if diff := cmp.Diff(dump(t, m.one), dump(t, m.two)); diff != "" {
			t.Fatal("two nodes differ", diff)
		}
	})
}

func modelOpen(t *rapid.T, config Config) *Directory {
	d, err := Open(config)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func drawQuery(t *rapid.T) string {
	if rapid.Bool().Draw(t, "by id") {
		return strconv.Itoa(rapid.IntRange(0, modelIDs).Draw(t, "id"))
	}
	return rapid.SampledFrom(modelNames).Draw(t, "name") + rapid.SampledFrom([]string{"", "", ".readonly", ".backup"}).Draw(t, "suffix")
}

func drawOwner(t *rapid.T) string { return rapid.SampledFrom(modelOwners).Draw(t, "owner") }

func drawID(t *rapid.T) uint64 { return rapid.Uint64Range(0, modelIDs).Draw(t, "id") }

func drawSites(t *rapid.T) (sites []Site) {
	for range rapid.SampledFrom([]int{0, 1, 2, 12}).Draw(t, "sites") {
		sites = append(sites, Site{
			Server:    rapid.SampledFrom(modelServers).Draw(t, "server"),
			Partition: rapid.Uint32Range(0, 2).Draw(t, "partition"),
		})
	}
	return sites
}

func drawEntry(t *rapid.T) Entry {
	return Entry{
		Name:  rapid.SampledFrom(append([]string{"7", "e.backup"}, modelNames...)).Draw(t, "name"),
		IDs:   IDs{drawID(t), drawID(t), drawID(t)},
		Sites: drawSites(t),
		Flags: rapid.Uint32Range(0, 3).Draw(t, "flags"),
	}
}

func (m *model) drawVersion(t *rapid.T) uint64 {
	versions := []uint64{0, 1}
	for _, name := range modelNames {
		if e, ok := m.entries[name]; ok {
			versions = append(versions, e.Version)
		}
	}
	return rapid.SampledFrom(versions).Draw(t, "version")
}

func (m *model) replace(t *rapid.T) {
	m.apply(t, Change{Op: Replace, Name: drawQuery(t), Version: m.drawVersion(t), Owner: drawOwner(t), Entry: drawEntry(t)})
}

func (m *model) update(t *rapid.T) {
	var p Patch
	if rapid.Bool().Draw(t, "rename") {
		p.Name = ptr(rapid.SampledFrom(modelNames).Draw(t, "to"))
	}
	if rapid.Bool().Draw(t, "set id") {
		p.RO = ptr(drawID(t))
	}
	p.SetFlags, p.ClearFlags = rapid.Uint32Range(0, 3).Draw(t, "set"), rapid.Uint32Range(0, 3).Draw(t, "clear")
	p.AddSites = drawSites(t)
	if rapid.Bool().Draw(t, "remove") {
		p.RemoveSites = []Place{{rapid.SampledFrom(modelServers).Draw(t, "server"), rapid.Uint32Range(0, 2).Draw(t, "partition")}}
	}
	m.apply(t, Change{Op: Update, Name: drawQuery(t), Version: m.drawVersion(t), Owner: drawOwner(t), Patch: p})
}

func (m *model) apply(t *rapid.T, c Change) {
	m.time += rapid.Int64Range(0, 30).Draw(t, "later")
	m.revision += rapid.Uint64Range(1, 2).Draw(t, "revisions later")
	c.Time = m.time
	got, err := m.one.Apply(m.revision, c)
	if err != nil {
		t.Fatal(err)
	}
	want := m.expect(&c)
	if !errors.Is(got.Err, want.Err) || (want.Err == nil) != (got.Err == nil) {
		t.Fatalf("%+v: %v, want %v", c, got.Err, want.Err)
	}
	want.Err, want.Revision = got.Err, m.revision
	if diff := cmp.Diff(want, got, cmp.Comparer(sameError)); diff != "" {
		t.Fatalf("%+v\n%s", c, diff)
	}
	m.pending, m.results = append(m.pending, Numbered{m.revision, c}), append(m.results, got)
}

func sameError(a, b error) bool {
	return (a == nil) == (b == nil) && (a == nil || a.Error() == b.Error())
}

// expect does to the map what the change should do, and says what it answers.
func (m *model) expect(c *Change) Result {
	switch c.Op {
	case NewID:
		return m.expectIDs(c.Count)
	case RegisterServer:
		if m.servers[c.Name] {
			return Result{Err: ErrExists}
		}
		m.servers[c.Name] = true
		return Result{}
	case UnregisterServer:
		if !m.servers[c.Name] {
			return Result{Err: ErrUnknownServer}
		}
		for _, e := range m.entries {
			if slices.ContainsFunc(e.Sites, func(s Site) bool { return s.Server == c.Name }) {
				return Result{Err: ErrServerInUse}
			}
		}
		delete(m.servers, c.Name)
		return Result{}
	case Create:
		return m.expectEntry(c, Entry{}, c.Entry)
	}
	if c.Owner == "" && (c.Op == TakeLock || c.Op == ReleaseLock) {
		return Result{Err: ErrBadChange}
	}
	old, ok := m.find(c.Name)
	switch {
	case !ok:
		return Result{Err: ErrNotFound}
	case old.Lock.Owner != "" && old.Lock.Expires > c.Time && old.Lock.Owner != c.Owner:
		return Result{Err: ErrLocked}
	case c.Version != 0 && c.Version != old.Version, c.Op == Replace && c.Version == 0:
		return Result{Err: ErrWrongVersion}
	}
	return m.expectChange(c, old)
}

func (m *model) expectChange(c *Change, old Entry) Result {
	next := old
	next.Sites = slices.Clone(old.Sites)
	switch c.Op {
	case Delete:
		delete(m.entries, old.Name)
		return Result{Entry: old}
	case Replace:
		next = c.Entry
	case Update:
		p := c.Patch
		if p.Name != nil {
			next.Name = *p.Name
		}
		if p.RO != nil {
			next.IDs.RO = *p.RO
		}
		next.Flags = next.Flags&^p.ClearFlags | p.SetFlags
		for _, place := range p.RemoveSites {
			next.Sites = slices.DeleteFunc(next.Sites, func(s Site) bool { return s.Server == place.Server && s.Partition == place.Partition })
			if len(next.Sites) == len(old.Sites) {
				return Result{Err: ErrBadChange}
			}
		}
		next.Sites = append(next.Sites, p.AddSites...)
	case TakeLock:
		if c.Expires <= c.Time {
			return Result{Err: ErrBadChange}
		}
		next.Lock = Lock{c.Owner, c.LockKind, c.Expires}
		old.Lock = next.Lock
	case ReleaseLock:
		old.Lock = Lock{}
	}
	return m.expectEntry(c, old, next)
}

// expectEntry puts next in the place of old, which has no name if there was none.
func (m *model) expectEntry(c *Change, old, next Entry) Result {
	if _, err := strconv.Atoi(next.Name); err == nil || strings.HasSuffix(next.Name, ".backup") || len(next.Sites) > MaxSites {
		return Result{Err: ErrBadEntry}
	}
	for _, s := range next.Sites {
		if !m.servers[s.Server] {
			return Result{Err: ErrUnknownServer}
		}
	}
	if _, taken := m.entries[next.Name]; taken && next.Name != old.Name {
		return Result{Err: ErrExists}
	}
	ids := []uint64{next.IDs.RW, next.IDs.RO, next.IDs.BK}
	for i, id := range ids {
		if id == 0 {
			continue
		}
		if slices.Contains(ids[:i], id) {
			return Result{Err: ErrBadEntry}
		}
		if owner, ok := m.find(strconv.FormatUint(id, 10)); ok && owner.Name != old.Name {
			return Result{Err: ErrIDTaken}
		}
	}
	next.Lock, next.Version, next.Modified = old.Lock, m.revision, c.Time
	if len(next.Sites) == 0 {
		next.Sites = nil
	}
	delete(m.entries, old.Name)
	m.entries[next.Name] = next
	return Result{Entry: next}
}

func (m *model) expectIDs(count uint32) Result {
	if count == 0 {
		return Result{Err: ErrBadChange}
	}
	first := m.nextID
	for id := first; id < first+uint64(count); id++ {
		if _, taken := m.find(strconv.FormatUint(id, 10)); taken {
			first = id + 1
		}
	}
	m.nextID = first + uint64(count)
	return Result{FirstID: first}
}

func (m *model) find(name string) (Entry, bool) {
	id, err := strconv.ParseUint(strings.TrimSuffix(strings.TrimSuffix(name, ".backup"), ".readonly"), 10, 64)
	for _, e := range m.entries {
		if err == nil && id != 0 && (e.IDs.RW == id || e.IDs.RO == id || e.IDs.BK == id) {
			return e, true
		}
	}
	e, ok := m.entries[strings.TrimSuffix(strings.TrimSuffix(name, ".backup"), ".readonly")]
	return e, ok
}

func (m *model) lookUp(t *rapid.T) {
	name := drawQuery(t)
	want, ok := m.find(name)
	got, err := m.one.Get(name)
	if !ok && err == ErrNotFound {
		return
	}
	if diff := cmp.Diff(want, got); err != nil || !ok || diff != "" {
		t.Fatalf("Get(%s): %v\n%s", name, err, diff)
	}
}

func (m *model) resolve(t *rapid.T) {
	var names []string
	for range rapid.IntRange(1, 10).Draw(t, "names") {
		names = append(names, drawQuery(t))
	}
	ids, found := make([]IDs, len(names)), make([]bool, len(names))
	if err := m.one.ResolveIDs(names, ids, found); err != nil {
		t.Fatal(err)
	}
	for i, name := range names {
		want, ok := m.find(name)
		if ok != found[i] || ids[i] != want.IDs {
			t.Fatalf("%s resolved to %+v, %v; want %+v, %v", name, ids[i], found[i], want.IDs, ok)
		}
		if one, found, err := m.one.ResolveID(name); one != want.IDs || found != ok || err != nil && !errors.Is(err, ErrBadName) {
			t.Fatalf("%s resolved to %+v, %v; want %+v, %v", name, one, err, want.IDs, ok)
		}
	}
}

// list compares what a filter lets through with a look at each entry.
func (m *model) list(t *rapid.T) {
	f := Filter{Flags: rapid.Uint32Range(0, 3).Draw(t, "flags")}
	if rapid.Bool().Draw(t, "by partition") {
		f.Partition = ptr(rapid.Uint32Range(0, 2).Draw(t, "partition"))
	}
	if server := rapid.SampledFrom(modelServers).Draw(t, "server"); m.servers[server] && rapid.Bool().Draw(t, "by server") {
		f.Server = server
	}
	var want []string
	for name, e := range m.entries {
		placed := f.Server == "" && f.Partition == nil || slices.ContainsFunc(e.Sites, func(s Site) bool {
			return (f.Server == "" || s.Server == f.Server) && (f.Partition == nil || s.Partition == *f.Partition)
		})
		if placed && e.Flags&f.Flags == f.Flags {
			want = append(want, name)
		}
	}
	got := pages(t, m.one, f, rapid.IntRange(1, 4).Draw(t, "limit"))
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Fatalf("%+v lists %v, want %v", f, got, want)
	}
}

func (m *model) restart(t *rapid.T) {
	if err := m.one.Close(); err != nil {
		t.Fatal(err)
	}
	m.one = modelOpen(t, m.one.config)
	if m.one.Revision() != m.revision {
		t.Fatalf("revision %d after a restart, want %d", m.one.Revision(), m.revision)
	}
}

// catchUp applies to the second directory at once what the first one had one by one.
func (m *model) catchUp(t *rapid.T) {
	results, err := m.two.ApplyAll(m.pending)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(m.results, results, cmp.Comparer(sameError)); len(m.results) > 0 && diff != "" {
		t.Fatal("two nodes answer differently", diff)
	}
	m.pending, m.results = nil, nil
}

// check runs after each step.
func (m *model) check(t *rapid.T) {
	if n := m.one.Stats().Entries; n != uint64(len(m.entries)) {
		t.Fatalf("%d entries, want %d", n, len(m.entries))
	}
}
