package journal

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"carillon/series"
)

// However small a message must be, its pieces bring the same points in the same
// order, each with the definitions it needs, and are recognised when they come again.
func TestPieces(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		part := partOf(40).Draw(t, "part")
		limit := rapid.IntRange(100, 2000).Draw(t, "limit")
		cut := func() (pieces []Part, err error) {
			r := newRequest()
			err = r.add(0, part, limit)
			for _, s := range r.sections {
				if s.to-s.from > limit {
					t.Fatalf("a piece of %d bytes, the limit is %d", s.to-s.from, limit)
				}
				decoded, err := decodeParts(r.encoded[s.from:s.to])
				if err != nil || len(decoded) != 1 || decoded[0].Points() != s.points || decoded[0].items() != s.items {
					t.Fatalf("%d parts, error %v", len(decoded), err)
				}
				pieces = append(pieces, decoded[0])
			}
			return pieces, err
		}
		pieces, err := cut()
		if errors.Is(err, ErrTooLarge) {
			return
		}
		if diff := cmp.Diff(flatten(*part), flatten(pieces...), exactly); diff != "" {
			t.Fatalf("want -, got +\n%s", diff)
		}
		if len(pieces) == 1 && pieces[0].Request != part.Request {
			t.Fatal("an uncut part changed its hash")
		}
		seen := map[Hash]bool{}
		for _, p := range pieces {
			if p.Request != (Hash{}) && seen[p.Request] {
				t.Fatal("two pieces have the same hash")
			}
			if p.Points() > 0 && (p.Request == Hash{}) != (part.Request == Hash{}) {
				t.Fatal("a piece lost its hash, or made one up")
			}
			seen[p.Request] = true
		}
		again, _ := cut()
		if diff := cmp.Diff(pieces, again, exactly); diff != "" {
			t.Fatalf("cut differently the second time:\n%s", diff)
		}
	})
}

// flat is what parts bring, with refs to definitions resolved.
type flat struct {
	Points, Aggregates []string
	Defined            map[series.Definition]bool
	Metadata           []series.Metadata
}

func flatten(parts ...Part) flat {
	f := flat{Defined: map[series.Definition]bool{}}
	for _, p := range parts {
		name := func(r Ref) string {
			if r >= FirstDefinition {
				return fmt.Sprintf("%+v", p.Definitions[r-FirstDefinition])
			}
			return fmt.Sprint(uint64(r))
		}
		for i, r := range p.Refs {
			f.Points = append(f.Points, fmt.Sprint(name(r), p.Times[i], p.Values[i]))
		}
		for i, r := range p.AggregateRefs {
			f.Aggregates = append(f.Aggregates, fmt.Sprint(name(r), p.Aggregates[i]))
		}
		for _, d := range p.Definitions {
			f.Defined[d] = true
		}
		f.Metadata = append(f.Metadata, p.Metadata...)
	}
	return f
}

// A request larger than a message goes in several; where it is cut depends on
// its points only, so that it is recognised although its series are known by then.
func TestLargeRequestIsCutTheSameAgain(t *testing.T) {
	p := &fakePublisher{}
	j := faked(t, p, Config{})
	defer j.Close()
	const rows = 3*maxPieceRows + 5
	known, fresh := gauges(rows), gauges(rows)
	for i := range fresh.Refs {
		key, err := series.Named(fmt.Sprint(strings.Repeat("a long name ", 80), i))
		if err != nil {
			t.Fatal(err)
		}
		fresh.Refs[i] = FirstDefinition + Ref(i)
		fresh.Definitions = append(fresh.Definitions, series.Definition{Key: key})
	}
	for _, part := range []*Part{fresh, known} {
		if err := j.Append(t.Context(), []*Part{part, nil}); err != nil {
			t.Fatal(err)
		}
	}
	var hashes [2][]Hash
	for _, m := range p.messages {
		for _, part := range m.parts[0] {
			again := 0
			if len(part.Definitions) == 0 {
				again = 1
			}
			hashes[again] = append(hashes[again], part.Request)
		}
	}
	if len(p.messages) < 3 || len(hashes[0]) != 4 {
		t.Errorf("%d messages and %d pieces", len(p.messages), len(hashes[0]))
	}
	if diff := cmp.Diff(hashes[0], hashes[1]); diff != "" {
		t.Errorf("hashes differ:\n%s", diff)
	}
}

func TestItemThatFitsNoMessage(t *testing.T) {
	j := faked(t, &fakePublisher{}, Config{})
	defer j.Close()
	help := series.Metadata{Family: "f", Help: strings.Repeat("h", maxSectionsBytes)}
	part := gauges(1)
	part.Metadata = []series.Metadata{{Family: "g"}, help}
	if err := j.Append(t.Context(), []*Part{part, nil}); !errors.Is(err, ErrTooLarge) {
		t.Fatal(err)
	}
}
