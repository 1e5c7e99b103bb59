package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestObjectBadInput: what makes no sense is refused with an error that says what it is, and leaves nothing.
func TestObjectBadInput(t *testing.T) {
	dir := t.TempDir()
	nodes := []*objectNode{startObjectNode(t, "a", filepath.Join(dir, "a"), "--new")}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"":                        "it is empty",
		"..":                      `segment ".."`,
		"a/../b":                  `segment ".."`,
		"\xff\xfe":                "is not UTF-8",
		strings.Repeat("n", 4096): "has 4096 bytes, at most 1024",
	} {
		objectFails(t, nodes, want, "put", name, file)
		objectFails(t, nodes, want, "put", name, file, "--server-copies")
		objectFails(t, nodes, want, "put", name, file, "--if-absent")
		objectFails(t, nodes, want, "get", name)
		objectFails(t, nodes, want, "stat", name)
		objectFails(t, nodes, want, "rm", name)
		objectFails(t, nodes, want, "history", name)
	}
	for want, args := range map[string][]string{
		`"nowhere" has no heartbeat`:         {"join", "nowhere"},
		`"nowhere" is not in it`:             {"leave", "nowhere"},
		"is in it already":                   {"join", "a"},
		"no node would be left":              {"leave", "a"},
		"no such file":                       {"put", "x", filepath.Join(dir, "none")},
		"is no file":                         {"put", "x", dir},
		"want NAME and FILE":                 {"put", "x"},
		"--content":                          {"put", "--content", "md5", file},
		"--version":                          {"get", "x", "--version", "7"},
		"--if-version":                       {"put", "x", file, "--if-version", "7"},
		"--read soon":                        {"get", "x", "--read", "soon"},
		"--limit -1":                         {"ls", "--limit", "-1"},
		"no such object":                     {"get", "x", "-o", filepath.Join(dir, "out")},
		"invalid argument \"fast\" for \"--": {"scrub", "--rate", "fast"},
	} {
		objectFails(t, nodes, want, args...)
	}
	for url, want := range map[string]string{
		"http://" + freeAddress(t): "is a node running?", "nowhere:9490": "want http://HOST:PORT", nodes[0].url + "/objects": "want http://HOST:PORT",
	} {
		objectFails(t, []*objectNode{{url: url}}, want, "ls")
	}
	if out := objectShell(t, nodes, "ls", "--deleted"); !strings.Contains(out, "no objects") {
		t.Errorf("something was stored:\n%s", out)
	}
	if left, err := filepath.Glob(filepath.Join(dir, "out*")); err != nil || len(left) > 0 {
		t.Errorf("%q are left of a get that failed, %v", left, err)
	}
}
