package carillon_test

import (
	"encoding/json"
	"errors"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// listed is what `go list` tells of a package of this module.
type listed struct {
	ImportPath string
	Dir        string
	Imports    []string
	GoFiles    []string
}

const module = "carillon"

func packages(t *testing.T) map[string]listed {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Dir,Imports,GoFiles", "./...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	all := make(map[string]listed)
	decoder := json.NewDecoder(strings.NewReader(string(out)))
	for {
		var p listed
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatalf("go list: %v", err)
		}
		all[p.ImportPath] = p
	}
}

// within tells whether a package is the folder or below it.
func within(path string, folders ...string) bool {
	return slices.ContainsFunc(folders, func(folder string) bool {
		folder = module + "/" + folder
		return path == folder || strings.HasPrefix(path, folder+"/")
	})
}

// reach is the packages of this module that one depends on, itself included.
func reach(all map[string]listed, path string, seen map[string]bool) map[string]bool {
	if _, ours := all[path]; ours && !seen[path] {
		seen[path] = true
		for _, i := range all[path].Imports {
			reach(all, i, seen)
		}
	}
	return seen
}

func TestForbiddenImports(t *testing.T) {
	all := packages(t)
	for path, p := range all {
		for _, i := range p.Imports {
			switch {
			case strings.HasPrefix(i, "github.com/nats-io/") && !within(path, "journal", "cluster", "directory", "object"):
				t.Errorf("%s imports %s: JetStream is an engine behind journal, cluster, directory and object; whoever else knows of it cannot be moved to another", path, i)
			case strings.HasPrefix(i, "github.com/cilium/ebpf") && !within(path, "cache/xdp"):
				t.Errorf("%s imports %s: only cache/xdp talks to the kernel, so that everything else runs where there is no eBPF", path, i)
			case within(i, "server") && !within(path, "cmd", "server"):
				t.Errorf("%s imports %s: server wires the parts up; a part that knows it could not be used alone", path, i)
			}
		}
	}
	for _, pure := range []string{"series", "bucket", "quantize", "store/page", "cuckoo"} {
		for path := range reach(all, module+"/"+pure, map[string]bool{}) {
			for _, i := range all[path].Imports {
				if i == "os" || i == "net" || strings.HasPrefix(i, "net/") {
					t.Errorf("%s, which %s needs, imports %s: alignment, tables and codecs are pure, so that they can be tested and fuzzed with bytes and times alone", path, pure, i)
				}
			}
		}
	}
	for path := range reach(all, module+"/query", map[string]bool{}) {
		if within(path, "receive") {
			t.Errorf("query depends on %s: what reads must not know how points come in", path)
		}
	}
}

func TestEveryPackageSaysWhatItIs(t *testing.T) {
	for path, p := range packages(t) {
		if len(p.GoFiles) == 0 {
			continue
		}
		longest := ""
		for _, name := range p.GoFiles {
			f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, name), nil, parser.PackageClauseOnly|parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			if text := f.Doc.Text(); len(text) > len(longest) {
				longest = text
			}
		}
		if !strings.HasPrefix(longest, "Package ") && !strings.HasPrefix(longest, "Command ") || len(longest) < 100 {
			t.Errorf("%s: the package comment must say what comes in, what goes out and who calls it; it says %q", path, longest)
		}
	}
}
