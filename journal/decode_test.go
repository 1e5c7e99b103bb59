package journal

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// seal is a message with a right checksum around anything.
func seal(table string, body string) []byte {
	m := append([]byte(magic), "timetime"...)
	return appendTrailer(append(append(m, table...), body...))
}

// A right checksum proves nothing about the content; errors say what and where.
func TestErrorsSayWhere(t *testing.T) {
	otherVersion := seal("\x00\x00", "")
	otherVersion[3] = 9
	for _, test := range []struct {
		name string
		data []byte
		want string
	}{
		{"empty", nil, "0 bytes, shorter than a header"},
		{"magic", []byte("not a message at all"), "magic is 6e6f74"},
		{"version", otherVersion, "format version 9, but only version 2 is known"},
		{"table", seal("\x02\x00", "12345678901"), "a table of 2 partitions in 29 bytes"},
		{"order", seal("\x02\x00\x03\x00\x00\x00\x00\x00\x03\x00\x00\x00\x00\x00", ""), "partition 3 stands behind partition 3"},
		{"region", seal("\x01\x00\x03\x00\x04\x00\x00\x00", "abc"), "4 bytes of partition 3, 3 are left"},
		{"rest", seal("\x01\x00\x03\x00\x02\x00\x00\x00", "abc"), "1 bytes are of no partition"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, _, err := decode(test.data, 3)
			if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("got %v, want %q", err, test.want)
			}
		})
	}
	for _, test := range []struct {
		name, parts string
		want        string
	}{
		{"no flags", "\x00", "part 0: flags at byte 1"},
		{"unknown flag", "\x21", "part 0: flags at byte 1"},
		{"short hash", "\x01abc", "request hash at byte 1: wants 16 bytes, 3 are left"},
		{"no definitions", "\x02\x00", "definitions at byte 2: 0 entries"},
		{"too many definitions", "\x02\x09\x00\x01k", "9 entries in 3 bytes"},
		{"unknown kind", "\x02\x01\x03\x01k", "definition's kind at byte 3"},
		{"long key", "\x02\x01\x01\x7fk", "definition's key at byte 4: wants 127 bytes, 1 are left"},
		{"long keys", "\x02\x02\x01\x02\x01\x01kk", "definitions' keys at byte 6: wants 3 bytes, 2 are left"},
		{"endless number", "\x02" + strings.Repeat("\xff", 12), "definitions at byte 1: number is cut off or has more than 64 bits"},
		{"form of refs", "\x08\x01\x40\x00\x00", "refs at byte 2: form 64 is not known"},
		{"form of times", "\x08\x01\x80\x00\x08\x00", "times at byte 4: form 8 is not known"},
		{"cut refs", "\x08\x04\x20\x00\x00\x00", "refs at byte 4: wants 16 bytes, 2 are left"},
		{"dangling ref", "\x08\x01\x80\x80\x80\x80\x80\x20\x81\x00\x01\x00", "refs at byte 2: refer to a series that cannot be"},
		{"long run", "\x08\x01\x80\x00\x81\x00\x02\x00\x00", "times at byte 5: run"},
		{"empty run", "\x08\x01\x80\x00\x81\x00\x00\x00\x00", "times at byte 5: run"},
		{"endless run", "\x08\x01\x80\x00\x81\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x00", "times at byte 5: run"},
		{"cut value", "\x08\x01\x80\x00\x80\x00\x0f1234567", "values at byte 7: the last want more than the 7 bytes"},
		{"cut values", "\x08\x04\x80\x00\x00\x00\x00\x80\x00\x00\x00\x00\x66\x6612345678", "values at byte 20: the last want more than the 2 bytes"},
		{"items", "\x08\xff\xff\x7f" + strings.Repeat("\x00", 1<<20), "more than 65536 items"},
		{"second part", "\x01" + strings.Repeat("h", 16) + "\x80", "part 1: flags at byte 18"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := decodeParts([]byte(test.parts))
			if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("got %v, want %q", err, test.want)
			}
		})
	}
}

// FuzzDecode takes any parts, so that the checksum does not keep the fuzzer out.
func FuzzDecode(f *testing.F) {
	for _, p := range []*Part{example(), gauges(50), fleet(40), {Request: Hash{1}}} {
		f.Add(appendPart(nil, p))
		f.Add(encode(f, time.UnixMilli(1), []*Part{p, p}))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, err := openMessage(data); err == nil && len(data) < headerBytes+trailerBytes {
			t.Fatal("too short to be a message")
		}
		parts, err := decodeParts(data)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Fatal(err)
			}
			return
		}
		var again []byte
		for i := range parts {
			again = appendPart(again, &parts[i])
		}
		got, err := decodeParts(again)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(parts, got, exactly); diff != "" {
			t.Fatalf("decoded, encoded and decoded again: want -, got +\n%s", diff)
		}
	})
}
