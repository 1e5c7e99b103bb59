package feed

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"carillon/directory/location"
)

// reseal gives a message another version and the checksum that goes with it.
func reseal(message []byte, version byte) []byte {
	m := append([]byte{version}, message[1:len(message)-checksumBytes]...)
	return binary.LittleEndian.AppendUint32(m, checksum(m))
}

// TestLayout keeps docs/format/directory-feed.md true.
func TestLayout(t *testing.T) {
	message, err := Encode(location.Change{Op: location.Delete, Time: 1000, Name: "alpha"})
	if err != nil {
		t.Fatal(err)
	}
	want := append([]byte{1}, `{"op":"delete","time":1000,"name":"alpha"}`...)
	if !bytes.Equal(message[:len(message)-checksumBytes], want) {
		t.Fatalf("message is %q", message)
	}
	if got := hex.EncodeToString(message[len(message)-checksumBytes:]); got != "5928c3d2" {
		t.Fatalf("checksum is %s", got)
	}
}

func TestDecodeRefuses(t *testing.T) {
	message, err := Encode(createOf("alpha", 7))
	if err != nil {
		t.Fatal(err)
	}
	for i := range message {
		bad := bytes.Clone(message)
		bad[i] ^= 0x10
		if _, err := Decode(bad); !errors.Is(err, errDamaged) {
			t.Fatalf("byte %d turned: Decode = %v", i, err)
		}
		if _, err := Decode(message[:i]); !errors.Is(err, errDamaged) {
			t.Fatalf("cut to %d bytes: Decode = %v", i, err)
		}
	}
	if _, err := Decode(reseal(message, 2)); !errors.Is(err, ErrVersion) {
		t.Fatalf("version 2: Decode = %v", err)
	}
	if _, err := Decode(make([]byte, maxMessageBytes+1)); !errors.Is(err, errDamaged) {
		t.Fatalf("too long: Decode = %v", err)
	}
	long := createOf(strings.Repeat("x", maxMessageBytes), 0)
	if _, err := Encode(long); !errors.Is(err, location.ErrBadChange) {
		t.Fatalf("too long: Encode = %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	for _, c := range []location.Change{{}, createOf("alpha", 7), {Op: location.NewID, Count: 3},
		{Op: location.Update, Name: "a", Patch: location.Patch{AddSites: []location.Site{{Server: "s1", Partition: 2}}}}} {
		message, err := Encode(c)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(message[1 : len(message)-checksumBytes])
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		_, _ = Decode(body)
		m := append([]byte{messageVersion}, body...)
		c, err := Decode(binary.LittleEndian.AppendUint32(m, checksum(m)))
		if err != nil {
			return
		}
		again, err := Encode(c)
		if err != nil {
			return // it grew by being written in full
		}
		if back, err := Decode(again); err != nil || !cmp.Equal(c, back, cmpopts.EquateEmpty()) {
			t.Fatalf("%+v came back as %+v, %v", c, back, err)
		}
	})
}
