package store

import (
	"encoding/binary"
	"fmt"
	"slices"
)

// lossText bounds what a loss says, in bytes.
const lossText = 1 << 10

// loss is that the coarser tiers were not made in a span from what is damaged there. It
// cannot be seen in files, since nothing of those tiers is damaged: so the manifest has it.
type loss struct {
	span
	text string
}

func newLoss(s span, err error) loss {
	text := fmt.Sprintf("%v: the coarser tiers are not made from it from %s to %s", err, formatTime(s.from), formatTime(s.to))
	return loss{s, text[:min(len(text), lossText)]}
}

func (l loss) append(dst []byte) []byte {
	dst = binary.LittleEndian.AppendUint64(dst, uint64(l.from))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(l.to))
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(l.text)))
	return append(dst, l.text...)
}

func (r *fields) loss() loss {
	s := span{int64(r.u64()), int64(r.u64())}
	return loss{s, string(r.take(r.count(lossText)))}
}

// lose notes losses, of which maxDamages are kept.
func (v *version) lose(losses []loss) {
	v.losses = slices.Clip(v.losses)
	for _, l := range losses {
		if len(v.losses) < maxDamages && !slices.Contains(v.losses, l) {
			v.losses = append(v.losses, l)
		}
	}
}

// forget leaves out the losses of a time that no tier keeps any more.
func (v *version) forget() {
	last := v.horizons[len(v.horizons)-1]
	v.losses = slices.DeleteFunc(slices.Clone(v.losses), func(l loss) bool { return l.to <= last })
}

func textsOf(losses []loss) (texts []string) {
	for _, l := range losses {
		texts = append(texts, l.text)
	}
	return texts
}
