// Package whisper reads the files of Graphite's whisper: a metric each, with archives of
// points in several resolutions. The bytes of a file come in and its points go out; a Dir
// lists the files below a folder and puts the archives of each together. It is a Catalogue
// of package importer, and `carillon import whisper` opens it.
package whisper

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"carillon/bucket"
	"carillon/importer"
)

// A file is a header, a description of each archive, and their points (the comment in
// whisper.py; docs/import.md has the table). Numbers are big-endian.
const (
	headerBytes  = 16
	archiveBytes = 12 // of the description
	pointBytes   = 12
	maxArchives  = 64
	maxFileBytes = 256 << 20
)

// aggregation is how the points of an archive become one of the next.
type aggregation uint32

const (
	sum            aggregation = 2
	maxAggregation aggregation = 8
)

// archive is a ring of points.
type archive struct {
	offset, step, points int64 // bytes, seconds, and how many
}

func (a *archive) bytes() int64 { return a.points * pointBytes }

// file is what the header says.
type file struct {
	aggregation aggregation
	archives    []archive // finest first
}

var errNotWhisper = errors.New("it is not a file of whisper")

// maxHeaderBytes is how much of a file parseHeader may need.
const maxHeaderBytes = headerBytes + maxArchives*archiveBytes

// parseHeader reads the first maxHeaderBytes of a file, or all of it if it is shorter.
func parseHeader(b []byte, size int64) (*file, error) {
	if len(b) < headerBytes {
		return nil, errNotWhisper
	}
	f := &file{aggregation: aggregation(binary.BigEndian.Uint32(b))}
	n := int64(binary.BigEndian.Uint32(b[12:]))
	if f.aggregation < 1 || f.aggregation > maxAggregation || n < 1 || n > maxArchives || int64(len(b)) < headerBytes+n*archiveBytes {
		return nil, errNotWhisper
	}
	if size > maxFileBytes {
		return nil, fmt.Errorf("it has %d bytes, and at most %d are read", size, maxFileBytes)
	}
	for i := range n {
		of := b[headerBytes+i*archiveBytes:]
		a := archive{int64(binary.BigEndian.Uint32(of)), int64(binary.BigEndian.Uint32(of[4:])), int64(binary.BigEndian.Uint32(of[8:]))}
		switch {
		case a.step < 1 || a.points < 1 || a.step*a.points > math.MaxUint32:
			return nil, fmt.Errorf("archive %d has %d points of %d s", i, a.points, a.step)
		case a.offset < headerBytes+n*archiveBytes || a.offset+a.bytes() > size:
			return nil, fmt.Errorf("archive %d is from byte %d to %d, and the file has %d", i, a.offset, a.offset+a.bytes(), size)
		}
		f.archives = append(f.archives, a)
	}
	slices.SortStableFunc(f.archives, func(a, b archive) int { return cmp.Compare(a.step, b.step) })
	return f, nil
}

// point is one as it stands in an archive.
type point struct {
	time  int64 // seconds
	value float64
}

func pointAt(data []byte, i int64) point {
	b := data[i*pointBytes:]
	return point{int64(binary.BigEndian.Uint32(b)), math.Float64frombits(binary.BigEndian.Uint64(b[4:]))}
}

// found is what an archive has, and how many of its points have nothing to give.
type found struct {
	level          importer.Level
	stale, damaged uint64
}

// ring reads the points of an archive, of which data has all. Those that were written in
// an earlier round of the ring are stale, and so is what is there without a first point:
// that is how whisper tells an archive to be empty. A point stands for share points of the
// finest archive, and is their sum.
func (a *archive) ring(data []byte, now, share int64) (f found) {
	base := pointAt(data, 0).time
	var points []point
	newest := int64(0)
	for i := range a.points {
		p := pointAt(data, i)
		switch at := (p.time - base) / a.step % a.points; {
		case p.time == 0:
			continue
		case base == 0:
			f.stale++
			continue
		case p.time%a.step != 0 || base%a.step != 0 || (at+a.points)%a.points != i:
			f.damaged++
			continue
		}
		points = append(points, p)
		if p.time <= now {
			newest = max(newest, p.time)
		}
	}
	slices.SortFunc(points, func(a, b point) int { return cmp.Compare(a.time, b.time) })
	oldest := newest - (a.points-1)*a.step
	f.level = importer.Level{Resolution: 1000 * a.step, Since: 1000 * oldest}
	for _, p := range points {
		if p.time < oldest {
			f.stale++
			continue
		}
		f.level.Buckets = append(f.level.Buckets, p.bucket(share))
	}
	return f
}

// bucket is the sample that a point is. If it is the sum of several, it is as many, each
// of which has its share: so sums of all resolutions are on one scale.
func (p point) bucket(share int64) bucket.Bucket {
	time := 1000 * p.time
	if share <= 1 || math.IsNaN(p.value) || math.IsInf(p.value, 0) {
		return bucket.Of(time, p.value)
	}
	each := p.value / float64(share)
	return bucket.Bucket{
		FirstTime: time, LastTime: time, First: each, Last: each,
		Count: uint64(share), Sum: p.value, Min: each, Max: each,
	}
}
