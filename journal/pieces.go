package journal

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/zeebo/xxh3"

	"carillon/series"
)

// maxPieceRows is how many points one part keeps in the journal; a larger part
// is stored as several.
//
// A repeated request is recognised part by part, so a request must fall into the
// same pieces each time it comes. How many points it brings to a partition is the
// same each time; how many bytes they take is not, because a series that was new
// the first time is known the second time. So pieces are cut by number of rows,
// few enough that even 2,048 new series with labels of 2 KiB each fit a message.
// Only a piece that does not fit even so is halved. Its halves hash their range of
// rows, so if the repetition is cut elsewhere, its points are stored again rather
// than taken for others and lost.
const maxPieceRows = 2048

// ErrTooLarge means that a part brings something that fits no message, or more
// than the queue holds at all. Sending it again does not help.
var ErrTooLarge = errors.New("too large for the journal")

// check finds columns of unequal length and refs to definitions that are not there.
func (p *Part) check() error {
	if len(p.Times) != len(p.Refs) || len(p.Values) != len(p.Refs) || len(p.Aggregates) != len(p.AggregateRefs) {
		return fmt.Errorf("columns differ in length: %d refs, %d times, %d values; %d refs, %d aggregates",
			len(p.Refs), len(p.Times), len(p.Values), len(p.AggregateRefs), len(p.Aggregates))
	}
	end := FirstDefinition + Ref(len(p.Definitions))
	for _, refs := range [...][]Ref{p.Refs, p.AggregateRefs} {
		for _, r := range refs {
			if r >= end {
				return fmt.Errorf("ref %d is beyond the part's %d definitions", r, len(p.Definitions))
			}
		}
	}
	return nil
}

// items is what the part takes of MaxMessageItems.
func (p *Part) items() int {
	return 1 + p.Points() + len(p.Definitions) + len(p.Metadata)
}

// cutAll cuts the part into pieces of the given number of rows, after one with
// what no row refers to.
func cutAll(p *Part, rows int) []*Part {
	var pieces []*Part
	if rest := p.withoutRows(); !rest.Empty() {
		pieces = append(pieces, rest)
	}
	for from := 0; from < p.Points(); from += rows {
		pieces = append(pieces, p.cut(from, min(from+rows, p.Points())))
	}
	return pieces
}

// halve cuts a part that is too large in two or three; nil if it is one item.
func halve(p *Part) []*Part {
	if p.Points() > 0 {
		pieces := cutAll(p, (p.Points()+1)/2)
		if len(pieces) == 1 {
			return nil
		}
		return pieces
	}
	d, m := len(p.Definitions), len(p.Metadata)
	if d+m < 2 {
		return nil
	}
	return []*Part{
		{Definitions: p.Definitions[:d/2], Metadata: p.Metadata[:(m+1)/2]},
		{Definitions: p.Definitions[d/2:], Metadata: p.Metadata[(m+1)/2:]},
	}
}

// withoutRows is the part's metadata and the definitions that no row refers to.
// Both may be stored any number of times, so it has no request hash.
func (p *Part) withoutRows() *Part {
	rest := &Part{Metadata: p.Metadata}
	used := make([]bool, len(p.Definitions))
	for _, refs := range [...][]Ref{p.Refs, p.AggregateRefs} {
		for _, r := range refs {
			if r >= FirstDefinition {
				used[r-FirstDefinition] = true
			}
		}
	}
	for i, d := range p.Definitions {
		if !used[i] {
			rest.Definitions = append(rest.Definitions, d)
		}
	}
	return rest
}

// cut is the piece with rows [from, to), points before aggregates, and the
// definitions they refer to.
func (p *Part) cut(from, to int) *Part {
	points := len(p.Refs)
	a, b := min(from, points), min(to, points)
	c, d := max(from-points, 0), max(to-points, 0)
	piece := &Part{
		Request:    pieceHash(p.Request, from, to),
		Times:      p.Times[a:b],
		Values:     p.Values[a:b],
		Aggregates: p.Aggregates[c:d],
	}
	moved := make(map[Ref]Ref)
	piece.Refs = piece.adopt(p.Definitions, moved, p.Refs[a:b])
	piece.AggregateRefs = piece.adopt(p.Definitions, moved, p.AggregateRefs[c:d])
	return piece
}

// adopt returns refs as they read in the piece, which takes over the
// definitions that it does not have yet.
func (p *Part) adopt(definitions []series.Definition, moved map[Ref]Ref, refs []Ref) []Ref {
	if len(definitions) == 0 {
		return refs
	}
	adopted := make([]Ref, len(refs))
	for i, r := range refs {
		if r < FirstDefinition {
			adopted[i] = r
			continue
		}
		to, ok := moved[r]
		if !ok {
			to = FirstDefinition + Ref(len(p.Definitions))
			moved[r] = to
			p.Definitions = append(p.Definitions, definitions[r-FirstDefinition])
		}
		adopted[i] = to
	}
	return adopted
}

// pieceHash is the hash by which rows [from, to) of a request are recognised.
func pieceHash(request Hash, from, to int) Hash {
	if request == (Hash{}) {
		return request
	}
	b := binary.LittleEndian.AppendUint64(request[:], uint64(from))
	b = binary.LittleEndian.AppendUint64(b, uint64(to))
	return Hash(xxh3.Hash128(b).Bytes())
}
