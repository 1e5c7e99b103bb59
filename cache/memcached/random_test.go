package memcached

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"carillon/cache"
)

// TestPeerRandom sends the same random requests, good and bad, to memcached and to us.
func TestPeerRandom(t *testing.T) {
	peer, _ := startPeer(t)
	ours := start(t, newCache(t, 64<<20, cache.Config{}), Config{}).TCPAddr().String()
	for _, address := range []string{peer, ours} {
		ask(t, address, "set first 0 0 0\r\n\r\n") // and nothing else has the CAS unique 1
	}
	rapid.Check(t, func(rt *rapid.T) {
		script := "flush_all\r\n" + strings.Join(rapid.SliceOfN(anyRequest, 1, 40).Draw(rt, "requests"), "") +
			strings.Repeat("mn\r\n", 60) // the end of a data block that may be missing: memcached loses replies if it is cut
		want, got := readable(ask(t, peer, script)), readable(ask(t, ours, script))
		if want != got {
			rt.Fatalf("%q\nmemcached %s\ncarillon %s", script, want, got)
		}
	})
}

var (
	someKey    = rapid.SampledFrom([]string{"a", "b", "c", "YWJj", strings.Repeat("k", 250), strings.Repeat("k", 251)})
	shortKey   = someKey.Filter(func(key string) bool { return len(key) <= cache.MaxKey })
	someNumber = rapid.SampledFrom([]string{"0", "1", "5", "100", "18446744073709551615", "-1", "x", "1x", "+3", ""})
	someExpiry = rapid.SampledFrom([]string{"0", "100", "-1", "x", "1x", "+300", ""}) // none that may pass while the test runs
	someValue  = rapid.SampledFrom([]string{"", "1", "abc", "18446744073709551615", "7 ", " 8", "ab\r\ncd", "get a", strings.Repeat("v", 2000)})
	someEnd    = rapid.SampledFrom([]string{"", "", "", " noreply", " 0", " z", "  "})
)

// getFlags and the others are the flags of meta commands, good and bad. CAS uniques are
// those of no item, for the two do not count alike over many runs; so is what docs/cache.md says is different.
var (
	getFlags   = rapid.SliceOfN(rapid.SampledFrom([]string{"v", "k", "s", "f", "t", "q", "Oab", "N0", "N100", "T0", "T100", "R30", "b", "u", "zz", "Tx", "v"}), 0, 5).Filter(madeWithText)
	setFlags   = rapid.SliceOfN(rapid.SampledFrom([]string{"k", "q", "Oab", "T0", "T100", "F5", "Fx", "MA", "MP", "ME", "MR", "MS", "MX", "M", "C1", "C999999999999", "I", "b", "C0"}), 0, 4)
	dropFlags  = rapid.SliceOfN(rapid.SampledFrom([]string{"k", "q", "Oab", "T100", "I", "C1", "C999999999999", "b", "zz"}), 0, 4)
	countFlags = rapid.SliceOfN(rapid.SampledFrom([]string{"k", "v", "Oab", "t", "D5", "Dx", "J7", "MD", "M+", "MX", "N0", "N100", "T100"}), 0, 4)
)

// madeWithText leaves out what makes an item with a key in base64, which memcached forgets.
func madeWithText(flags []string) bool {
	return !slices.Contains(flags, "b") || !slices.ContainsFunc(flags, func(f string) bool { return f[0] == 'N' })
}

var anyRequest = rapid.Custom(func(t *rapid.T) string {
	key, end := someKey.Draw(t, "key"), someEnd.Draw(t, "end")
	number := func() string { return someNumber.Draw(t, "number") }
	expiry := func() string { return someExpiry.Draw(t, "expiry") }
	small := func() string {
		return someNumber.Filter(func(n string) bool { return len(n) < 10 }).Draw(t, "number")
	}
	flags := func(of *rapid.Generator[[]string]) string {
		return strings.Join(append([]string{""}, of.Draw(t, "flags")...), " ")
	}
	value := func(line string, args ...any) string {
		v := someValue.Draw(t, "value")
		return fmt.Sprintf(line, append([]any{key, len(v)}, args...)...) + v + "\r\n"
	}
	switch rapid.IntRange(0, 12).Draw(t, "command") {
	case 0:
		return "get " + shortKey.Draw(t, "first") + " " + shortKey.Draw(t, "second") + end + "\r\n"
	case 1:
		return "gat " + expiry() + " " + shortKey.Draw(t, "key") + "\r\n"
	case 2, 3:
		command := rapid.SampledFrom([]string{"set", "add", "replace", "append", "prepend"}).Draw(t, "name")
		return value(command+" %s 5 0 %d"+"%s\r\n", end)
	case 4:
		return fmt.Sprintf("set %s %s %s %s%s\r\n", key, small(), expiry(), small(), end)
	case 5:
		return value("cas %s 0 0 %d 1%s\r\n", end)
	case 6:
		return "delete " + key + end + "\r\n"
	case 7:
		return rapid.SampledFrom([]string{"incr ", "decr "}).Draw(t, "name") + key + " " + number() + end + "\r\n"
	case 8:
		return "touch " + key + " " + expiry() + end + "\r\n"
	case 9:
		return "mg " + key + flags(getFlags) + "\r\n"
	case 10:
		return value("ms %s %d%s\r\n", flags(setFlags))
	case 11:
		return "md " + key + flags(dropFlags) + "\r\n"
	default:
		return "ma " + key + flags(countFlags) + "\r\n"
	}
})
