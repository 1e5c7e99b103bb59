package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"carillon/object/conformance"
	"carillon/require"
)

const smallDisk = "size=24m"

// TestObjectDiskFull: the disk of one node of three fills up. It refuses, says why, and everything acknowledged is
// there, also when all its copies are wanted back after there is room again.
func TestObjectDiskFull(t *testing.T) {
	dir := t.TempDir()
	disk := filepath.Join(dir, "c")
	err := os.Mkdir(disk, 0o750)
	if err == nil {
		err = unix.Mount("tmpfs", disk, "tmpfs", 0, smallDisk)
	}
	require.Feature(t, "root", err == nil, fmt.Sprintf("a file system of 24 MB cannot be mounted: %v", err))
	t.Cleanup(func() { // before the folder is removed, after the nodes have ended
		if err := unix.Unmount(disk, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
			t.Error(err)
		}
	})
	nodes := objectCluster(t, dir)
	file := filepath.Join(dir, "file")
	const objects, objectBytes = 12, 3 << 20 // 36 MB in all
	for i := range objects {
		if err := os.WriteFile(file, conformance.Content(objectBytes, uint64(i)), 0o600); err != nil {
			t.Fatal(err)
		}
		objectShell(t, nodes, "put", fmt.Sprintf("full/%d", i), file)
	}
	read := func(from []*objectNode) {
		t.Helper()
		for i := range objects {
			out, err := objectVerb(from, "get", fmt.Sprintf("full/%d", i)).Output()
			if err != nil || string(out) != string(conformance.Content(objectBytes, uint64(i))) {
				t.Errorf("object %d: %d bytes, %v", i, len(out), err)
			}
		}
	}
	read(nodes)
	out, err := objectVerb(nodes, "verify").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "on c") {
		t.Errorf("nothing is missing on a full disk: %v\n%s", err, out)
	}
	if err := unix.Mount("tmpfs", disk, "tmpfs", unix.MS_REMOUNT, "size=200m"); err != nil {
		t.Fatal(err)
	}
	c := nodes[2]
	c.kill()
	c.start(t)
	objectShell(t, nodes, "scrub", "--deep", "--rate", "0")
	if out := objectShell(t, nodes, "verify"); !strings.Contains(out, "12 objects, 36 copies, 0 problems") {
		t.Error(out)
	}
	nodes[1].kill()
	read(nodes)
}
