package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"carillon/object/conformance"
	"carillon/object/membership"
	"carillon/object/node"
)

// objectNode is a real `carillon object serve`.
type objectNode struct {
	name, data, url string
	args, within    []string
	cmd             *exec.Cmd
	log             *lockedBuffer
	exited          chan error
}

const dataHere = "{data}"

// freeAddress is one that nobody has at the moment.
func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// startObjectNode runs a node on loopback until it answers; its address stays the same when it is run again.
func startObjectNode(t testing.TB, name, data string, args ...string) *objectNode {
	t.Helper()
	return startObjectNodeAt(t, nil, freeAddress(t), name, data, args...)
}

// startObjectNodeAt runs a node at an address, within another command if there is one. dataHere in its arguments stands for its folder.
func startObjectNodeAt(t testing.TB, within []string, address, name, data string, args ...string) *objectNode {
	t.Helper()
	n := &objectNode{within: within, name: name, data: data, url: "http://" + address, log: &lockedBuffer{}}
	if slices.Contains(args, "--tls-cert") {
		n.url = "https://" + address
	}
	n.args = []string{"object", "serve", "--name", name, "--data", data, "--listen", address, "--timeout", "3s"}
	for _, arg := range args {
		n.args = append(n.args, strings.ReplaceAll(arg, dataHere, data))
	}
	t.Cleanup(func() {
		n.kill()
		if t.Failed() {
			t.Logf("log of node %s:\n%s", name, n.log)
		}
	})
	n.start(t)
	return n
}

func (n *objectNode) start(t testing.TB) {
	t.Helper()
	n.cmd, n.exited = inside(n.within, carillon(n.args...)), make(chan error, 1)
	stdout, err := n.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	n.cmd.Stderr = n.log
	if err := n.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ready := make(chan struct{})
	go func() {
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			if strings.HasPrefix(lines.Text(), "  data ") {
				close(ready)
			}
		}
		n.exited <- n.cmd.Wait()
	}()
	select {
	case <-ready:
	case err := <-n.exited:
		n.exited <- err
		t.Fatalf("node %s ended: %v\n%s", n.name, err, n.log)
	case <-time.After(startLasts):
		t.Fatalf("node %s did not start\n%s", n.name, n.log)
	}
}

// inside runs a command within another one.
func inside(within []string, cmd *exec.Cmd) *exec.Cmd {
	if len(within) == 0 {
		return cmd
	}
	outer := exec.Command(within[0], append(within[1:len(within):len(within)], cmd.Args...)...)
	outer.Env = cmd.Env
	return outer
}

func (n *objectNode) kill() {
	if n.cmd == nil {
		return
	}
	_ = n.cmd.Process.Kill()
	err := <-n.exited
	n.exited <- err
}

// objectCluster is three nodes, the first of which has the NATS server.
func objectCluster(t testing.TB, dir string, serve ...string) []*objectNode {
	t.Helper()
	nats := freeAddress(t)
	first := startObjectNode(t, "a", filepath.Join(dir, "a"), append([]string{"--new", "--nats-listen", nats}, serve...)...)
	nodes := []*objectNode{first}
	for _, name := range []string{"b", "c"} {
		nodes = append(nodes, startObjectNode(t, name, filepath.Join(dir, name), append([]string{"--nats", "nats://" + nats}, serve...)...))
	}
	objectShell(t, nodes, "join", "b", "c")
	return nodes
}

// objectShell runs a verb that must succeed and returns what it printed.
func objectShell(t testing.TB, nodes []*objectNode, args ...string) string {
	t.Helper()
	out, err := objectVerb(nodes, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("carillon object %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

func objectVerb(nodes []*objectNode, args ...string) *exec.Cmd {
	var urls []string
	for _, n := range nodes {
		urls = append(urls, n.url)
	}
	flags := []string{"object", args[0], "--timeout", "5s", "--node", strings.Join(urls, ",")}
	if i := slices.Index(nodes[0].args, "--ca"); i >= 0 {
		flags = append(flags, "--ca", nodes[0].args[i+1])
	}
	return carillon(append(flags, args[1:]...)...)
}

// fails runs a verb that must fail with an error that says want.
func objectFails(t testing.TB, nodes []*objectNode, want string, args ...string) {
	t.Helper()
	out, err := objectVerb(nodes, args...).CombinedOutput()
	if err == nil || !strings.Contains(string(out), want) {
		t.Errorf("carillon object %s: %v, want an error with %q in\n%s", strings.Join(args, " "), err, want, out)
	}
}

// TestObjectVerbs uses a cluster as a person would, and changes it while it holds objects.
func TestObjectVerbs(t *testing.T) {
	dir := t.TempDir()
	nodes := objectCluster(t, dir)
	large := filepath.Join(dir, "large")
	if err := os.WriteFile(large, conformance.Content(9<<20, 1), 0o600); err != nil {
		t.Fatal(err)
	}
	objectShell(t, nodes, "put", "dir/large", large)
	small := filepath.Join(dir, "small")
	if err := os.WriteFile(small, []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"dir//..x", "ünïcode", "b"} {
		objectShell(t, nodes, "put", name, small)
	}
	if out := objectShell(t, nodes, "put", "--content", "blake3", small); !strings.Contains(out, "stored blake3/ea8f163d") {
		t.Error(out)
	}
	if out := objectShell(t, nodes, "get", "dir/large", "-o", filepath.Join(dir, "back")); out != "" && !strings.Contains(out, "receiving") {
		t.Error(out)
	}
	back, err := os.ReadFile(filepath.Join(dir, "back"))
	if err != nil || !bytes.Equal(back, conformance.Content(9<<20, 1)) {
		t.Errorf("%d bytes came back, %v", len(back), err)
	}
	if out := objectShell(t, nodes, "get", "b", "--offset", "1", "--length", "3", "--read", "race"); out != "ell" {
		t.Errorf("a range: %q", out)
	}
	objectShell(t, nodes, "put", "b", large, "--server-copies")
	var versions []node.ObjectInfo
	if err := json.Unmarshal([]byte(objectShell(t, nodes, "history", "b", "--json")), &versions); err != nil || len(versions) != 2 || versions[1].Size != 5 {
		t.Fatalf("history: %+v, %v", versions, err)
	}
	if out := objectShell(t, nodes, "get", "b", "--version", versions[1].Version); out != "hello" {
		t.Errorf("an older version: %.20q", out)
	}
	objectShell(t, nodes, "put", "leader", small, "--if-absent")
	objectFails(t, nodes, "another version is there", "put", "leader", small, "--if-absent")
	objectShell(t, nodes, "rm", "b")
	objectFails(t, nodes, "no such object", "get", "b")
	objectFails(t, nodes, "not there", "stat", "leader", "b")
	objectFails(t, nodes, `segment ".."`, "put", "a/../b", small)
	objectFails(t, []*objectNode{{url: "http://" + freeAddress(t)}}, "is a node running?", "ls")
	if out := objectShell(t, nodes, "ls", "dir/"); !strings.Contains(out, "dir//..x") || strings.Contains(out, "leader") {
		t.Error(out)
	}
	benchObjectCluster(t, nodes)
	changeObjectCluster(t, nodes, dir)
	back, err = objectVerb(nodes, "get", "dir/large").Output()
	if err != nil || !bytes.Equal(back, conformance.Content(9<<20, 1)) {
		t.Errorf("at the end %d bytes came back, %v", len(back), err)
	}
}

// benchObjectCluster stores and loads sequences, of which nothing is left.
func benchObjectCluster(t *testing.T, nodes []*objectNode) {
	t.Helper()
	args := []string{"bench", "--sizes", "0,1,10KB,2MB", "--objects", "20", "--total", "5MB"}
	var benched []objectBenched
	if err := json.Unmarshal([]byte(objectShell(t, nodes, append(args, "--json", "--server-copies")...)), &benched); err != nil || len(benched) != 4 {
		t.Fatalf("%+v, %v", benched, err)
	}
	for i, want := range []int{20, 20, 20, 2} {
		if b := benched[i]; b.Objects != want || b.Puts <= 0 || b.Gets <= 0 || b.Wrong > 0 {
			t.Errorf("%+v", b)
		}
	}
	if out := objectShell(t, nodes, args...); !strings.Contains(out, "puts/s") || strings.Count(out, "\n") != 5 {
		t.Error(out)
	}
	if out := objectShell(t, nodes, "ls", "carillon-bench/"); !strings.Contains(out, "no objects") {
		t.Error(out)
	}
	objectFails(t, nodes, "is no size", "bench", "--sizes", "large")
	objectFails(t, nodes, "--workers 0", "bench", "--workers", "0")
}

// changeObjectCluster takes a node in, takes one out, and replaces one by an empty one.
func changeObjectCluster(t *testing.T, nodes []*objectNode, dir string) {
	t.Helper()
	nats := nodes[1].args[len(nodes[1].args)-1]
	d := startObjectNode(t, "d", filepath.Join(dir, "d"), "--nats", nats)
	if out := objectShell(t, []*objectNode{d}, "ls"); !strings.Contains(out, "leader") { // it knows whom to ask
		t.Error(out)
	}
	if out := objectShell(t, nodes, "nodes"); !strings.Contains(out, "could join") {
		t.Error(out)
	}
	var plan objectPlan
	if err := json.Unmarshal([]byte(objectShell(t, nodes, "join", "d", "--dry-run", "--json")), &plan); err != nil || plan.Objects != 5 || plan.Nodes["d"].Out != 0 {
		t.Errorf("plan: %+v, %v", plan, err)
	}
	objectShell(t, nodes, "join", "d")
	objectFails(t, nodes, "is in it already", "join", "d")
	objectShell(t, nodes, "leave", "b")
	nodes[1].kill()
	c := nodes[2]
	c.kill()
	if err := os.RemoveAll(filepath.Join(c.data, "objects")); err != nil {
		t.Fatal(err)
	}
	c.start(t)
	objectFails(t, nodes, "not admitted", "verify")
	objectShell(t, nodes, "join", "c", "--replace")
	if out := objectShell(t, nodes, "verify"); !strings.Contains(out, "5 objects, 15 copies, 0 problems") {
		t.Error(out)
	}
	objectShell(t, nodes, "scrub", "--deep")
	var status membership.Status
	if err := json.Unmarshal([]byte(objectShell(t, nodes, "nodes", "--json")), &status); err != nil || status.State.Moving() || len(status.State.Nodes) != 3 || status.State.Has("b") {
		t.Errorf("%+v, %v", status, err)
	}
}

func TestEveryObjectVerbShowsAnExample(t *testing.T) {
	for _, verb := range objectCommand().Commands() {
		if !strings.Contains(verb.Example, "carillon object "+verb.Name()) || verb.Short == "" {
			t.Errorf("carillon object %s --help has no example, or no short description", verb.Name())
		}
	}
}
