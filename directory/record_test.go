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

func FuzzKeyRecord(f *testing.F) {
	f.Add(appendKeyValue(nil, series.Counter, series.NewID(3, 77)))
	f.Add([]byte{recordVersion, 3, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		kind, id, err := decodeKeyValue(b)
		if err == nil && !bytes.Equal(appendKeyValue(nil, kind, id), b) {
			t.Errorf("%x is read as %s %d", b, kind, id)
		}
	})
}

func FuzzSeriesRecord(f *testing.F) {
	k, err := series.NewKey([]series.Label{{Name: "__name__", Value: "up"}, {Name: "job", Value: "a"}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(appendIDKey(nil, series.NewID(3, 77)), appendIDValue(nil, series.Event, k))
	f.Add([]byte{idSpace}, []byte{recordVersion, 0})
	f.Fuzz(func(t *testing.T, key, value []byte) {
		if id, err := decodeIDKey(key); err == nil && !bytes.Equal(appendIDKey(nil, id), key) {
			t.Errorf("%x is read as %d", key, id)
		}
		kind, k, labels, err := decodeIDValue(value)
		if err != nil {
			return
		}
		if !bytes.Equal(appendIDValue(nil, kind, k), value) || len(labels) == 0 {
			t.Errorf("%x is read as %s %s", value, kind, k.Format())
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
