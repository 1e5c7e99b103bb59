package store

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"carillon/bucket"
	"carillon/store/page"
)

const writeBufferBytes = 16 << 10

// fileWriter writes one page file, front to back. The index, 28 bytes a page, is
// kept until the end; everything else goes out as it comes.
type fileWriter struct {
	path     string
	sequence uint64
	out      File
	buf      *bufio.Writer
	err      error // the first one of out; whatever follows is not tried

	footer
	offset  uint64
	crc     uint32
	index   []indexEntry
	scratch []byte
}

func createFile(fs FS, path string, sequence uint64, meta footer) (*fileWriter, error) {
	out, err := fs.Create(path)
	if err != nil {
		return nil, fmt.Errorf("creating %s: %w", path, err)
	}
	w := &fileWriter{path: path, sequence: sequence, out: out, buf: bufio.NewWriterSize(out, writeBufferBytes), footer: meta}
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
	_, w.err = w.buf.Write(data)
}

func (w *fileWriter) failure() error {
	if w.err != nil {
		return fmt.Errorf("writing %s: %w", w.path, w.err)
	}
	return nil
}

// add appends the buckets of a series: one a segment, sorted by time, all in the
// file's window. Series come in ascending order, and one may come in pieces.
func (w *fileWriter) add(number uint32, buckets []bucket.Bucket) error {
	for len(buckets) > 0 && w.err == nil {
		n := min(len(buckets), page.MaxBuckets)
		w.addPage(number, buckets[:n])
		buckets = buckets[n:]
	}
	return w.failure()
}

func (w *fileWriter) addPage(number uint32, buckets []bucket.Bucket) {
	first := buckets[0].Start(w.resolution)
	last := buckets[len(buckets)-1].Start(w.resolution)
	if len(w.index) == 0 {
		w.first, w.last = first, last
	}
	w.first, w.last = min(w.first, first), max(w.last, last)
	if len(w.index) == 0 || w.index[len(w.index)-1].number != number {
		w.series++
	}
	w.pages++
	w.buckets += uint64(len(buckets))

	w.scratch = page.Append(w.scratch[:0], buckets)
	w.index = append(w.index, indexEntry{
		offset: w.offset, number: number, length: uint32(len(w.scratch)), count: uint32(len(buckets)),
		first: uint32((first - w.window) / w.resolution), last: uint32((last - w.window) / w.resolution),
	})
	w.write(w.scratch)
}

// finish writes what stands behind the pages, and makes the file durable. The
// file is closed in any case.
func (w *fileWriter) finish() error {
	w.writeIndex()
	tail := w.footer.append(w.scratch[:0])
	w.write(tail)
	w.write(append(binary.LittleEndian.AppendUint32(tail[:0], w.crc), footerMagic...))
	if w.err == nil {
		w.err = w.buf.Flush()
	}
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
	var sparse []byte
	for at := 0; at < len(w.index); at += blockEntries {
		block := w.scratch[:0]
		for _, e := range w.index[at:min(at+blockEntries, len(w.index))] {
			block = e.append(block)
		}
		w.write(binary.LittleEndian.AppendUint32(block, checksum(block)))
		sparse = binary.LittleEndian.AppendUint32(sparse, w.index[at].number)
		w.scratch = block
	}
	w.sparse = w.offset
	w.sparseCRC = checksum(sparse)
	w.write(sparse)
}

// abort closes the file; the next Open removes what is there of it.
func (w *fileWriter) abort() { _ = w.out.Close() } // nobody will read it
