package journal

import "fmt"

const (
	// requestOverheadBytes is what a queued request costs beside its bytes.
	requestOverheadBytes = 512
	// maxKeptBytes is how large a buffer may be and still be kept for later.
	maxKeptBytes = 1 << 20
)

// request is one Append on its way: its parts, encoded by the goroutine that
// appends, which waits for done. Between push and done it belongs to the writer.
type request struct {
	encoded  []byte    // the sections, one after the other
	sections []section // in the order of their partitions

	left int        // sections without an outcome
	err  error      // of the first section that failed
	done chan error // capacity 1: err, when no section is left
}

// section is one encoded part on its way into a message.
type section struct {
	partition int
	from, to  int // in the request's encoded
	points    int
	items     int // of MaxMessageItems
}

func newRequest() *request { return &request{done: make(chan error, 1)} }

// encode makes the sections of parts. Each fits a message whose sections may take
// limitBytes.
func (r *request) encode(parts []*Part, limitBytes int) error {
	r.encoded, r.sections, r.err = r.encoded[:0], r.sections[:0], nil
	for partition, part := range parts {
		if part == nil || part.Empty() {
			continue
		}
		err := part.check()
		if err == nil {
			err = r.add(partition, part, limitBytes)
		}
		if err != nil {
			return fmt.Errorf("appending to the journal: part of partition %d: %w", partition, err)
		}
	}
	r.left = len(r.sections)
	return nil
}

// add encodes a part, in pieces if it is large.
func (r *request) add(partition int, part *Part, limitBytes int) error {
	if rows := part.Points(); rows <= maxPieceRows {
		return r.addPiece(partition, part, limitBytes)
	}
	for _, piece := range cutAll(part, maxPieceRows) {
		if err := r.addPiece(partition, piece, limitBytes); err != nil {
			return err
		}
	}
	return nil
}

// addPiece encodes a part as one section, or halves it if that does not fit.
func (r *request) addPiece(partition int, piece *Part, limitBytes int) error {
	s := section{partition: partition, from: len(r.encoded), points: piece.Points(), items: piece.items()}
	r.encoded = appendPart(r.encoded, piece)
	s.to = len(r.encoded)
	if s.to-s.from <= limitBytes && s.items <= MaxMessageItems {
		r.sections = append(r.sections, s)
		return nil
	}
	r.encoded = r.encoded[:s.from]
	halves := halve(piece)
	if halves == nil {
		return fmt.Errorf("one item of %d bytes, a message holds %d: %w", s.to-s.from, limitBytes, ErrTooLarge)
	}
	for _, half := range halves {
		if err := r.addPiece(partition, half, limitBytes); err != nil {
			return err
		}
	}
	return nil
}

// queuedBytes is what the request takes of the queue.
func (r *request) queuedBytes() int64 {
	return int64(len(r.encoded)) + requestOverheadBytes
}

// finish takes the outcome of one section and tells whether it was the last.
func (r *request) finish(err error) bool {
	if r.err == nil {
		r.err = err
	}
	r.left--
	return r.left == 0
}
