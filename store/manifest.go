package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
)

const (
	manifestName     = "MANIFEST"
	manifestTemp     = "MANIFEST.new"
	manifestMagic    = "carstore"
	manifestVersion  = 3
	manifestMaxBytes = 64 << 20 // more than half a million files
	listedBytes      = 20       // of a file, for recognising it
	pagesBytes       = listedBytes + 28
	importedBytes    = len(Source{}) + 16
)

// manifest says which files are live and what is in them. Writing it is the only
// step by which anything in a store changes.
type manifest struct {
	sealed    uint64     // journal position through which everything is in the files
	watermark int64      // segments that start before it are complete in the coarser tiers
	clock     int64      // from which retention rules count back
	shortened int64      // a rule has ended the finest tier of some series up to here
	sequence  uint64     // of the next file
	buried    listedFile // what is deleted; sequence 0 for nothing
	imports   []imported // how far imports have come
	losses    []loss     // what the coarser tiers lack
	tiers     []listedTier
}

type listedTier struct {
	resolution int64         // milliseconds
	horizon    int64         // segments that start before it are not kept any more
	files      []listedPages // in commit order
}

// listedPages is a page file, and what is lost if it is damaged.
type listedPages struct {
	listedFile
	first, last int64  // starts of its first and its last segment
	high        uint32 // its last series
	buckets     uint64
}

// listedFile names a file and how to recognise it.
type listedFile struct {
	sequence uint64
	size     int64
	crc      uint32
}

// append writes a manifest, twice.
func (m *manifest) append(dst []byte) []byte {
	return m.appendCopy(m.appendCopy(dst))
}

func (m *manifest) appendCopy(dst []byte) []byte {
	start := len(dst)
	dst = append(dst, manifestMagic...)
	dst = binary.LittleEndian.AppendUint32(dst, manifestVersion)
	dst = binary.LittleEndian.AppendUint64(dst, m.sealed)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(m.watermark))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(m.clock))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(m.shortened))
	dst = binary.LittleEndian.AppendUint64(dst, m.sequence)
	dst = m.buried.append(dst)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(m.imports)))
	for _, i := range m.imports {
		dst = append(dst, i.source[:]...)
		dst = binary.LittleEndian.AppendUint64(dst, uint64(i.position.Stage))
		dst = binary.LittleEndian.AppendUint64(dst, i.position.Item)
	}
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(m.losses)))
	for _, l := range m.losses {
		dst = l.append(dst)
	}
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(m.tiers)))
	for _, t := range m.tiers {
		dst = binary.LittleEndian.AppendUint64(dst, uint64(t.resolution))
		dst = binary.LittleEndian.AppendUint64(dst, uint64(t.horizon))
		dst = binary.LittleEndian.AppendUint32(dst, uint32(len(t.files)))
		for _, f := range t.files {
			dst = f.append(dst)
		}
	}
	return binary.LittleEndian.AppendUint32(dst, checksum(dst[start:]))
}

func (f listedFile) append(dst []byte) []byte {
	dst = binary.LittleEndian.AppendUint64(dst, f.sequence)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(f.size))
	return binary.LittleEndian.AppendUint32(dst, f.crc)
}

func (f *listedPages) append(dst []byte) []byte {
	dst = f.listedFile.append(dst)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(f.first))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(f.last))
	dst = binary.LittleEndian.AppendUint32(dst, f.high)
	return binary.LittleEndian.AppendUint64(dst, f.buckets)
}

func (r *fields) listedPages() listedPages {
	return listedPages{listedFile: r.listedFile(), first: int64(r.u64()), last: int64(r.u64()), high: r.u32(), buckets: r.u64()}
}

func (r *fields) listedFile() listedFile {
	return listedFile{sequence: r.u64(), size: int64(r.u64()), crc: r.u32()}
}

// eitherCopy reads the first copy that is whole of what stands twice in a file: the
// manifest and the deletes, without which a store does not open. What a flipped bit
// takes from one copy, the other one has. It returns that copy, too.
func eitherCopy[T any](data []byte, decode func([]byte) (T, error)) (T, []byte, error) {
	first, second := data[:len(data)/2], data[len(data)/2:]
	v, err := decode(first)
	if errors.Is(err, ErrCorrupt) {
		if v, err := decode(second); err == nil {
			return v, second, nil
		}
	}
	return v, first, err
}

// copiesDiffer is what is wrong with a file that could be read all the same.
func copiesDiffer(data []byte) error {
	if half := len(data) / 2; !bytes.Equal(data[:half], data[half:]) {
		return corrupt("one of its two copies is damaged; the other one is used")
	}
	return nil
}

func decodeManifest(data []byte) (*manifest, error) {
	m, _, err := eitherCopy(data, decodeCopy)
	return m, err
}

// decodeCopy checks and reads one copy. It trusts no number in it.
func decodeCopy(data []byte) (*manifest, error) {
	body := len(data) - crcBytes
	if body < len(manifestMagic)+4 || string(data[:len(manifestMagic)]) != manifestMagic {
		return nil, corrupt("it does not begin like a manifest")
	}
	if checksum(data[:body]) != binary.LittleEndian.Uint32(data[body:]) {
		return nil, corrupt("the checksum of the manifest is wrong")
	}
	r := fields{rest: data[len(manifestMagic):body]}
	if version := r.u32(); version != manifestVersion {
		return nil, fmt.Errorf("manifest version %d is not known, only %d", version, manifestVersion)
	}
	m := &manifest{
		sealed: r.u64(), watermark: int64(r.u64()), clock: int64(r.u64()), shortened: int64(r.u64()),
		sequence: r.u64(), buried: r.listedFile(),
	}
	for range r.count(min(maxImports, len(r.rest)/importedBytes)) {
		m.imports = append(m.imports, imported{Source(r.take(len(Source{}))), Position{int64(r.u64()), r.u64()}})
	}
	for range r.count(maxDamages) {
		m.losses = append(m.losses, r.loss())
	}
	for range r.count(MaxTiers) {
		t := listedTier{resolution: int64(r.u64()), horizon: int64(r.u64())}
		for range r.count(len(r.rest) / pagesBytes) {
			t.files = append(t.files, r.listedPages())
		}
		m.tiers = append(m.tiers, t)
	}
	if r.short || len(r.rest) > 0 {
		return nil, corrupt("the manifest's counts do not match its size")
	}
	return m, nil
}

// fields reads fixed-width numbers; past the end they are 0 and short is set.
type fields struct {
	rest  []byte
	short bool
}

func (r *fields) take(n int) []byte {
	if len(r.rest) < n {
		r.rest, r.short = nil, true
		return make([]byte, n)
	}
	head := r.rest[:n]
	r.rest = r.rest[n:]
	return head
}

func (r *fields) u32() uint32 { return binary.LittleEndian.Uint32(r.take(4)) }
func (r *fields) u64() uint64 { return binary.LittleEndian.Uint64(r.take(8)) }

// count reads how many follow; more than limit cannot.
func (r *fields) count(limit int) int {
	n := r.u32()
	if int64(n) > int64(limit) {
		r.rest, r.short = nil, true
		return 0
	}
	return int(n)
}

// readManifest returns an error that is fs.ErrNotExist if there is none.
func readManifest(fs FS, dir string) (*manifest, error) {
	path := filepath.Join(dir, manifestName)
	data, err := readFile(fs, path, manifestMaxBytes)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	m, err := decodeManifest(data)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	return m, nil
}

// readFile reads a file of at most so many bytes.
func readFile(fs FS, path string, most int64) ([]byte, error) {
	in, err := fs.Open(path)
	if err != nil {
		return nil, err
	}
	size, err := in.Size()
	if err == nil && size > most {
		err = corrupt("%d bytes are too many", size)
	}
	if err != nil {
		return nil, errors.Join(err, in.Close())
	}
	data := make([]byte, size)
	_, err = in.ReadAt(data, 0)
	return data, errors.Join(err, in.Close())
}

// writeManifest puts m in place of the one that is there, in one step: a crash
// leaves either. After an error either may be there too.
func writeManifest(fs FS, dir string, m *manifest) error {
	temp, path := filepath.Join(dir, manifestTemp), filepath.Join(dir, manifestName)
	out, err := fs.Create(temp)
	if err != nil {
		return fmt.Errorf("creating %s: %w", temp, err)
	}
	_, err = out.Write(m.append(nil))
	if err == nil {
		err = out.Sync()
	}
	if err = errors.Join(err, out.Close()); err != nil {
		return fmt.Errorf("writing %s: %w", temp, err)
	}
	if err := fs.Rename(temp, path); err != nil {
		return fmt.Errorf("replacing %s: %w", path, err)
	}
	if err := fs.SyncDir(dir); err != nil {
		return fmt.Errorf("syncing %s: %w", dir, err)
	}
	return nil
}
