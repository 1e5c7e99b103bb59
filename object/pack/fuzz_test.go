package pack

import (
	"bytes"
	"testing"

	"carillon/object"
	"carillon/object/catalog"
	"carillon/object/conformance"

	"github.com/cockroachdb/pebble/v2/vfs"
)

func exampleSegment() []byte {
	b := segmentHeader{number: 3, salt: 99}.append(nil)
	for i, content := range []string{"", "hello", "a longer content"} {
		r := record{info: object.Info{Name: damageName(i), Version: conformance.V(1), Size: int64(len(content)), Sum: object.SumOf([]byte(content))}}
		r.offset, r.group, r.synced = int64(len(b)), uint64(i+1), int64(len(b))
		b = r.append(b, 99, []byte(content))
	}
	return b
}

// FuzzScan: whatever a segment's bytes are, records lie in it and do not overlap.
func FuzzScan(f *testing.F) {
	f.Add(exampleSegment())
	f.Add(append(exampleSegment(), make([]byte, 300)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		header, err := parseSegmentHeader(b)
		if err != nil {
			header.salt = 99
		}
		found, err := scan(vfs.NewMemFile(b), header.salt, min(segmentHeaderSize, int64(len(b))), int64(len(b)))
		if err != nil {
			t.Fatal(err)
		}
		end := int64(0)
		for _, r := range found.records {
			if r.offset < end || r.offset+r.size() > int64(len(b)) {
				t.Fatalf("record of %d bytes at %d, the one before ends at %d", r.size(), r.offset, end)
			}
			end = min(r.offset+r.size()+r.padding, int64(len(b)))
		}
		if end > 0 && end != found.end {
			t.Fatalf("the last record ends at %d, not at %d", end, found.end)
		}
	})
}

// FuzzRecord: what is decoded encodes to the same bytes.
func FuzzRecord(f *testing.F) {
	f.Add(exampleSegment()[segmentHeaderSize:])
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := parseRecord(b, 99, segmentHeaderSize)
		if err != nil {
			return
		}
		again := r.append(nil, 99, nil)
		n := recordHeaderSize + len(r.info.Name)
		if !bytes.Equal(again[:n], b[:n]) {
			t.Fatalf("%+v encodes differently", r)
		}
	})
}

func FuzzCheckpoint(f *testing.F) {
	c := catalog.New[place](3)
	c.Add("a", entry{Version: conformance.V(1), Size: 5, Where: place{segment: 1, offset: 64}})
	c.Add("b", entry{Version: conformance.V(2), Deleted: true, Where: place{segment: 1, offset: 200}})
	fs := vfs.NewMem()
	s := Store{fs: fs}
	if _, err := s.writeSnapshot("c", snapshot{catalog: c, from: position{2, 77}}); err != nil {
		f.Fatal(err)
	}
	b, err := fs.UnsafeGetFileDataBuffer("c")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		into := catalog.New[place](3)
		if _, size, err := decodeCheckpoint(bytes.NewReader(b), into); err == nil && size > int64(len(b)) {
			t.Fatalf("%d bytes read of %d", size, len(b))
		}
	})
}
