package pebble

import (
	"bytes"
	"testing"

	"carillon/object"
	"carillon/object/conformance"
)

// FuzzRecord: what is decoded encodes to the same bytes.
func FuzzRecord(f *testing.F) {
	info := object.Info{Name: "a", Version: conformance.V(1), Size: 5, Sum: object.SumOf([]byte("hello"))}
	f.Add(recordKey("a", info.Version), appendRecord(nil, info, value{content: []byte("hello")}))
	f.Add(recordKey("b", conformance.V(2)), appendRecord(nil, object.Info{Deleted: true}, value{}))
	f.Fuzz(func(t *testing.T, key, b []byte) {
		name, version, err := parseRecordKey(key)
		if err != nil {
			return
		}
		if !bytes.Equal(recordKey(name, version), key) {
			t.Fatalf("key %x is of %q version %s, whose key is another", key, name, version)
		}
		found, content, err := parseRecord(name, version, b)
		if err != nil {
			return
		}
		if again := appendRecord(nil, found.Info(name), value{content: content, upload: found.Where}); !bytes.Equal(again, b) {
			t.Fatalf("%+v encodes differently", found)
		}
	})
}

func FuzzChunk(f *testing.F) {
	chunk := append(make([]byte, chunkHeader), "content"...)
	sealChunk(chunk)
	f.Add(chunk)
	f.Fuzz(func(t *testing.T, b []byte) {
		if content, ok := openChunk(b); ok && len(content) != len(b)-chunkHeader {
			t.Fatalf("%d bytes of a chunk of %d", len(content), len(b))
		}
	})
}
