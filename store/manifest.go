package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
)

const (
	manifestName     = "MANIFEST"
	manifestTemp     = "MANIFEST.new"
	manifestMagic    = "carstore"
	manifestVersion  = 1
	manifestMaxBytes = 64 << 20 // three million files
	listedBytes      = 20       // a file's part of it
)

// manifest says which files are live and what is in them. Writing it is the only
// step by which anything in a store changes.
type manifest struct {
	sealed    uint64 // journal position through which everything is in the files
	watermark int64  // segments that start before it are complete in the coarser tiers
	sequence  uint64 // of the next file
	tiers     []listedTier
}

type listedTier struct {
	resolution int64 // milliseconds
	horizon    int64 // segments that start before it are not kept any more
	files      []listedFile
}

// listedFile names a file and how to recognise it; in commit order.
type listedFile struct {
	sequence uint64
	size     int64
	crc      uint32
}

func (m *manifest) append(dst []byte) []byte {
	start := len(dst)
	dst = append(dst, manifestMagic...)
	dst = binary.LittleEndian.AppendUint32(dst, manifestVersion)
	dst = binary.LittleEndian.AppendUint64(dst, m.sealed)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(m.watermark))
	dst = binary.LittleEndian.AppendUint64(dst, m.sequence)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(m.tiers)))
	for _, t := range m.tiers {
		dst = binary.LittleEndian.AppendUint64(dst, uint64(t.resolution))
		dst = binary.LittleEndian.AppendUint64(dst, uint64(t.horizon))
		dst = binary.LittleEndian.AppendUint32(dst, uint32(len(t.files)))
		for _, f := range t.files {
			dst = binary.LittleEndian.AppendUint64(dst, f.sequence)
			dst = binary.LittleEndian.AppendUint64(dst, uint64(f.size))
			dst = binary.LittleEndian.AppendUint32(dst, f.crc)
		}
	}
	return binary.LittleEndian.AppendUint32(dst, checksum(dst[start:]))
}

// decodeManifest checks and reads a manifest. It trusts no number in it.
func decodeManifest(data []byte) (*manifest, error) {
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
	m := &manifest{sealed: r.u64(), watermark: int64(r.u64()), sequence: r.u64()}
	for range r.count(MaxTiers) {
		t := listedTier{resolution: int64(r.u64()), horizon: int64(r.u64())}
		for range r.count(len(r.rest) / listedBytes) {
			t.files = append(t.files, listedFile{sequence: r.u64(), size: int64(r.u64()), crc: r.u32()})
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
	data, err := readFile(fs, path)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	m, err := decodeManifest(data)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	return m, nil
}

func readFile(fs FS, path string) ([]byte, error) {
	in, err := fs.Open(path)
	if err != nil {
		return nil, err
	}
	size, err := in.Size()
	if err == nil && size > manifestMaxBytes {
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
