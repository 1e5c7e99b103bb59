package pack

import (
	"io"
	"log/slog"
	"testing"

	"carillon/object"
	"carillon/object/backend"
	"carillon/object/conformance"

	"github.com/cockroachdb/pebble/v2/vfs"
)

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func open(fs vfs.FS, policy backend.Sync) (object.Store, error) {
	return Open(Config{Dir: "/objects", Keep: conformance.Keep, Sync: policy, SegmentBytes: 1 << 20, FS: fs, Logger: quiet()})
}

func TestConformance(t *testing.T) { conformance.RunOn(t, open) }

// TestOnDisk is for what memory has not, such as writes past the page cache.
func TestOnDisk(t *testing.T) {
	conformance.RunBrief(t, func(t *testing.T) conformance.Open {
		dir := t.TempDir()
		return func(t *testing.T) object.Store {
			s, err := Open(Config{Dir: dir, Keep: conformance.Keep, SegmentBytes: 1 << 20, Logger: quiet()})
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
	})
}

// openSmall has segments so small that every round of a history fills some, and compaction follows.
func openSmall(fs vfs.FS, policy backend.Sync) (object.Store, error) {
	return Open(Config{Dir: "/objects", Keep: conformance.Keep, Sync: policy, SegmentBytes: minSegmentBytes, CompactRate: 1 << 40, FS: fs, Logger: quiet()})
}

func TestCrash(t *testing.T) { conformance.Crash(t, openSmall, maxInline+1, 4) }

func TestFail(t *testing.T) { conformance.Fail(t, openSmall, 0, 1) }
