package location

import (
	"bytes"
	"math"
	"testing"

	"pgregory.net/rapid"
)

func drawText(t *rapid.T, what string, least int) text {
	return newText(rapid.StringOfN(rapid.RuneFrom([]rune("abcXYZ019._-")), least, MaxName, MaxName).Draw(t, what))
}

var anyNumber = rapid.OneOf(rapid.Just(uint64(0)), rapid.Uint64(), rapid.Just(uint64(math.MaxUint64)))

func drawRecord(t *rapid.T) *record {
	r := &record{
		name:      drawText(t, "name", 1),
		version:   anyNumber.Draw(t, "version"),
		modified:  int64(anyNumber.Draw(t, "modified") >> 1),
		flags:     uint32(anyNumber.Draw(t, "flags")),
		siteCount: uint8(rapid.IntRange(0, MaxSites).Draw(t, "sites")),
	}
	for kind := range r.ids {
		r.ids[kind] = anyNumber.Draw(t, "id")
	}
	if rapid.Bool().Draw(t, "locked") {
		r.owner = drawText(t, "owner", 1)
		r.lockKind = rapid.Uint8().Draw(t, "kind")
		r.expires = int64(anyNumber.Draw(t, "expires") >> 1)
	}
	for i := range r.places() {
		r.sites[i] = place{uint32(anyNumber.Draw(t, "server")), uint32(anyNumber.Draw(t, "partition")), uint32(anyNumber.Draw(t, "site flags"))}
	}
	return r
}

func TestRecordsRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := drawRecord(t)
		key := nameKey(nil, want.name.view())
		value := appendEntry(nil, key, want)
		var got record
		if err := decodeEntry(key, value, &got); err != nil || got != *want {
			t.Fatalf("%v: got %+v, want %+v", err, got, *want)
		}
		bit := rapid.IntRange(0, 8*len(value)-1).Draw(t, "bit")
		value[bit/8] ^= 1 << (bit % 8)
		if err := decodeEntry(key, value, &got); err == nil {
			t.Fatalf("bit %d flipped, and nobody noticed", bit)
		}
	})
}

func TestSlotsRoundTrip(t *testing.T) {
	slot := make([]uint64, largeWords) // with what the record before left in it
	rapid.Check(t, func(t *rapid.T) {
		want := drawRecord(t)
		write(slot, want)
		name := want.name.String()
		var (
			words [largeWords]uint64
			got   record
		)
		if !read(slot, query{name: name}, &words) {
			t.Fatal("not the name that was written")
		}
		if unpack(&words, &got); got != *want {
			t.Fatalf("got %+v, want %+v", got, *want)
		}
		other := drawText(t, "other", 1)
		if ok := read(slot, query{name: other.String()}, &words); ok != (other == want.name) {
			t.Fatalf("%s is taken for %s", &other, name)
		}
	})
}

func TestValuesRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rw := rapid.OneOf(anyNumber, rapid.Uint64Range(0, 1<<33)).Draw(t, "rw")
		near := rapid.Custom(func(t *rapid.T) uint64 { return rw + rapid.Uint64Range(0, 3).Draw(t, "above") })
		ids := [idKinds]uint64{rw}
		for kind := range ids[1:] {
			ids[1+kind] = rapid.OneOf(rapid.Just(uint64(0)), near, anyNumber).Draw(t, "id")
		}
		number := rapid.Uint32Range(0, 1<<numberBits-1).Draw(t, "number")
		large := rapid.Bool().Draw(t, "large")
		v := newValue(number, large, ids)
		if v.number() != number || (v&isLarge != 0) != large || v&isStale != 0 {
			t.Fatalf("slot %d, large %v became %#x", number, large, v)
		}
		if got := v.ids(); v.answers() && got != idsOf(ids) || (v | isStale).answers() || (v|isStale).number() != number {
			t.Fatalf("ids %v became %v", ids, got)
		}
	})
	if !newValue(1, false, [idKinds]uint64{7, 8, 9}).answers() {
		t.Fatal("ids in a row are not in the value")
	}
}

func FuzzDecodeEntry(f *testing.F) {
	seeds := []*record{
		{name: newText("a")},
		{name: newText("root.cell"), ids: [idKinds]uint64{1, 1 << 40, 3}, version: 9, modified: 1 << 40, flags: 7,
			owner: newText("me"), lockKind: 1, expires: 5, siteCount: 2, sites: [MaxSites]place{{1, 2, 3}, {4, 5, 6}}},
	}
	for _, r := range seeds {
		key := nameKey(nil, r.name.view())
		value := appendEntry(nil, key, r)
		f.Add(r.name.view(), value[:len(value)-4])
	}
	f.Fuzz(func(t *testing.T, name, body []byte) {
		key := nameKey(nil, name)
		value := seal(bytes.Clone(body), 0, key) // fuzzing would not find the checksum
		var r, again record
		if err := decodeEntry(key, value, &r); err != nil {
			return
		}
		if err := decodeEntry(key, appendEntry(nil, key, &r), &again); err != nil || again != r {
			t.Fatalf("%v: %+v became %+v", err, r, again)
		}
		_ = decodeEntry(key, body, &r)
	})
}

func FuzzDecodeRest(f *testing.F) {
	f.Add(appendFormat(nil))
	f.Add(appendState(nil, state{1, 2, 3}))
	f.Add(appendServer(nil, []byte{serverSpace}, server{"s", true}))
	f.Add(appendID(nil, []byte{idSpace}, 1, []byte("a")))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := decodeState(b); err == nil && !bytes.Equal(appendState(nil, s), b) {
			t.Fatalf("state %+v is not canonical", s)
		}
		sealed := seal(bytes.Clone(b), 0, []byte{serverSpace})
		if s, err := decodeServer([]byte{serverSpace}, sealed); err == nil && !bytes.Equal(appendServer(nil, []byte{serverSpace}, s), sealed) {
			t.Fatalf("server %+v is not canonical", s)
		}
		sealed = seal(bytes.Clone(b), 0, []byte{idSpace})
		if kind, name, err := decodeID([]byte{idSpace}, sealed); err == nil && !bytes.Equal(appendID(nil, []byte{idSpace}, kind, name), sealed) {
			t.Fatalf("id of %q is not canonical", name)
		}
		_ = decodeFormat(b)
	})
}
