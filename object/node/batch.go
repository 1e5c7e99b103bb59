package node

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"carillon/object"
	"carillon/object/replica"
)

// A batch is small puts that travel to a node in one request, and their answers that come back in one.
// docs/format/object-http.md has the bytes.

// Bounds of a batch.
const (
	maxBatchPuts   = 64
	maxBatchBytes  = 1 << 20 // of frames, plus one
	maxPutFrame    = frameHeadSize + putHeadSize + object.MaxName + replica.MaxQueued
	maxAnswerText  = 4 << 10 // bytes of an error's text
	maxAnswerFrame = frameHeadSize + answerHeadSize + 1<<8 + maxAnswerText
)

const (
	frameHeadSize  = 8
	putHeadSize    = 8 + 16 + 1 + 16 + 32 + 2
	answerHeadSize = 1 + 1 + 16 + 8 + 32

	flagCopy      = 1 // replica.Write.Copy
	flagRepair    = 2 // replica.Write.Repair
	flagSum       = 4 // the checksum is announced
	flagCondition = 8 // there is a condition

	flagDeleted = 1 // the version that an answer describes is the mark of a delete
)

var errBatch = errors.New("batch is not as it was sent")

// beginFrame leaves room for the head of a frame, which endFrame fills in.
func beginFrame(b []byte) []byte { return append(b, make([]byte, frameHeadSize)...) }

// endFrame ends the frame that began at start, to which more belongs than what stands there.
func endFrame(b []byte, start int, more []byte) []byte {
	table := crc32.MakeTable(crc32.Castagnoli)
	payload := b[start+frameHeadSize:]
	binary.LittleEndian.PutUint32(b[start:], uint32(len(payload)+len(more)))
	binary.LittleEndian.PutUint32(b[start+4:], crc32.Update(crc32.Checksum(payload, table), table, more))
	return b
}

// cutFrame returns the payload of the first frame, which is of at least so many bytes.
func cutFrame(b []byte, least int) (payload, rest []byte, err error) {
	if len(b) < frameHeadSize {
		return nil, nil, fmt.Errorf("%w: a frame is cut off", errBatch)
	}
	size, sum := binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:])
	b = b[frameHeadSize:]
	if uint64(size) > uint64(len(b)) || int(size) < least {
		return nil, nil, fmt.Errorf("%w: a frame has %d bytes, %d are left", errBatch, size, len(b))
	}
	if payload = b[:size]; crc32.Checksum(payload, crc32.MakeTable(crc32.Castagnoli)) != sum {
		return nil, nil, fmt.Errorf("%w: a frame does not have its checksum", errBatch)
	}
	return payload, b[size:], nil
}

// putHeadBytes is how many bytes appendPutHead appends.
func putHeadBytes(name string) int { return frameHeadSize + putHeadSize + len(name) }

// appendPutHead appends a put's frame without the content, which is at the end of it.
func appendPutHead(b []byte, put replica.ContentPut) []byte {
	w, start := put.Write, len(b)
	var flags byte
	var sum object.Sum
	if w.Copy {
		flags |= flagCopy
	}
	if w.Repair {
		flags |= flagRepair
	}
	if w.Sum != nil {
		flags |= flagSum
		sum = *w.Sum
	}
	condition, set := w.If.Wants()
	if set {
		flags |= flagCondition
	}
	b = beginFrame(b)
	b = binary.LittleEndian.AppendUint64(b, w.Epoch)
	b = appendVersion(b, w.Version)
	b = append(b, flags)
	b = appendVersion(b, condition)
	b = append(b, sum[:]...)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(put.Name)))
	return endFrame(append(b, put.Name...), start, put.Content)
}

func appendVersion(b []byte, v object.Version) []byte {
	encoded := v.Bytes()
	return append(b, encoded[:]...)
}

// parsePut reads the payload of a put's frame. The content is a part of it.
func parsePut(b []byte) (put replica.ContentPut, err error) {
	put.Write = replica.Write{Epoch: binary.LittleEndian.Uint64(b), Version: object.VersionOf([16]byte(b[8:]))}
	flags, condition, sum := b[24], object.VersionOf([16]byte(b[25:])), object.Sum(b[41:73])
	size := int(binary.LittleEndian.Uint16(b[73:]))
	if b = b[putHeadSize:]; size > len(b) {
		return put, fmt.Errorf("%w: a name has %d bytes, %d are left", errBatch, size, len(b))
	}
	put.Name, put.Content = string(b[:size]), b[size:]
	w := &put.Write
	w.Size, w.Copy, w.Repair = int64(len(put.Content)), flags&flagCopy != 0, flags&flagRepair != 0
	if flags&flagSum != 0 {
		w.Sum = &sum
	}
	switch {
	case flags >= flagCondition<<1, flags&flagCondition == 0 && !condition.IsZero(), flags&flagSum == 0 && sum != object.Sum{}:
		return put, fmt.Errorf("%w: flags %08b", errBatch, flags)
	case flags&flagCondition == 0:
	case condition.IsZero():
		w.If = object.IfAbsent()
	default:
		w.If = object.IfNewest(condition)
	}
	return put, nil
}

// parsePuts reads the puts of a batch.
func parsePuts(b []byte) ([]replica.ContentPut, error) {
	var puts []replica.ContentPut
	for len(b) > 0 {
		payload, rest, err := cutFrame(b, putHeadSize)
		if err != nil {
			return nil, err
		}
		put, err := parsePut(payload)
		if err != nil {
			return nil, err
		}
		if puts = append(puts, put); len(puts) > maxBatchPuts {
			return nil, fmt.Errorf("%w: more than %d puts", errBatch, maxBatchPuts)
		}
		b = rest
	}
	return puts, nil
}

// putAnswer says what became of a put.
type putAnswer struct {
	info object.Info // what was written or, if the error is a conflict, what is there
	err  error
}

func answerOf(r replica.PutResult) putAnswer {
	var conflict *object.ConflictError
	if errors.As(r.Err, &conflict) {
		return putAnswer{conflict.Newest, r.Err}
	}
	return putAnswer{r.Receipt.Info, r.Err}
}

// appendAnswer appends the frame of an answer.
func appendAnswer(b []byte, a putAnswer) []byte {
	start := len(b)
	b = beginFrame(b)
	var kindName, text string
	if a.err != nil {
		kindName, text = kindOf(a.err).name, a.err.Error()
	}
	var flags byte
	if a.info.Deleted {
		flags |= flagDeleted
	}
	b = append(b, byte(len(kindName)), flags)
	b = appendVersion(b, a.info.Version)
	b = binary.LittleEndian.AppendUint64(b, uint64(a.info.Size))
	b = append(b, a.info.Sum[:]...)
	b = append(b, kindName...)
	b = append(b, text[:min(len(text), maxAnswerText)]...)
	return endFrame(b, start, nil)
}

// parseAnswer reads the payload of an answer's frame.
func parseAnswer(name string, b []byte) (a putAnswer, err error) {
	size := int(b[0])
	a.info = object.Info{
		Name: name, Deleted: b[1]&flagDeleted != 0, Version: object.VersionOf([16]byte(b[2:])),
		Size: int64(binary.LittleEndian.Uint64(b[18:])), Sum: object.Sum(b[26:58]),
	}
	if b = b[answerHeadSize:]; size > len(b) || a.info.Size < 0 {
		return a, fmt.Errorf("%w: an answer with a kind of %d bytes, %d are left, and a size of %d", errBatch, size, len(b), a.info.Size)
	}
	if size > 0 {
		a.err = errorOfKind(string(b[:size]), string(b[size:]), a.info)
	}
	return a, nil
}

// parseAnswers reads the answers to these puts.
func parseAnswers(puts []*queuedPut, b []byte) ([]putAnswer, error) {
	answers := make([]putAnswer, len(puts))
	for i, put := range puts {
		payload, rest, err := cutFrame(b, answerHeadSize)
		if err != nil {
			return nil, fmt.Errorf("answer %d of %d: %w", i, len(puts), err)
		}
		if answers[i], err = parseAnswer(put.Name, payload); err != nil {
			return nil, fmt.Errorf("answer %d of %d: %w", i, len(puts), err)
		}
		b = rest
	}
	if len(b) > 0 {
		return nil, fmt.Errorf("%w: %d bytes behind %d answers", errBatch, len(b), len(puts))
	}
	return answers, nil
}
