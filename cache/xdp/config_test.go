//go:build linux && (amd64 || arm64 || riscv64)

package xdp_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"carillon/cache/xdp"
)

func prefixes(t testing.TB, texts []string) (all []netip.Prefix) {
	t.Helper()
	for _, text := range texts {
		p, err := netip.ParsePrefix(text)
		check(t, err)
		all = append(all, p)
	}
	return all
}

func TestConfig(t *testing.T) {
	for _, c := range []struct {
		change func(*xdp.Config)
		want   string
	}{
		{func(c *xdp.Config) { c.Addresses = nil }, "no address"},
		{func(c *xdp.Config) { c.Addresses = []netip.Addr{netip.IPv4Unspecified()} }, `"0.0.0.0" is not an address of a host`},
		{func(c *xdp.Config) { c.Addresses = make([]netip.Addr, 40) }, "is not an address"},
		{func(c *xdp.Config) { c.Port = 0 }, "no port"},
		{func(c *xdp.Config) { c.Allow = []netip.Prefix{{}} }, "is not a prefix"},
		{func(c *xdp.Config) { c.Allow = make([]netip.Prefix, xdp.MaxPrefixes+1) }, "is not a prefix"},
		{func(c *xdp.Config) { c.Sample = 3 }, "sample is 3, not a power of two"},
	} {
		with := config()
		c.change(&with)
		if _, err := xdp.Load(nil, with); !errors.Is(err, xdp.ErrConfig) && !errors.Is(err, xdp.ErrUnsupported) ||
			!strings.Contains(err.Error(), c.want) && !errors.Is(err, xdp.ErrUnsupported) {
			t.Errorf("%v, not %q", err, c.want)
		}
	}
}

func TestNames(t *testing.T) {
	for _, m := range []xdp.Mode{xdp.Detect, xdp.Native, xdp.Generic} {
		if got, err := xdp.ParseMode(m.String()); err != nil || got != m {
			t.Errorf("%v: %v, %v", m, got, err)
		}
	}
	if _, err := xdp.ParseMode("offload"); !errors.Is(err, xdp.ErrConfig) {
		t.Error(err)
	}
	seen := map[string]bool{}
	for o := range xdp.Outcomes {
		if o.String() == "" || seen[o.String()] {
			t.Errorf("outcome %d is %q", o, o)
		}
		seen[o.String()] = true
	}
	c := xdp.Counters{xdp.Hit: 1, xdp.Miss: 2, xdp.PassSource: 4, xdp.PassBusy: 8}
	if c.Answered() != 3 || c.Passed() != 12 {
		t.Errorf("%d answered, %d passed", c.Answered(), c.Passed())
	}
}

func TestMissing(t *testing.T) {
	s := newCache(t, 2<<20)
	with := config()
	with.Interface = "no-such-device"
	if _, err := xdp.Load(s.region, with); !errors.Is(err, xdp.ErrConfig) || !strings.Contains(err.Error(), "no-such-device") {
		t.Error(err)
	}
	empty, err := xdp.NewRegion(1)
	check(t, err)
	if _, err := xdp.Load(empty, config()); !errors.Is(err, xdp.ErrConfig) || !strings.Contains(err.Error(), "holds no cache") {
		t.Error(err)
	}
	check(t, empty.Close())
	if _, err := xdp.NewRegion(0); !errors.Is(err, xdp.ErrConfig) {
		t.Error(err)
	}
}
