package file

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
	return Open(Config{Dir: "/objects", Keep: conformance.Keep, Sync: policy, FS: fs, Logger: quiet()})
}

func TestConformance(t *testing.T) { conformance.RunOn(t, open) }

func TestCrash(t *testing.T) { conformance.Crash(t, open, headSize+1, 7) }

func TestFail(t *testing.T) { conformance.Fail(t, open, headSize+1, 7) }
