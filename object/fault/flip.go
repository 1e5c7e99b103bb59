package fault

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
)

const (
	objectsName = "objects" // folder in a node's data, in which it also has its epoch
	recentBytes = 2 << 20   // of the log, behind which most objects have been put anew
	recentBits  = 16        // flipped there
	blobsHit    = 4         // files of one object each, of which a bit is flipped
	blockBytes  = 64 << 10  // read at once
)

// flip flips bits in the objects of a node that runs, in the files of its store.
func flip(data string, random *rand.Rand) error {
	store := filepath.Join(data, objectsName, "pack")
	segments, err := filepath.Glob(filepath.Join(store, "segments", "*"))
	if err != nil || len(segments) == 0 {
		return errors.Join(err, fmt.Errorf("no log of objects in %s", store))
	}
	if err := flipBits(segments[len(segments)-1], recentBytes, recentBits, random); err != nil {
		return err
	}
	blobs, err := filepath.Glob(filepath.Join(store, "blobs", "*"))
	for i := 0; i < min(blobsHit, len(blobs)) && err == nil; i++ {
		err = flipBits(blobs[random.IntN(len(blobs))], 2*largeBytes, 1, random)
	}
	return err
}

// flipBits flips so many bits of the last bytes of a file.
func flipBits(path string, last int64, bits int, random *rand.Rand) error {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) { // compacted meanwhile
		return nil
	}
	if err != nil {
		return err
	}
	defer file.Close()
	end, err := endOf(file)
	if err != nil || end == 0 {
		return err
	}
	from := max(0, end-last)
	for range bits {
		var b [1]byte
		at := from + random.Int64N(end-from)
		if _, err := file.ReadAt(b[:], at); err != nil {
			return err
		}
		b[0] ^= 1 << random.IntN(8)
		if _, err := file.WriteAt(b[:], at); err != nil {
			return err
		}
	}
	return nil
}

// endOf is where a file has nothing but zeros behind, as a segment that is written to has.
func endOf(file *os.File) (int64, error) {
	stat, err := file.Stat()
	if err != nil {
		return 0, err
	}
	block := make([]byte, blockBytes)
	for at := stat.Size(); at > 0; {
		n := min(at, blockBytes)
		at -= n
		if _, err := file.ReadAt(block[:n], at); err != nil && err != io.EOF {
			return 0, err
		}
		if used := bytes.TrimRight(block[:n], "\x00"); len(used) > 0 {
			return at + int64(len(used)), nil
		}
	}
	return 0, nil
}
