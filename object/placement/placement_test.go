package placement

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func transformations(t testing.TB, list string) []Transformation {
	t.Helper()
	all, err := ParseTransformations(list)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func mapOf(t testing.TB, list string, nodes ...Node) *Map {
	t.Helper()
	m, err := NewMap(transformations(t, list), nodes)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func equal(names ...string) []Node {
	var nodes []Node
	for _, n := range names {
		nodes = append(nodes, Node{Name: n, Weight: 1})
	}
	return nodes
}

// TestTransformations compares with the published test vectors of "abc"; the HMAC is
// what openssl computes.
func TestTransformations(t *testing.T) {
	for name, want := range map[string]string{
		"sha256":   "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
		"sha512":   "53048e2681941ef99b2e29b76b4c7dabe4c2d0c634fc6d46e0e2f13107e7af23",
		"blake3":   "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85",
		"sha256+k": "342e519ce0ad6c03a36b98eeb3f1d130db4813b9df4d1160eda488d712dc78ee",
		"blake3+2": "",
	} {
		tr, err := ParseTransformation(name)
		if err != nil {
			t.Fatal(err)
		}
		id := tr.Name("abc")
		if want != "" && id.String() != want {
			t.Errorf("%s of abc is %v, want %s", name, id, want)
		}
		if of, err := tr.Content(strings.NewReader("abc")); err != nil || of != id {
			t.Errorf("%s of the content abc is %v, %v", name, of, err)
		}
		if called, err := tr.ContentName(strings.NewReader("abc")); err != nil || called != name+"/"+id.String() {
			t.Errorf("%s calls the content abc %s, %v", name, called, err)
		}
	}
	ids := make(map[ID]bool)
	for _, tr := range transformations(t, "sha256, sha256+a, sha256+b, sha512, sha512+a, blake3, blake3+a") {
		ids[tr.Name("abc")] = true
	}
	if len(ids) != 7 {
		t.Errorf("7 transformations give %d ids", len(ids))
	}
}

func TestBadConfiguration(t *testing.T) {
	for _, list := range []string{"", "md5", "sha256,sha256", "sha256+", "sha256+a b", "sha256+" + strings.Repeat("x", MaxSalt+1)} {
		if _, err := ParseTransformations(list); !errors.Is(err, ErrConfig) {
			t.Errorf("%q: %v", list, err)
		}
	}
	ts := transformations(t, "sha256")
	for _, nodes := range [][]Node{
		nil, equal("a", "a"), equal(""), {{Name: "a"}}, {{Name: "a", Weight: -1}},
		{{Name: "a", Weight: math.NaN()}}, {{Name: "a", Weight: math.Inf(1)}}, make([]Node, MaxNodes+1),
	} {
		if _, err := NewMap(ts, nodes); !errors.Is(err, ErrConfig) {
			t.Errorf("%d nodes: %v", len(nodes), err)
		}
	}
	if _, err := NewMap(nil, equal("a")); !errors.Is(err, ErrConfig) {
		t.Errorf("no transformations: %v", err)
	}
}

// TestPlacesArePinned: another result means that everything stored moves.
func TestPlacesArePinned(t *testing.T) {
	m := mapOf(t, "sha256,blake3", equal("a", "b", "c", "d")...)
	var got []string
	for i := range 6 {
		got = append(got, strings.Join(m.Place(fmt.Sprint("object ", i)), ""))
	}
	if want := "cb cd ad bd dc da"; strings.Join(got, " ") != want {
		t.Errorf("got %s, want %s", strings.Join(got, " "), want)
	}
}

// TestJoinMovesTheIdeal is the figure object.moved_ratio.
func TestJoinMovesTheIdeal(t *testing.T) {
	for _, list := range []string{"sha256", "sha256,blake3", "sha256,sha512,blake3"} {
		plan := NewPlan(mapOf(t, list, equal("a", "b", "c")...), mapOf(t, list, equal("a", "b", "c", "d")...))
		for i := range 20_000 {
			plan.Add(fmt.Sprint("object ", i), 10_000)
		}
		got := plan.Totals()
		ratio := float64(got.Moved) / got.Ideal
		t.Logf("%s: %d bytes move, ideal are %.0f: %.3f", list, got.Moved, got.Ideal, ratio)
		if ratio > 1.05 || ratio < 0.95 {
			t.Errorf("%s: %.3f times the ideal moves", list, ratio)
		}
		if in, out := plan.Node("d"); in != got.Moved || out != 0 {
			t.Errorf("%s: %d bytes come to the node that joins and %d leave it, of %d", list, in, out, got.Moved)
		}
	}
}

func TestSharesAreKept(t *testing.T) {
	const objects = 20_000
	for _, c := range []struct {
		list  string
		nodes []Node
		exact bool // weights are kept exactly where no node is capped
	}{
		{"sha256", []Node{{"a", "", 1}, {"b", "", 2}, {"c", "", 5}}, true},
		{"sha256,blake3", equal("a", "b", "c", "d", "e"), true},
		{"sha256,blake3,sha512", []Node{{"a", "x", 1}, {"b", "x", 1}, {"c", "y", 1}, {"d", "y", 3}, {"e", "z", 1}}, true},
		{"sha256,blake3", []Node{{"a", "x", 1}, {"b", "x", 1}, {"c", "y", 1}, {"d", "y", 3}}, true},
		{"sha256,blake3,sha512", []Node{{"a", "x", 1}, {"b", "x", 1}, {"c", "y", 1}}, true},
	} {
		m := mapOf(t, c.list, c.nodes...)
		held := make(map[string]float64)
		for i := range objects {
			for _, n := range m.Place(fmt.Sprint(i)) {
				held[n]++
			}
		}
		for node, share := range m.Shares() {
			if got := held[node] / objects; math.Abs(got-share) > 0.02 {
				t.Errorf("%v: node %s holds %.3f of the objects, its share is %.3f", c.nodes, node, got, share)
			}
		}
	}
}

func drawNodes(t *rapid.T) []Node {
	nodes := make([]Node, rapid.IntRange(2, 9).Draw(t, "nodes"))
	for i := range nodes {
		nodes[i] = Node{
			Name:   fmt.Sprint("node", i),
			Zone:   rapid.SampledFrom([]string{"", "x", "y", "z"}).Draw(t, "zone"),
			Weight: rapid.Float64Range(0.1, 10).Draw(t, "weight"),
		}
	}
	return nodes
}

// TestOnlyTheJoiningNodeGains: for any zones and weights, an object's nodes after a join
// are those before and the new one, less at most one; read backwards, it is a leave.
func TestOnlyTheJoiningNodeGains(t *testing.T) {
	lists := []string{"sha256", "sha256,blake3", "sha256,blake3,sha512", "blake3,blake3+2,blake3+3,blake3+4"}
	rapid.Check(t, func(t *rapid.T) {
		ts, _ := ParseTransformations(rapid.SampledFrom(lists).Draw(t, "transformations"))
		nodes := drawNodes(t)
		joins := nodes[len(nodes)-1].Name
		before, err := NewMap(ts, nodes[:len(nodes)-1])
		if err != nil {
			t.Fatal(err)
		}
		after, err := NewMap(ts, nodes)
		if err != nil {
			t.Fatal(err)
		}
		plan := NewPlan(before, after)
		for i := range 50 {
			name := fmt.Sprint("object ", i)
			m := plan.Add(name, 1)
			if len(m.To) > 1 || len(m.From) > len(m.To) || len(m.To) == 1 && m.To[0] != joins {
				t.Fatalf("%s moves %+v when %s joins", name, m, joins)
			}
		}
	})
}

// TestZonesAreRespected: copies are on distinct nodes, and no zone has two more than
// another that has a node left.
func TestZonesAreRespected(t *testing.T) {
	ts := transformations(t, "sha256,blake3,sha512,blake3+2")
	rapid.Check(t, func(t *rapid.T) {
		nodes := drawNodes(t)
		m, err := NewMap(ts, nodes)
		if err != nil {
			t.Fatal(err)
		}
		size, has := make(map[int]int), make(map[int]int)
		for _, n := range m.nodes {
			size[n.zone]++
		}
		placed := m.Place(rapid.String().Draw(t, "name"))
		for i, name := range placed {
			if slices.Contains(placed[:i], name) {
				t.Fatalf("two copies on %s: %v", name, placed)
			}
			has[m.nodes[slices.IndexFunc(m.nodes, func(n member) bool { return n.Name == name })].zone]++
		}
		for a := range size {
			for b := range size {
				if has[a] > has[b]+1 && has[b] < size[b] {
					t.Fatalf("a zone has %d copies, another %d of its %d nodes: %v of %+v", has[a], has[b], size[b], placed, nodes)
				}
			}
		}
	})
}

func BenchmarkPlace(b *testing.B) {
	m := mapOf(b, "sha256,blake3,sha512", equal(strings.Split("abcdefghij", "")...)...)
	b.ReportAllocs()
	for b.Loop() {
		m.Place("archive/0001/000123.page")
	}
}
