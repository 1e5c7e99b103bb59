package object

import (
	"errors"
	"strings"
	"testing"
)

func TestCheckName(t *testing.T) {
	for _, good := range []string{"a", "a/b/c", "/", "...", "a..b", "ünïcode", strings.Repeat("x", MaxName)} {
		if err := CheckName(good); err != nil {
			t.Error(err)
		}
	}
	for _, bad := range []string{"", "..", "../a", "a/..", "a/../b", "a\x00", "\xff", strings.Repeat("x", MaxName+1)} {
		if err := CheckName(bad); !errors.Is(err, ErrName) {
			t.Errorf("%.20q: got %v", bad, err)
		}
	}
}

func TestVersionText(t *testing.T) {
	for _, v := range []Version{{}, {Hi: 1}, {Lo: 1}, {Hi: 1 << 63, Lo: 1<<64 - 1}} {
		if got, err := ParseVersion(v.String()); err != nil || got != v {
			t.Errorf("%s: got %s, %v", v, got, err)
		}
		if VersionOf(v.Bytes()) != v {
			t.Errorf("%s decodes differently", v)
		}
	}
	for _, bad := range []string{"", "12", strings.Repeat("g", 32), strings.Repeat("0", 33)} {
		if _, err := ParseVersion(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
		if _, err := ParseSum(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

func TestVersionOrder(t *testing.T) {
	ordered := []Version{{}, {Lo: 1}, {Lo: 1 << 63}, {Hi: 1}, {Hi: 1, Lo: 5}, {Hi: 1 << 63}}
	for i, a := range ordered {
		for j, b := range ordered {
			if got := a.Compare(b); got < 0 != (i < j) || got > 0 != (i > j) || strings.Compare(a.String(), b.String()) != got {
				t.Errorf("%s against %s: %d", a, b, got)
			}
		}
	}
}

func TestCondition(t *testing.T) {
	live, gone := Info{Version: Version{Hi: 5}}, Info{Version: Version{Hi: 5}, Deleted: true}
	for _, c := range []struct {
		condition Condition
		newest    Info
		met       bool
	}{
		{Condition{}, live, true}, {Condition{}, Info{}, true},
		{IfAbsent(), Info{}, true}, {IfAbsent(), gone, true}, {IfAbsent(), live, false},
		{IfNewest(Version{Hi: 5}), live, true}, {IfNewest(Version{Hi: 5}), gone, true},
		{IfNewest(Version{Hi: 4}), live, false}, {IfNewest(Version{Hi: 4}), Info{}, false},
	} {
		if err := c.condition.Check(c.newest); (err == nil) != c.met || err != nil && !errors.Is(err, ErrConflict) {
			t.Errorf("%+v of %+v: %v", c.condition, c.newest, err)
		}
	}
}

// TestSum: the checksum is the published BLAKE3, all at once or piece by piece.
func TestSum(t *testing.T) {
	const empty = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
	s := NewSummer()
	if SumOf(nil).String() != empty || s.Sum().String() != empty {
		t.Errorf("of nothing: %s, %s", SumOf(nil), s.Sum())
	}
	_, _ = s.Write([]byte("ab"))
	_, _ = s.Write([]byte("c"))
	if s.Sum() != SumOf([]byte("abc")) {
		t.Error("pieces have another checksum")
	}
}
