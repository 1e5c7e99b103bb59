package measure

import (
	"encoding/binary"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"

	"carillon/peer"
	"carillon/traffic"
)

// A Whisper file, all big-endian: 16 bytes of which the last four are the number of
// archives; 12 bytes an archive: where it begins, seconds a point, points; and then
// points: a time in seconds, 0 for none, and a float64.
const (
	whisperHead    = 16
	whisperArchive = 12
	whisperPoint   = 12
)

// expectFiles is expect for the files of carbon-cache, which answers no queries.
func expectFiles(s *peer.Process, want traffic.Sum) error {
	var points int64
	var sum float64
	err := filepath.WalkDir(s.Data, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".wsp" {
			return err
		}
		n, v, err := readWhisper(path)
		points += n
		sum += v
		return err
	})
	if err != nil {
		return err
	}
	if points != want.Points || math.Abs(sum-want.Value()) > sumTolerance*want.Value() {
		return fmt.Errorf("its files have %d points with the sum %v, sent were %d with %v: %w", points, sum, want.Points, want.Value(), ErrWrongSum)
	}
	return nil
}

// readWhisper is the count and the sum of the points in the finest archive of a file.
func readWhisper(path string) (points int64, sum float64, err error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, 0, err
	}
	if len(b) < whisperHead+whisperArchive {
		return 0, 0, fmt.Errorf("%s: %d bytes", path, len(b))
	}
	at := int64(binary.BigEndian.Uint32(b[whisperHead:]))
	end := at + whisperPoint*int64(binary.BigEndian.Uint32(b[whisperHead+8:]))
	if end > int64(len(b)) {
		return 0, 0, fmt.Errorf("%s: %d bytes, want %d", path, len(b), end)
	}
	for ; at < end; at += whisperPoint {
		if binary.BigEndian.Uint32(b[at:]) != 0 {
			points++
			sum += math.Float64frombits(binary.BigEndian.Uint64(b[at+4:]))
		}
	}
	return points, sum, nil
}
