package newest

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"carillon/cache"
	"carillon/series"
)

func TestKeys(t *testing.T) {
	long := strings.Repeat("n", 300)
	for want, key := range map[string]series.Key{
		"cpu.idle.host13":                    keyOf("__name__", "cpu.idle.host13"),
		`up{host="a",job="node"}`:            keyOf("__name__", "up", "job", "node", "host", "a"),
		`up{path="/a\x20b\x09\"c\"\\"}`:      keyOf("__name__", "up", "path", "/a b\t\"c\"\\"),
		`up{"my\x20label"="Zürich"}`:         keyOf("__name__", "up", "my label", "Zürich"),
		`{a="b"}`:                            keyOf("a", "b"),
		`{"my\x20metric"}`:                   keyOf("__name__", "my metric"),
		`{"my\x20metric",a="b"}`:             keyOf("__name__", "my metric", "a", "b"),
		`{"up{a=\"b\"}"}`:                    keyOf("__name__", `up{a="b"}`),
		`{"directory:home"}`:                 keyOf("__name__", "directory:home"),
		strings.Repeat("n", 250):             keyOf("__name__", long[:250]),
		long[:217] + "#" + digest(long):      keyOf("__name__", long),
		`{"\x00\x7f\x0a"}`:                   keyOf("__name__", "\x00\x7f\n"),
		"host/disk:sda1,read#2%":             keyOf("__name__", "host/disk:sda1,read#2%"),
		`up{"0"="digit",_0="an_underscore"}`: keyOf("__name__", "up", "0", "digit", "_0", "an_underscore"),
	} {
		if got := string(AppendKey(nil, key)); got != want {
			t.Errorf("the key of %s is %s, want %s", key.Format(), got, want)
		}
	}
}

func digest(s string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(s)))[:hashDigits] }

// TestKeysAreSafeAndApart makes series of what could confuse, and wants keys that memcached takes,
// that PromQL reads as the series where they have labels, and that no two series share.
func TestKeysAreSafeAndApart(t *testing.T) {
	word := rapid.StringOfN(rapid.RuneFrom([]rune("ab{}\"\\=, \n\x7f#:é\u00a0\u2028")), 1, 8, -1)
	rapid.Check(t, func(t *rapid.T) {
		seen := make(map[string]series.Key)
		for range rapid.IntRange(1, 20).Draw(t, "series") {
			var set []series.Label
			if rapid.Bool().Draw(t, "named") {
				set = append(set, series.Label{Name: series.MetricName, Value: word.Draw(t, "name")})
			}
			for _, name := range rapid.SliceOfNDistinct(word, 0, 2, rapid.ID[string]).Draw(t, "labels") {
				set = append(set, series.Label{Name: name, Value: word.Draw(t, "value")})
			}
			key, err := series.NewKey(set)
			if err != nil {
				continue
			}
			text := string(AppendKey(nil, key))
			if other, ok := seen[text]; ok && other != key {
				t.Fatalf("%q and %q have the same key %s", key, other, text)
			}
			seen[text] = key
			if len(text) > cache.MaxKey || strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r == 0x7f }) || strings.HasPrefix(text, DirectoryPrefix) {
				t.Fatalf("memcached does not take %q", text)
			}
			if !strings.HasPrefix(text, "{") || len(text) == cache.MaxKey {
				continue
			}
			selector, err := ParseSelector(text)
			if err != nil || !selector.selects(key) {
				t.Fatalf("PromQL does not read %s as %q: %v", text, key, err)
			}
		}
	})
}
