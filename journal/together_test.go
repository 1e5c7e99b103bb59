package journal

import (
	"bytes"
	"testing"
)

// Readers that begin together get what the stream holds, each from where it begins and
// what is for its partition, though it is read once; and one that is closed keeps
// nothing from the others.
func TestReadersTogether(t *testing.T) {
	const messages, points = 300, 1000
	j := open(t, config(t, t.TempDir()))
	for range messages {
		store(t, j, gauges(points), gauges(points/2))
	}
	want := [][]Message{read(t, j, 0, 1, messages), read(t, j, 1, 1, messages)}

	before := j.stream.connection.Stats().InBytes
	from, to := []uint64{1, 100}, []uint64{150, messages}
	readers := j.Readers(from)
	defer readers[1].Close()
	for sequence := from[0]; sequence <= messages; sequence++ {
		for i, r := range readers {
			if sequence < from[i] || sequence > to[i] {
				continue
			}
			m := next(t, r)
			if w := want[i][sequence-1]; m.Sequence != sequence || !bytes.Equal(m.encoded, w.encoded) || m.Err != nil {
				t.Fatalf("reader %d: message %d came with error %v, want %d", i, m.Sequence, m.Err, sequence)
			}
		}
		if sequence == to[0] {
			readers[0].Close()
		}
	}
	message := len(want[0][0].encoded) + len(want[1][0].encoded) + messageOverheadBytes
	if got := j.stream.connection.Stats().InBytes - before; got > uint64(messages*message*5/4) {
		t.Errorf("%d bytes came for %d messages of %d", got, messages, message)
	}
	store(t, j, nil, gauges(7))
	if m := next(t, readers[1]); m.Sequence != messages+1 {
		t.Errorf("then message %d came", m.Sequence)
	}
}
