package measure

import (
	"errors"
	"testing"
)

// TestItems: a reply that differs anywhere from what was stored is noticed.
func TestItems(t *testing.T) {
	i := items{keyBytes: 45, valueBytes: 200, varied: true}
	const item = 1234
	good := i.reply(nil, item, 7)
	if got := string(i.key(nil, item)); len(got) != 45 || got[:12] != "key-00001234" {
		t.Errorf("key %q", got)
	}
	for _, reply := range [][]byte{good, i.reply(nil, item, 3), []byte("END\r\n")} {
		if err := i.check(reply); err != nil {
			t.Error(err)
		}
	}
	for at := range good {
		bad := append([]byte(nil), good...)
		bad[at] ^= 1
		if err := i.check(bad); !errors.Is(err, ErrWrongAnswer) && string(bad) != string(i.reply(nil, item, 6)) {
			t.Errorf("%q is right", bad)
		}
		if err := i.check(good[:at]); !errors.Is(err, ErrWrongAnswer) {
			t.Errorf("%q is right", good[:at])
		}
	}
	other := append(i.reply(nil, item+1, 0), "x"...)
	if err := i.check(other); !errors.Is(err, ErrWrongAnswer) {
		t.Errorf("%q is right", other)
	}
}

// TestLengths: 99 of 100 values are below the length given, and not many fewer.
func TestLengths(t *testing.T) {
	i := items{keyBytes: 20, valueBytes: 450, varied: true}
	const all = 100_000
	below, sum := 0, 0
	for n := range uint32(all) {
		length := i.length(n)
		if length < 1 || length > mostValue {
			t.Fatalf("a value of %d bytes", length)
		}
		if length <= i.valueBytes {
			below++
		}
		sum += length
	}
	if below < 98*all/100 || below > 995*all/1000 || sum/all < 80 || sum/all > 120 {
		t.Errorf("%d of %d are below, the mean is %d", below, all, sum/all)
	}
}

func TestMedian(t *testing.T) {
	if got := median([]float64{5, 1, 9}); got != 5 {
		t.Error(got)
	}
}
