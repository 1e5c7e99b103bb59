package pack

import (
	"io"
	"log/slog"
	"testing"
	"time"

	"carillon/object"
	"carillon/object/backend"
	"carillon/object/conformance"

	"github.com/cockroachdb/pebble/v2/vfs"
)

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func TestConformance(t *testing.T) {
	fresh := func(policy backend.Sync) func(*testing.T) conformance.Open {
		return func(*testing.T) conformance.Open {
			fs := vfs.NewMem()
			return func(t *testing.T) object.Store {
				s, err := Open(Config{Dir: "/objects", Keep: conformance.Keep, Sync: policy, SegmentBytes: 1 << 20, FS: fs, Logger: quiet()})
				if err != nil {
					t.Fatal(err)
				}
				return s
			}
		}
	}
	t.Run("always", func(t *testing.T) { conformance.Run(t, fresh(backend.SyncAlways)) })
	t.Run("interval", func(t *testing.T) { conformance.RunBrief(t, fresh(backend.Sync(time.Millisecond))) })
	t.Run("none", func(t *testing.T) { conformance.RunBrief(t, fresh(backend.SyncNone)) })
}

// openSmall has segments so small that every round of a history fills some, and compaction follows.
func openSmall(fs vfs.FS) (object.Store, error) {
	return Open(Config{Dir: "/objects", Keep: conformance.Keep, SegmentBytes: 4 << 10, CompactRate: 1 << 40, FS: fs, Logger: quiet()})
}

func TestCrash(t *testing.T) { conformance.Crash(t, openSmall, maxInline+1, 4) }

func TestFail(t *testing.T) { conformance.Fail(t, openSmall, 0, 1) }
