package main

import "testing"

func TestSizeFlag(t *testing.T) {
	for _, c := range []struct {
		in, out string
		bytes   int64
	}{
		{"20GB", "20GB", 20e9}, {"500MiB", "500MiB", 500 << 20}, {"1.5 TiB", "1536GiB", 3 << 39}, {"64mb", "64MB", 64e6},
		{"0", "0", 0}, {"1", "1B", 1}, {"1001", "1001B", 1001},
	} {
		var s sizeFlag
		if err := s.Set(c.in); err != nil || int64(s) != c.bytes || s.String() != c.out {
			t.Errorf("%q: %d %s, %v", c.in, s, s.String(), err)
		}
	}
	for _, bad := range []string{"", "GB", "-1", "1e30", "20 cats", "NaN", "Inf", "1GBGB"} {
		if err := new(sizeFlag).Set(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}
