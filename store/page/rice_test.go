package page

import (
	"encoding/hex"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestRiceFormat pins the bytes of a block of each kind.
func TestRiceFormat(t *testing.T) {
	for _, test := range []struct {
		name string
		plan rice
		xs   []int64
		want string
	}{
		// 0, -1, 2, 5 about 0 are 0, 1, 4, 10: unary 1, 1, 01, 001, low bits 00 01 00 10.
		{"around", rice{head: 2}, []int64{0, -1, 2, 5}, "02" + "00" + "4b" + "84"},
		// 9, 12, 8 above 8 are 1, 4, 0.
		{"above", rice{head: 2 | riceAbove, base: 8}, []int64{9, 12, 8}, "42" + "10" + "0d" + "01"},
		{"with a unit", rice{head: 4 | riceAbove, base: 1 << 10}, []int64{1<<10 + 17}, "44" + "8004" + "02" + "01"},
		{"with zeros", rice{head: 1 | riceZeros}, []int64{0, 0, 1, 0, 0, 0, 0, 0, -1, 0}, "81" + "00" + "0401" + "06" + "02"},
	} {
		xs := make([]uint64, len(test.xs))
		for i, x := range test.xs {
			xs[i] = uint64(x)
		}
		data := test.plan.append(nil, slices.Clone(xs))
		if got := hex.EncodeToString(data); got != test.want {
			t.Errorf("%s:\n got %s\nwant %s", test.name, got, test.want)
		}
		requireRice(t, data, xs)
	}
}

func requireRice(t rapid.TB, data []byte, want []uint64) {
	t.Helper()
	d := Decoder{cursor: cursor{data: data}}
	got := make([]uint64, len(want))
	d.column(got, true)
	if d.wrong != "" || d.at != len(data) || !slices.Equal(got, want) {
		t.Fatalf("%x: %q at %d of %d:\n got %v\nwant %v", data, d.wrong, d.at, len(data), got, want)
	}
}

// TestRiceComesBack: whatever the numbers, the plan says how long its codes become, and
// they come back.
func TestRiceComesBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 2*riceLength+9).Draw(t, "numbers")
		base := rapid.OneOf(rapid.Just(int64(0)), rapid.Int64()).Draw(t, "base")
		width := rapid.IntRange(0, 45).Draw(t, "bits")
		zeros := rapid.IntRange(0, 4).Draw(t, "zeros of four")
		state := rapid.Uint64().Draw(t, "seed")
		xs := make([]uint64, n)
		for i := range xs {
			state = state*6364136223846793005 + 1442695040888963407
			if int(state>>60&3) >= zeros {
				xs[i] = uint64(base) + state>>8&lowBits(width)
			}
		}
		var data []byte
		for _, block := range blocks(xs) {
			plan := planRice(block)
			before := len(data)
			if plan.bits > 8*riceUnary {
				return // as packed numbers it is shorter
			}
			data = plan.append(data, slices.Clone(block))
			if got := len(data) - before; got != plan.bytes(len(block)) && got != plan.bytes(len(block))+1 {
				t.Fatalf("%d bytes, planned %d", got, plan.bytes(len(block)))
			}
		}
		requireRice(t, data, xs)
	})
}

// TestColumnsAreTheShorterOfBoth: a column far from even is packed, one that scatters is in
// Rice codes, and one that is mostly zero says which numbers are.
func TestColumnsAreTheShorterOfBoth(t *testing.T) {
	scattered := func(i int) uint64 { // about 500, mostly close
		return uint64(int64(500 + 80*math.Tan(float64(i%97-48)/40)))
	}
	for _, test := range []struct {
		name   string
		number func(i int) uint64
		most   int // bytes of 256 numbers
		coded  bool
	}{
		{"even", func(i int) uint64 { return uint64(i*1009) % 1000 }, 330, false},
		{"scattered", scattered, 285, true},
		{"mostly zero", func(i int) uint64 { return scattered(i) * uint64(i%2) }, 180, true},
		{"one far off", func(i int) uint64 { return scattered(i) + uint64(i/255)<<60 }, 310, false},
	} {
		xs := make([]uint64, 256)
		for i := range xs {
			xs[i] = test.number(i)
		}
		var e Encoder
		data := e.appendNumbers([]byte{0}, 0, slices.Clone(xs))
		if inRice := data[0] == coded; inRice != test.coded || len(data) > test.most {
			t.Errorf("%s: %d bytes, in Rice codes: %t; want at most %d, %t", test.name, len(data), inRice, test.most, test.coded)
		}
		d := Decoder{cursor: cursor{data: data[1:]}}
		got := make([]uint64, len(xs))
		d.column(got, data[0] == coded)
		if d.wrong != "" || !slices.Equal(got, xs) {
			t.Errorf("%s: %q\n got %v\nwant %v", test.name, d.wrong, got, xs)
		}
	}
}
