package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"carillon/object"
	"carillon/object/clock"
	"carillon/object/conformance"
	"carillon/object/membership"
	"carillon/object/node"
	"carillon/object/replica"
)

// System calls by what they do.
const (
	callsWriteAt = "pwrite64"
	callsSync    = "fdatasync"
	callsSyncDir = "fsync"
	callsRename  = "rename,renameat,renameat2"
	callsUnlink  = "unlink,unlinkat"
	callsSend    = "write,writev,sendto,sendmsg"
)

// files says on which ones a system call counts.
type files int

const (
	anyFile files = iota
	segments
	toClients // connections
	toNodes
)

// putMoment is one in a put at which the second of three nodes gets SIGKILL: at the beginning of a system call, which is then not
// made. Without a call the put itself kills the node.
type putMoment struct {
	name  string
	put   func(k *killing, t *testing.T, name string, content []byte) (acked bool)
	bytes int
	calls string
	when  string // which of them, of a thread, as strace counts: N, or N+ for any from the Nth on; empty for the first
	on    files
	anew  bool // nothing of the name is there before
}

const (
	inBatch   = 10 << 10 // such small ones may come together with others
	inPack    = 100 << 10
	ownFile   = 2 << 20 // of pack: such objects have files of their own
	inFile    = 300 << 10
	manyTurns = 8 << 20 // so much that some thread of the node makes a call twice
)

// packMoments are in the order in which a put comes by. A large object is written to a file first, then its record.
func packMoments() []putMoment {
	return []putMoment{
		{name: "half of the body has come", put: (*killing).half, bytes: inPack},
		{name: "before the append", put: (*killing).copies, bytes: inPack, calls: callsWriteAt, anew: true},
		{name: "appended and not synced", put: (*killing).copies, bytes: inPack, calls: callsSync},
		{name: "synced and not answered", put: (*killing).copies, bytes: inPack, calls: callsSend, on: toClients},
		{name: "a batch is appended and not synced", put: (*killing).copies, bytes: inBatch, calls: callsSync, anew: true},
		{name: "a batch is synced and not answered", put: (*killing).copies, bytes: inBatch, calls: callsSend, on: toClients},
		{name: "half of a large content is written", put: (*killing).copies, bytes: manyTurns, calls: callsWriteAt, when: "2+", anew: true},
		{name: "a large content is not synced", put: (*killing).copies, bytes: ownFile, calls: callsSync},
		{name: "the file of a large content is not synced in its folder", put: (*killing).copies, bytes: ownFile, calls: callsSyncDir},
		{name: "the record of a large content is not synced", put: (*killing).copies, bytes: ownFile, calls: callsSync, on: segments},
		{name: "no copy is on its way", put: (*killing).program, bytes: inPack, calls: callsSend, on: toNodes, anew: true},
		{name: "copies are on their way", put: (*killing).program, bytes: manyTurns, calls: callsSend, when: "3+", on: toNodes},
		{name: "copies for the client are on their way", put: (*killing).relayed, bytes: manyTurns, calls: callsSend, when: "3+", on: toNodes},
		{name: "copied and not answered", put: (*killing).program, bytes: inPack, calls: callsSend, on: toClients, anew: true},
		{name: "answered", put: (*killing).answered, bytes: inPack},
	}
}

// fileMoments are those in which a file comes to its place.
func fileMoments() []putMoment {
	return []putMoment{
		{name: "half of the body has come", put: (*killing).half, bytes: inFile, anew: true},
		{name: "half of the content is written", put: (*killing).copies, bytes: manyTurns, calls: callsWriteAt, when: "2+"},
		{name: "written and not synced", put: (*killing).copies, bytes: inFile, calls: callsSync, anew: true},
		{name: "synced and not in place", put: (*killing).copies, bytes: inFile, calls: callsRename},
		{name: "in place and its folder not synced", put: (*killing).copies, bytes: inFile, calls: callsSyncDir, anew: true},
		{name: "the version before is not removed", put: (*killing).copies, bytes: inFile, calls: callsUnlink},
		{name: "not answered", put: (*killing).copies, bytes: inFile, calls: callsSend, on: toClients},
		{name: "copies are on their way", put: (*killing).program, bytes: manyTurns, calls: callsSend, when: "3+", on: toNodes, anew: true},
		{name: "answered", put: (*killing).answered, bytes: inFile},
	}
}

// TestObjectKilledWhilePutting: whatever a node does for a put when it is killed, an acknowledged object is there and right,
// and any other is there as a whole or not at all, of which the nodes agree.
func TestObjectKilledWhilePutting(t *testing.T) {
	needsStrace(t)
	for store, moments := range map[string][]putMoment{"pack": packMoments(), "file": fileMoments()} {
		k := startKilling(t, store)
		t.Run(store, func(t *testing.T) {
			t.Parallel()
			for i, m := range moments {
				k.at(t, i, m)
			}
			done, err := k.coordinator.Scrub(t.Context(), replica.Scrub{Deep: true})
			if err != nil || !done.Settled() || done.Repaired > 0 {
				t.Errorf("a scrub of everything: %+v, %v", done, err)
			}
			for name, content := range k.known {
				k.agreed(t, name, content)
			}
		})
	}
}

// killing is a cluster whose node b is killed again and again, and clients of it.
type killing struct {
	nodes       []*objectNode
	victim      *objectNode
	view        replica.View
	peers       *node.Peers
	coordinator *replica.Coordinator // sends each node its copy
	relaying    *replica.Coordinator // has the first node send the others theirs
	programs    *http.Client
	known       map[string][]byte // what nodes have agreed on, nil for nothing
}

func startKilling(t *testing.T, store string) *killing {
	t.Helper()
	k := &killing{nodes: objectCluster(t, t.TempDir(), "--store", store+"://"+filepath.Join(dataHere, "store")), known: make(map[string][]byte)}
	k.victim = k.nodes[1]
	k.programs = &http.Client{Transport: &http.Transport{ExpectContinueTimeout: time.Minute}}
	members := &membership.Client{Addresses: []string{k.nodes[0].url}, HTTP: k.programs}
	status, err := members.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	k.peers = node.NewPeers(node.Dial{}, nil)
	k.view, err = status.State.View()
	if err = errors.Join(err, k.peers.Set(status.State.Addresses())); err != nil {
		t.Fatal(err)
	}
	for i, c := range []**replica.Coordinator{&k.coordinator, &k.relaying} {
		*c, err = replica.New(replica.Config{
			Node: k.peers.Node, Clock: clock.New(uint64(i)+1, time.Now, 0), ServerCopies: i == 1, Timeout: 20 * time.Second, Grace: time.Hour,
		}, k.view)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup((*c).Close)
	}
	t.Cleanup(func() { k.peers.Close(); k.programs.CloseIdleConnections() })
	return k
}

// at kills the node at a moment of a put and looks at what has become of the object.
func (k *killing) at(t *testing.T, i int, m putMoment) {
	t.Helper()
	name := k.name(fmt.Sprintf("%d/%s", i, m.name))
	before, content := conformance.Content(m.bytes, uint64(2*i)), conformance.Content(m.bytes, uint64(2*i+1))
	k.settle(t, name, before)
	if m.anew {
		k.settle(t, name+"/first", before)
		before, name = nil, k.name(name+"/anew")
	}
	if m.calls != "" {
		k.aim(t, m)
	}
	acked := m.put(k, t, name, content)
	select {
	case err := <-k.victim.exited:
		k.victim.exited <- err
	case <-time.After(startLasts):
		t.Fatalf("%s: the node lives, acknowledged: %v", m.name, acked)
	}
	may := [][]byte{content}
	if !acked {
		may = append(may, before)
	}
	for _, n := range []*objectNode{k.nodes[0], k.nodes[2]} {
		k.read(t, n, name, "?read=newest", may)
	}
	k.victim.start(t)
	k.read(t, k.victim, name, "", [][]byte{before, content}, "Carillon-Local", "true")
	if done, err := k.coordinator.Scrub(t.Context(), replica.Scrub{Prefix: name}); err != nil || !done.Settled() {
		t.Fatalf("%s: a scrub: %+v, %v", m.name, done, err)
	}
	k.known[name] = k.read(t, k.victim, name, "?read=newest", may)
	k.agreed(t, name, k.known[name])
}

// name makes one whose first copy is the victim's.
func (k *killing) name(base string) string {
	for i := 0; ; i++ {
		if name := fmt.Sprintf("%s/%d", base, i); k.view.Now.Place(name)[0] == k.victim.name {
			return name
		}
	}
}

// settle puts an object and waits until every node has it, so that nothing but the next put is under way.
func (k *killing) settle(t *testing.T, name string, content []byte) {
	t.Helper()
	info, err := k.coordinator.Put(t.Context(), name, sourceOf(content))
	if err != nil {
		t.Fatal(err)
	}
	k.program(t, name+"/beside", content[:1]) // so that there is a connection of a program
	for _, name := range []string{name, name + "/beside"} {
		eventually(t, name+" is everywhere", func() error {
			for _, n := range k.nodes {
				c, err := k.peers.Client(n.name)
				if err != nil {
					return err
				}
				there, err := c.Stat(t.Context(), name, k.view.Epoch)
				if err != nil || there.Version.Compare(info.Version) < 0 {
					return fmt.Errorf("%s has %+v, %w", n.name, there, err)
				}
			}
			return nil
		})
	}
	k.known[name] = content
}

func sourceOf(content []byte) replica.Source {
	sum := object.SumOf(content)
	return replica.Source{Size: int64(len(content)), Sum: &sum, Open: func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(content)), nil
	}}
}

// aim has strace kill the node at the moment.
func (k *killing) aim(t *testing.T, m putMoment) {
	t.Helper()
	pid := k.victim.cmd.Process.Pid
	args := []string{"-e", "trace=" + m.calls, "-e", fmt.Sprintf("inject=%s:signal=SIGKILL:when=%s", m.calls, cmp.Or(m.when, "1"))}
	var on []string
	switch m.on {
	case segments:
		on, _ = filepath.Glob(filepath.Join(k.victim.data, "store", "segments", "*")) // the pattern is a good one
	case toClients:
		on = sockets(t, pid, true, k.victim.port(t))
	case toNodes:
		on = sockets(t, pid, false, k.nodes[0].port(t), k.nodes[2].port(t))
	}
	if m.on != anyFile && len(on) == 0 {
		t.Fatalf("%s: there is no such file", m.name)
	}
	for _, name := range on {
		args = append(args, "-P", name)
	}
	attachStrace(t, pid, args...)
}

func (n *objectNode) port(t testing.TB) int {
	t.Helper()
	u, err := url.Parse(n.url)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(u.Port())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// copies sends each node its copy: the two others are enough.
func (k *killing) copies(t *testing.T, name string, content []byte) bool {
	t.Helper()
	return k.putBy(t, k.coordinator, name, content)
}

// relayed has the node make the copies of others; when it has been killed another one is asked to.
func (k *killing) relayed(t *testing.T, name string, content []byte) bool {
	t.Helper()
	return k.putBy(t, k.relaying, name, content)
}

func (k *killing) putBy(t *testing.T, c *replica.Coordinator, name string, content []byte) bool {
	t.Helper()
	if _, err := c.Put(t.Context(), name, sourceOf(content)); err != nil {
		t.Fatalf("two nodes of three live: %v", err)
	}
	return true
}

// program puts as curl would; the node makes the copies.
func (k *killing) program(t *testing.T, name string, content []byte) bool {
	t.Helper()
	return k.send(t, name, bytes.NewReader(content), len(content))
}

func (k *killing) send(t *testing.T, name string, body io.Reader, size int) bool {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, objectURL(k.victim, name), body)
	if err != nil {
		t.Fatal(err)
	}
	r.ContentLength = int64(size)
	r.Header.Set("Expect", "100-continue")
	response, err := k.programs.Do(r)
	if err != nil {
		return false
	}
	return response.StatusCode == http.StatusNoContent && response.Body.Close() == nil
}

// half kills the node when it has asked for the body and half of that has been sent.
func (k *killing) half(t *testing.T, name string, content []byte) bool {
	t.Helper()
	kill := readerFunc(func([]byte) (int, error) {
		k.victim.kill()
		return 0, errors.New("the node was killed")
	})
	if k.send(t, name, io.MultiReader(bytes.NewReader(content[:len(content)/2]), kill), len(content)) {
		t.Fatal("half of a body is acknowledged")
	}
	return false
}

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// answered kills the node as soon as it has answered.
func (k *killing) answered(t *testing.T, name string, content []byte) bool {
	t.Helper()
	if !k.program(t, name, content) {
		t.Fatal("nothing was wrong, and the put is not acknowledged")
	}
	k.victim.kill()
	return true
}

// read gets an object from a node, which must be one of some contents, of which nil is none.
func (k *killing) read(t *testing.T, n *objectNode, name, query string, may [][]byte, headers ...string) []byte {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, objectURL(n, name)+query, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	response, err := k.programs.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	switch {
	case response.StatusCode == http.StatusNotFound:
		content = nil
	case response.StatusCode != http.StatusOK:
		t.Fatalf("%s on %s: %s: %s", name, n.name, response.Status, content)
	}
	if !slices.ContainsFunc(may, func(one []byte) bool { return bytes.Equal(one, content) && (one == nil) == (content == nil) }) {
		t.Fatalf("%s on %s: %d bytes that are none of what it may be", name, n.name, len(content))
	}
	return content
}

// agreed reads an object through every node.
func (k *killing) agreed(t *testing.T, name string, content []byte) {
	t.Helper()
	for _, n := range k.nodes {
		k.read(t, n, name, "?read=newest", [][]byte{content})
	}
}
