package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"carillon/object/conformance"
	"carillon/object/membership"
	"carillon/object/node"
	"carillon/object/replica"
)

const (
	movedSmall      = 560 // so many that a note is written on the way
	movedSmallBytes = 100
	movedLarge      = 4
	movedLargeBytes = 256 << 10
	busyEnd         = "/busy"
	largeStart      = "b/"
	slowly          = "16KB" // a second: the small ones take seconds, a large one far more
)

// movedNames come in the order in which they move; only those that are busy are written and read meanwhile.
func movedNames() (names, busy []string) {
	for i := range movedSmall {
		name := fmt.Sprintf("a/%04d", i)
		if i%4 == 0 {
			name += busyEnd
			busy = append(busy, name)
		}
		names = append(names, name)
	}
	for i := range movedLarge {
		names = append(names, fmt.Sprintf("%s%d", largeStart, i))
	}
	return names, busy
}

// objectTraffic writes and reads objects by programs' requests, and knows what they are. One goroutine uses it.
type objectTraffic struct {
	t        *testing.T
	nodes    []*objectNode
	client   *http.Client
	contents map[string][]byte
	writes   uint64
	stale    int
}

// put writes another content of the same size.
func (o *objectTraffic) put(ctx context.Context, name string, size int) error {
	o.writes++
	content := conformance.Content(size, o.writes)
	if _, err := o.ask(ctx, http.MethodPut, name, content); err != nil {
		return err
	}
	o.contents[name] = content
	return nil
}

func (o *objectTraffic) check(ctx context.Context, name string) error {
	got, err := o.ask(ctx, http.MethodGet, name, nil)
	if err == nil && !bytes.Equal(got, o.contents[name]) {
		err = fmt.Errorf("%s: %d bytes that are not what was acknowledged last", name, len(got))
	}
	return err
}

// ask asks one node after the other, in turns. A node that was in the middle of a request when the cluster was changed says so, and
// is asked again.
func (o *objectTraffic) ask(ctx context.Context, method, name string, body []byte) ([]byte, error) {
	for {
		n := o.nodes[len(name)*int(o.writes)%len(o.nodes)]
		r, err := http.NewRequestWithContext(ctx, method, objectURL(n, name)+"?read=newest", bytes.NewReader(body))
		if err != nil {
			return nil, err
		}
		response, err := o.client.Do(r)
		if err != nil {
			return nil, err
		}
		content, err := io.ReadAll(response.Body)
		if err = errors.Join(err, response.Body.Close()); err != nil {
			return nil, err
		}
		switch {
		case response.StatusCode/100 == 2:
			return content, nil
		case response.StatusCode == http.StatusConflict && strings.Contains(string(content), `"stale"`):
			o.stale++
			continue
		}
		return nil, fmt.Errorf("%s %s of %s: %s: %s", method, name, n.name, response.Status, content)
	}
}

// goOn writes and reads one object after the other until it is told to stop.
func (o *objectTraffic) goOn(stop <-chan struct{}) (requests int) {
	_, busy := movedNames()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for ; ; requests++ {
		select {
		case <-stop:
			return requests
		case <-tick.C:
		}
		written, read := busy[(3*requests)%len(busy)], busy[(11*requests)%len(busy)]
		if err := o.put(o.t.Context(), written, movedSmallBytes); err != nil {
			o.t.Errorf("while objects move: %v", err)
			return requests
		}
		if err := o.check(o.t.Context(), read); err != nil {
			o.t.Errorf("while objects move: %v", err)
			return requests
		}
	}
}

// TestObjectMoveInterrupted: a fourth node joins; the command that moves objects to it is killed, and run again, then the node is
// killed while it gets them. All the while objects are written and read. In the end everything is where it belongs.
func TestObjectMoveInterrupted(t *testing.T) {
	dir := t.TempDir()
	nodes := objectCluster(t, dir)
	d := startObjectNode(t, "d", filepath.Join(dir, "d"), "--nats", nodes[1].args[len(nodes[1].args)-1])
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 4}}
	defer client.CloseIdleConnections()
	o := &objectTraffic{t: t, nodes: nodes, client: client, contents: make(map[string][]byte)}
	names, _ := movedNames()
	for _, name := range names {
		size := movedSmallBytes
		if strings.HasPrefix(name, largeStart) {
			size = movedLargeBytes
		}
		if err := o.put(t.Context(), name, size); err != nil {
			t.Fatal(err)
		}
	}
	stop, stopped := make(chan struct{}), sync.WaitGroup{}
	requests := 0
	stopped.Go(func() { requests = o.goOn(stop) })
	noted := killMover(t, nodes, client)
	killNewcomer(t, nodes, d, client)
	d.start(t)
	var done replica.Scrubbed
	if err := json.Unmarshal([]byte(objectShell(t, nodes, "join", "d", "--rate", "0", "--json")), &done); err != nil {
		t.Fatal(err)
	}
	close(stop)
	stopped.Wait()
	t.Logf("noted %q, %d names at last, %d writes and reads, %d asked again", noted, done.Names, requests, o.stale)
	if done.Names == 0 || done.Names >= int64(len(o.contents)) || requests == 0 {
		t.Errorf("%d names of %d were gone over at last, though those up to %q were settled; %d requests", done.Names, len(o.contents), noted, requests)
	}
	objectShell(t, nodes, "scrub", "--rate", "0") // for what was written while the node was away
	if out := objectShell(t, nodes, "verify"); !strings.Contains(out, fmt.Sprintf("%d objects, %d copies, 0 problems", len(o.contents), 3*len(o.contents))) {
		t.Error(out)
	}
	o.nodes = append(nodes, d)
	for name := range o.contents {
		if err := o.check(t.Context(), name); err != nil {
			t.Error(err)
		}
	}
	if status := objectStatus(t, nodes, client); status.State.Moving() || !status.State.Has("d") {
		t.Errorf("%+v", status)
	}
}

func objectStatus(t *testing.T, nodes []*objectNode, client *http.Client) membership.Status {
	t.Helper()
	members := &membership.Client{Addresses: []string{nodes[0].url}, HTTP: client}
	status, err := members.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return status
}

// killMover begins the move, kills the command when it has noted how far it is, and returns that.
func killMover(t *testing.T, nodes []*objectNode, client *http.Client) (noted string) {
	t.Helper()
	mover, ended := startMover(t, nodes)
	eventually(t, "a note of how far the move is", func() error {
		if noted = objectStatus(t, nodes, client).Moved; noted == "" {
			return errors.New("there is none")
		}
		return nil
	})
	_ = mover.Process.Kill()
	if err := <-ended; err == nil {
		t.Fatal("the move ended before it could be interrupted")
	}
	if status := objectStatus(t, nodes, client); !status.State.Moving() {
		t.Fatalf("nobody knows that objects are moving: %+v", status)
	}
	objectFails(t, nodes, "run the command that began it again", "leave", "c")
	return noted
}

// startMover runs the command that has node d join.
func startMover(t *testing.T, nodes []*objectNode) (*exec.Cmd, <-chan error) {
	t.Helper()
	mover := objectVerb(nodes, "join", "d", "--rate", slowly)
	if err := mover.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- mover.Wait() }()
	t.Cleanup(func() { _ = mover.Process.Kill() })
	return mover, ended
}

// killNewcomer goes on with the move and kills the new node when it has got more objects. The command then says that not everything
// is where it belongs.
func killNewcomer(t *testing.T, nodes []*objectNode, d *objectNode, client *http.Client) {
	t.Helper()
	held := func() int {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, d.url+"/objects?list", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Carillon-Local", "true")
		response, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		var l node.Listing
		if err := json.NewDecoder(response.Body).Decode(&l); err != nil {
			t.Fatal(err)
		}
		still := slices.DeleteFunc(l.Objects, func(o node.ObjectInfo) bool { return strings.HasSuffix(o.Name, busyEnd) })
		return len(still)
	}
	before := held()
	_, ended := startMover(t, nodes)
	eventually(t, "the move goes on", func() error {
		if n := held(); n <= before {
			return fmt.Errorf("node d has %d objects that nobody writes, and had %d", n, before)
		}
		return nil
	})
	d.kill()
	if err := <-ended; err == nil {
		t.Error("the move ended well without the node that objects move to")
	}
	if status := objectStatus(t, nodes, client); !status.State.Moving() {
		t.Errorf("%+v", status)
	}
}

func objectURL(n *objectNode, name string) string { return n.url + "/objects/" + url.PathEscape(name) }
