package measure

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"carillon/usage"
)

// The old design, as far as a look-up's cost goes: a file of 8191 heads of chains
// and then the records, each with the offset of the next of its chain, the newest
// first. A look-up reads the head, and then record by record.
//
//	head    8 bytes: offset of the first record, 0 is none
//	record  8 next · 8 id · 1 length of name · 64 name · sites
const (
	oldBuckets     = 8191
	oldHeadBytes   = 8
	oldRecordBytes = 148

	oldIDAt   = 8
	oldNameAt = 16

	oldWriteBytes = 1 << 20 // gathered before they are written
	oldProgress   = 1 << 16 // records between two signs of progress
)

type oldCost struct {
	cost                cost
	reads               float64 // a look-up, half of them of absent names
	hitReads, missReads float64
	entries             int
}

// oldTable counts the reads that it makes.
type oldTable struct {
	file  *os.File
	reads int
}

func oldDesign(ctx context.Context, c Config) (o oldCost, err error) {
	random := rand.New(rand.NewPCG(c.Seed, 3))
	all := randomNames(random, c.Scale.OldEntries)
	file, err := os.Create(filepath.Join(c.Dir, "chained"))
	if err != nil {
		return o, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if err := writeOld(ctx, c, file, all); err != nil {
		return o, err
	}
	o.entries = all.len()
	t := &oldTable{file: file}
	var hits, misses, hitReads, missReads int
	for round := range c.Scale.Rounds {
		present, absent := c.Scale.OldLookups/2, c.Scale.OldLookups-c.Scale.OldLookups/2
		hit := ask(all, sample(random, all.len(), present))
		miss := questions{names: randomNames(random, absent), want: make([]uint64, absent)}
		spentHit, readsHit, err := t.pass(hit)
		if err != nil {
			return o, err
		}
		spentMiss, readsMiss, err := t.pass(miss)
		if err != nil {
			return o, err
		}
		o.cost.add(spentHit+spentMiss, present+absent)
		hits, hitReads, misses, missReads = hits+present, hitReads+readsHit, misses+absent, missReads+readsMiss
		if err := ctx.Err(); err != nil {
			return o, err
		}
		c.Progress("look up in the old design", uint64(round+1), uint64(c.Scale.Rounds))
	}
	o.hitReads, o.missReads = float64(hitReads)/float64(hits), float64(missReads)/float64(misses)
	o.reads = float64(hitReads+missReads) / float64(hits+misses)
	return o, nil
}

// sample is some random indexes below n.
func sample(random *rand.Rand, n, count int) []int {
	at := make([]int, count)
	for i := range at {
		at[i] = random.IntN(n)
	}
	return at
}

// writeOld writes the table. Records go to the end of the file, and new ones to
// the head of their chain.
func writeOld(ctx context.Context, c Config, file *os.File, all names) error {
	heads := make([]byte, oldBuckets*oldHeadBytes)
	w := bufio.NewWriterSize(file, oldWriteBytes)
	if _, err := w.Write(heads); err != nil { // their place
		return err
	}
	for i := range all.len() {
		name := all.at(i)
		head := heads[oldBucket(name)*oldHeadBytes:]
		var record [oldRecordBytes]byte
		copy(record[:], head[:oldHeadBytes])
		binary.LittleEndian.PutUint64(record[oldIDAt:], idOf(i))
		record[oldNameAt] = byte(len(name))
		copy(record[oldNameAt+1:], name)
		if _, err := w.Write(record[:]); err != nil {
			return err
		}
		binary.LittleEndian.PutUint64(head, uint64(len(heads)+i*oldRecordBytes))
		if done := i + 1; done%oldProgress == 0 || done == all.len() {
			c.Progress("write the old design", uint64(done), uint64(all.len()))
			if err := ctx.Err(); err != nil {
				return err
			}
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := file.WriteAt(heads, 0)
	return err
}

// oldBucket spreads names evenly, by FNV-1a.
func oldBucket(name string) int {
	h := uint64(14695981039346656037)
	for i := range len(name) {
		h = (h ^ uint64(name[i])) * 1099511628211
	}
	return int(h % oldBuckets)
}

// pass asks all questions, and checks the answers.
func (t *oldTable) pass(q questions) (spent time.Duration, reads int, err error) {
	before, began, wrong := t.reads, usage.Thread(), 0
	for i, want := range q.want {
		id, err := t.lookUp(q.names.at(i))
		if err != nil {
			return 0, 0, fmt.Errorf("look up %s: %w", q.names.at(i), err)
		}
		if id != want {
			wrong++
		}
	}
	return usage.Thread() - began, t.reads - before, expect(wrong, "the old design")
}

// lookUp is the id of the name, or 0.
func (t *oldTable) lookUp(name string) (uint64, error) {
	var head [oldHeadBytes]byte
	if err := t.read(head[:], uint64(oldBucket(name)*oldHeadBytes)); err != nil {
		return 0, err
	}
	var record [oldRecordBytes]byte
	for next := binary.LittleEndian.Uint64(head[:]); next != 0; next = binary.LittleEndian.Uint64(record[:]) {
		if err := t.read(record[:], next); err != nil {
			return 0, err
		}
		if n := int(record[oldNameAt]); string(record[oldNameAt+1:oldNameAt+1+n]) == name {
			return binary.LittleEndian.Uint64(record[oldIDAt:]), nil
		}
	}
	return 0, nil
}

func (t *oldTable) read(b []byte, at uint64) error {
	t.reads++
	_, err := t.file.ReadAt(b, int64(at))
	return err
}
