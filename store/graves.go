package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	iofs "io/fs"
	"math"
	"path/filepath"
	"slices"
	"strings"
)

const (
	gravesMagic     = "cargrave"
	gravesVersion   = 2
	gravesSuffix    = ".deleted"
	gravesHeadBytes = len(gravesMagic) + 4 + 4 + 4
	graveLeastBytes = 8 + 4
	gravesMaxBytes  = 2 * int64(gravesHeadBytes+maxGraves*(graveLeastBytes+16*MaxTiers)+binary.MaxVarintLen32*maxGraveNumbers+crcBytes)
)

// gravesPath is the file of a version's graves.
func gravesPath(dir string, sequence uint64) string {
	return filepath.Join(dir, fmt.Sprintf("%016d%s", sequence, gravesSuffix))
}

// bury writes the graves of the next version to a file, if they are not those of the
// current one. The manifest makes it the live one.
func (w *worker) bury(current, next *version) error {
	if slices.Equal(current.graves, next.graves) {
		return nil
	}
	next.buried = listedFile{}
	if len(next.graves) == 0 {
		return nil
	}
	data := appendGraves(nil, next.graves, len(w.config.Tiers))
	path := gravesPath(w.config.Dir, next.sequence)
	out, err := w.config.FS.Create(path)
	if err != nil {
		return fmt.Errorf("creating %s: %w", path, err)
	}
	_, err = out.Write(data)
	if err == nil {
		err = out.Sync()
	}
	if err = errors.Join(err, out.Close()); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	if err := w.config.FS.SyncDir(w.config.Dir); err != nil {
		return fmt.Errorf("syncing %s: %w", w.config.Dir, err)
	}
	next.buried = listedFile{sequence: next.sequence, size: int64(len(data)), crc: binary.LittleEndian.Uint32(data[len(data)-crcBytes:])}
	next.sequence++
	return nil
}

// unbury removes the graves' file of a version that is no longer the current one.
func (w *worker) unbury(old, current *version) {
	if old.buried.sequence == 0 || old.buried == current.buried {
		return
	}
	path := gravesPath(w.config.Dir, old.buried.sequence)
	if err := w.config.FS.Remove(path); err != nil && !errors.Is(err, iofs.ErrNotExist) {
		w.config.Logger.Warn("removing a file of deletes that is no longer needed; the next start tries again", "file", path, "error", err)
	}
}

// cleanGraves removes the files of graves that the manifest does not list.
func cleanGraves(config Config, m *manifest) error {
	names, err := config.FS.List(config.Dir)
	if err != nil {
		return fmt.Errorf("listing %s: %w", config.Dir, err)
	}
	for _, name := range names {
		path := filepath.Join(config.Dir, name)
		if !strings.HasSuffix(name, gravesSuffix) || m.buried.sequence != 0 && path == gravesPath(config.Dir, m.buried.sequence) {
			continue
		}
		if err := config.FS.Remove(path); err != nil {
			return fmt.Errorf("removing %s: %w", path, err)
		}
	}
	return nil
}

// readGraves reads the file of graves that a manifest lists; none if it lists none.
func readGraves(fs FS, dir string, listed listedFile, tiers int) ([]*grave, error) {
	if listed.sequence == 0 {
		return nil, nil
	}
	path := gravesPath(dir, listed.sequence)
	data, err := readFile(fs, path, gravesMaxBytes)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	graves, whole, err := eitherCopy(data, func(one []byte) ([]*grave, error) { return decodeGraves(one, tiers) })
	if err == nil && (int64(len(data)) != listed.size || binary.LittleEndian.Uint32(whole[len(whole)-crcBytes:]) != listed.crc) {
		err = corrupt("it is not the file that the manifest lists")
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	return graves, nil
}

// appendGraves writes a file of graves: them, twice.
func appendGraves(dst []byte, graves []*grave, tiers int) []byte {
	return appendGravesCopy(appendGravesCopy(dst, graves, tiers), graves, tiers)
}

func appendGravesCopy(dst []byte, graves []*grave, tiers int) []byte {
	start := len(dst)
	dst = append(dst, gravesMagic...)
	dst = binary.LittleEndian.AppendUint32(dst, gravesVersion)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(tiers))
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(graves)))
	for _, g := range graves {
		dst = binary.LittleEndian.AppendUint64(dst, g.sequence)
		for _, s := range g.spans {
			dst = binary.LittleEndian.AppendUint64(dst, uint64(s.from))
			dst = binary.LittleEndian.AppendUint64(dst, uint64(s.to))
		}
		dst = binary.LittleEndian.AppendUint32(dst, uint32(len(g.numbers)))
		before := uint32(0)
		for _, number := range g.numbers {
			dst = binary.AppendUvarint(dst, uint64(number-before))
			before = number
		}
	}
	return binary.LittleEndian.AppendUint32(dst, checksum(dst[start:]))
}

// decodeGraves checks and reads one copy. It trusts no number in it.
func decodeGraves(data []byte, tiers int) ([]*grave, error) {
	body := len(data) - crcBytes
	if body < gravesHeadBytes || string(data[:len(gravesMagic)]) != gravesMagic {
		return nil, corrupt("it does not begin like a file of deletes")
	}
	if checksum(data[:body]) != binary.LittleEndian.Uint32(data[body:]) {
		return nil, corrupt("the checksum of the deletes is wrong")
	}
	r := fields{rest: data[len(gravesMagic):body]}
	if version := r.u32(); version != gravesVersion {
		return nil, fmt.Errorf("version %d of deletes is not known, only %d", version, gravesVersion)
	}
	if n := r.count(MaxTiers); n != tiers {
		return nil, corrupt("the deletes are of %d tiers, not %d", n, tiers)
	}
	var graves []*grave
	for range r.count(min(maxGraves, len(r.rest)/graveLeastBytes)) {
		g := &grave{sequence: r.u64()}
		for range tiers {
			g.spans = append(g.spans, span{int64(r.u64()), int64(r.u64())})
		}
		g.numbers = r.ascending(r.count(len(r.rest)))
		graves = append(graves, g)
	}
	if r.short || len(r.rest) > 0 {
		return nil, corrupt("the counts of the deletes do not match their size")
	}
	return graves, nil
}

// ascending reads n different numbers, each as its distance from the one before.
func (r *fields) ascending(n int) []uint32 {
	numbers := make([]uint32, 0, n)
	at := uint64(0)
	for i := range n {
		step, used := binary.Uvarint(r.rest)
		if used <= 0 || step > math.MaxUint32 || i > 0 && step == 0 || at+step > math.MaxUint32 {
			r.rest, r.short = nil, true
			return nil
		}
		r.rest = r.rest[used:]
		at += step
		numbers = append(numbers, uint32(at))
	}
	return numbers
}
