package directory

import (
	"bytes"
	"testing"

	"carillon/series"
)

// Each target checks that a decoder never panics, and that what it accepts is
// what the encoder writes.

func FuzzFormat(f *testing.F) {
	f.Add(appendFormat(nil, 8))
	f.Add([]byte(formatMagic))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		partitions, err := decodeFormat(b)
		if err == nil && !bytes.Equal(appendFormat(nil, partitions), b) {
			t.Errorf("%x is read as %d partitions, which is written as %x", b, partitions, appendFormat(nil, partitions))
		}
	})
}

func FuzzKindRecord(f *testing.F) {
	f.Add(appendID(nil, kindSpace, series.NewID(3, 77)), appendKindValue(nil, series.Counter))
	f.Add([]byte{kindSpace}, []byte{recordVersion, 3})
	f.Fuzz(func(t *testing.T, key, value []byte) {
		if id, err := decodeID(key, kindSpace); err == nil && !bytes.Equal(appendID(nil, kindSpace, id), key) {
			t.Errorf("%x is read as %d", key, id)
		}
		if kind, err := decodeKind(value); err == nil && !bytes.Equal(appendKindValue(nil, kind), value) {
			t.Errorf("%x is read as %s", value, kind)
		}
	})
}

func FuzzFamilyRecord(f *testing.F) {
	m := series.Metadata{Family: "f", Type: "gauge", Help: "h", Unit: ""}
	f.Add(appendFamilyKey(nil, m.Family), appendFamilyValue(nil, m))
	f.Add([]byte{familySpace, 'f'}, []byte{recordVersion, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, key, value []byte) {
		m, err := decodeFamily(key, value)
		if err != nil {
			return
		}
		// A length may be written in more than one way, so compare what is read.
		again, err := decodeFamily(appendFamilyKey(nil, m.Family), appendFamilyValue(nil, m))
		if err != nil || again != m {
			t.Errorf("%+v is read back as %+v, %v", m, again, err)
		}
	})
}
