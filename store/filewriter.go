package store

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"carillon/bucket"
	"carillon/store/page"
)

// fileWriter writes one page file, front to back. The index, 64 bytes a page, is kept
// until the end, and the page that is being built; everything else goes out as it
// comes.
type fileWriter struct {
	path     string
	sequence uint64
	out      File
	err      error // the first one of out; whatever follows is not tried

	footer
	encoder *page.Encoder // shared with other files
	builder page.Builder
	entry   indexEntry // of the page that is being built
	offset  uint64
	crc     uint32
	index   []indexEntry
	number  uint32 // of the last series
}

func createFile(fs FS, path string, sequence uint64, meta footer, encoder *page.Encoder) (*fileWriter, error) {
	out, err := fs.Create(path)
	if err != nil {
		return nil, fmt.Errorf("creating %s: %w", path, err)
	}
	w := &fileWriter{path: path, sequence: sequence, out: out, footer: meta, encoder: encoder}
	header := append([]byte(nil), headerMagic...)
	header = binary.LittleEndian.AppendUint32(header, formatVersion)
	header = binary.LittleEndian.AppendUint32(header, 0)
	w.write(header)
	return w, w.failure()
}

func (w *fileWriter) write(data []byte) {
	if w.err != nil {
		return
	}
	w.crc = crc32.Update(w.crc, castagnoli, data)
	w.offset += uint64(len(data))
	_, w.err = w.out.Write(data)
}

func (w *fileWriter) failure() error {
	if w.err != nil {
		return fmt.Errorf("writing %s: %w", w.path, w.err)
	}
	return nil
}

// addBuckets appends the buckets of a series: one a segment, sorted by time, all in
// the file's window. Series come in ascending order, and one may come in pieces.
func (w *fileWriter) addBuckets(number uint32, buckets []bucket.Bucket) error {
	for len(buckets) > 0 && w.err == nil {
		n := stripOf(len(buckets))
		w.begin(number, n, buckets[0].FirstTime, buckets[n-1].FirstTime)
		w.entry.addBuckets(buckets[:n])
		w.builder.AddBuckets(w.encoder, number, buckets[:n])
		w.end()
		buckets = buckets[n:]
	}
	return w.failure()
}

// addSamples is addBuckets for buckets of one sample, or one staleness marker, each.
func (w *fileWriter) addSamples(number uint32, samples columns) error {
	for samples.len() > 0 && w.err == nil {
		n := stripOf(samples.len())
		w.begin(number, n, samples.times[0], samples.times[n-1])
		w.entry.addSamples(samples.values[:n])
		w.builder.AddSamples(w.encoder, number, samples.times[:n], samples.values[:n])
		w.end()
		samples = samples.slice(n, samples.len())
	}
	return w.failure()
}

// stripOf is how many of n buckets the next strip has: all strips about as many, so that
// none of a long series is too short for a page of its own.
func stripOf(n int) int {
	strips := (n + page.MaxBuckets - 1) / page.MaxBuckets
	return (n + strips - 1) / strips
}

// begin accounts for a strip of n buckets.
func (w *fileWriter) begin(number uint32, n int, from, to int64) {
	first, last := bucket.Floor(from, w.resolution), bucket.Floor(to, w.resolution)
	if w.buckets == 0 {
		w.first, w.last = first, last
	}
	if w.buckets == 0 || w.number != number {
		w.series++
	}
	w.first, w.last = min(w.first, first), max(w.last, last)
	w.buckets += uint64(n)
	w.number = number

	e := &w.entry
	inFirst, inLast := uint32((first-w.window)/w.resolution), uint32((last-w.window)/w.resolution)
	if w.builder.Len() == 0 {
		*e = indexEntry{offset: w.offset, low: number, first: inFirst, last: inLast, summary: noSamples()}
	}
	e.high = number
	e.count += uint32(n)
	e.first, e.last = min(e.first, inFirst), max(e.last, inLast)
}

// end writes the page if it has become long enough.
func (w *fileWriter) end() {
	enough := pageBytes
	if w.entry.low == w.entry.high {
		enough /= 2
	}
	if w.builder.Len() >= enough {
		w.endPage()
	}
}

func (w *fileWriter) endPage() {
	data := w.builder.Finish()
	w.entry.length = uint32(len(data))
	w.index = append(w.index, w.entry)
	w.pages++
	w.write(data)
}

// finish writes what stands behind the pages, and makes the file durable. The
// file is closed in any case.
func (w *fileWriter) finish() error {
	if w.builder.Len() > 0 {
		w.endPage()
	}
	w.writeIndex()
	tail := w.footer.append(nil)
	w.write(tail)
	w.write(append(binary.LittleEndian.AppendUint32(tail[:0], w.crc), footerMagic...))
	if w.err == nil {
		w.err = w.out.Sync()
	}
	if err := w.out.Close(); w.err == nil {
		w.err = err
	}
	return w.failure()
}

func (w *fileWriter) writeIndex() {
	w.footer.index = w.offset
	var block, sparse []byte
	for at := 0; at < len(w.index); at += blockEntries {
		entries := w.index[at:min(at+blockEntries, len(w.index))]
		block = block[:0]
		for _, e := range entries {
			block = e.append(block)
		}
		w.write(binary.LittleEndian.AppendUint32(block, checksum(block)))
		sparse = binary.LittleEndian.AppendUint32(sparse, entries[len(entries)-1].high)
	}
	w.sparse = w.offset
	w.sparseCRC = checksum(sparse)
	w.write(sparse)
}

// abort closes the file; the next Open removes what is there of it.
func (w *fileWriter) abort() { _ = w.out.Close() } // nobody will read it
