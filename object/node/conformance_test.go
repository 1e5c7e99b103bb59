package node

import (
	"testing"

	"carillon/object"
	"carillon/object/conformance"
)

// TestConformance runs what every backend must do through a client and a server.
func TestConformance(t *testing.T) {
	conformance.Run(t, func(t *testing.T) conformance.Open {
		dir := t.TempDir()
		return func(t *testing.T) object.Store {
			p := startPlaces(t, options{dir: dir}, "a")[0]
			return &overHTTP{p.client(t, Dial{}), p}
		}
	})
}
