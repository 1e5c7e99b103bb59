package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"carillon/require"
)

// A node in a network namespace of its own, and the cable to it.
const (
	farNamespace = "carillon-object"
	nearLink     = "carobj0"
	farLink      = "carobj1"
	nearAddress  = "10.213.77.1"
	farAddress   = "10.213.77.2"
)

func ip(args ...string) error {
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}

// connectNamespace makes the namespace.
func connectNamespace(t *testing.T) {
	t.Helper()
	_ = ip("netns", "delete", farNamespace) // of a run that was killed
	err := ip("netns", "add", farNamespace)
	require.Feature(t, "root", err == nil, fmt.Sprint(err))
	t.Cleanup(func() {
		if err := ip("netns", "delete", farNamespace); err != nil {
			t.Error(err)
		}
	})
	for _, step := range []string{
		"link add " + nearLink + " type veth peer name " + farLink + " netns " + farNamespace,
		"address add " + nearAddress + "/24 dev " + nearLink,
		"link set " + nearLink + " up",
		"-n " + farNamespace + " address add " + farAddress + "/24 dev " + farLink,
		"-n " + farNamespace + " link set " + farLink + " up",
		"-n " + farNamespace + " link set lo up",
	} {
		if err := ip(strings.Fields(step)...); err != nil {
			t.Fatal(err)
		}
	}
}

// TestObjectPartition cuts the cable to one node of three. The side with two goes on; on the other side nothing is
// acknowledged and no compare-and-set is made. When the cable is back, the copies are brought in step.
func TestObjectPartition(t *testing.T) {
	connectNamespace(t)
	dir := t.TempDir()
	within := []string{"ip", "netns", "exec", farNamespace}
	nats := nearAddress + ":14222"
	a := startObjectNodeAt(t, nil, nearAddress+":19490", "a", filepath.Join(dir, "a"), "--new", "--nats-listen", nats)
	b := startObjectNodeAt(t, nil, nearAddress+":19491", "b", filepath.Join(dir, "b"), "--nats", "nats://"+nats)
	c := startObjectNodeAt(t, within, farAddress+":19492", "c", filepath.Join(dir, "c"), "--nats", "nats://"+nats)
	near, far := []*objectNode{a, b}, []*objectNode{c}
	objectShell(t, near, "join", "b", "c")
	file := filepath.Join(dir, "file")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("before")
	for i := range 4 {
		objectShell(t, near, "put", fmt.Sprintf("plain/%d", i), file)
		objectShell(t, near, "put", fmt.Sprintf("guarded/%d", i), file, "--if-absent")
	}
	if err := ip("link", "set", nearLink, "down"); err != nil {
		t.Fatal(err)
	}
	write("after")
	for i := range 2 {
		objectShell(t, near, "put", fmt.Sprintf("plain/%d", i), file, "--timeout", "1s")
	}
	if out := objectShell(t, near, "get", "plain/0", "--timeout", "1s"); out != "after" {
		t.Errorf("read while a node is cut off: %q", out)
	}
	write("from the other side")
	for what, args := range map[string][]string{
		"write may or may not":     {"put", "plain/2", file, "--timeout", "1s"},
		"too few nodes":            {"put", "guarded/0", file, "--if-absent", "--timeout", "1s"},
		"too few nodes answered: ": {"get", "plain/0", "--timeout", "1s"},
	} {
		out, err := inside(within, objectVerb(far, args...)).CombinedOutput()
		if err == nil || !strings.Contains(string(out), what) {
			t.Errorf("%v on the side of one: %v, want %q in\n%s", args, err, what, out)
		}
	}
	if err := ip("link", "set", nearLink, "up"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "scrubbing", func() error {
		out, err := objectVerb(near, "scrub", "--deep").CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
	if out := objectShell(t, near, "verify"); !strings.Contains(out, "8 objects, 24 copies, 0 problems") {
		t.Error(out)
	}
	for name, want := range map[string]string{"plain/0": "after", "plain/3": "before", "guarded/0": "before"} {
		if out := objectShell(t, near, "get", name); out != want {
			t.Errorf("%s: %q, want %q", name, out, want)
		}
	}
}
