package backup

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

const (
	// ManifestName is the file that makes a folder a backup.
	ManifestName = "BACKUP"
	manifestTemp = "BACKUP.new"

	manifestTitle    = "carillon backup 1"
	manifestMaxBytes = 256 << 20 // two million files
	timeLayout       = "2006-01-02T15:04:05.000Z"
)

// ErrCorrupt is wrapped by what is wrong with the contents of a backup.
var ErrCorrupt = errors.New("backup is corrupt")

func corrupt(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrCorrupt}, args...)...)
}

// Manifest lists what a backup consists of.
type Manifest struct {
	Made time.Time // UTC, to the millisecond
	// Position is the journal's: all of it up to there that was acknowledged when the
	// backup was asked for is in the files. A restored journal begins behind it.
	Position uint64
	Files    []Entry // sorted by path
}

// Entry is one file of a backup.
type Entry struct {
	Path string // in the data directory, with slashes
	Size int64
	CRC  uint32 // CRC-32C of the whole file
}

// Bytes is how long all files are together.
func (m *Manifest) Bytes() (total int64) {
	for _, e := range m.Files {
		total += e.Size
	}
	return total
}

// Text is the manifest as a file, or as the catalogue of an archive.
func (m *Manifest) Text() []byte { return m.append(nil) }

func (m *Manifest) append(dst []byte) []byte {
	start := len(dst)
	dst = fmt.Appendf(dst, "%s\nmade %s\nposition %d\nfiles %d\n", manifestTitle, m.Made.UTC().Format(timeLayout), m.Position, len(m.Files))
	for _, e := range m.Files {
		dst = fmt.Appendf(dst, "%08x %d %s\n", e.CRC, e.Size, e.Path)
	}
	return fmt.Appendf(dst, "crc32c %08x\n", checksum(dst[start:]))
}

// ParseManifest reads a manifest and checks it. It trusts no number in it.
func ParseManifest(data []byte) (*Manifest, error) {
	title, _, _ := bytes.Cut(data, []byte("\n"))
	if string(title) != manifestTitle {
		if bytes.HasPrefix(title, []byte("carillon backup ")) {
			return nil, fmt.Errorf("%.40q: only version 1 of the format is known", title)
		}
		return nil, corrupt("the manifest does not begin with %q", manifestTitle)
	}
	body := bytes.LastIndexByte(bytes.TrimSuffix(data, []byte("\n")), '\n') + 1
	if want := fmt.Sprintf("crc32c %08x\n", checksum(data[:body])); string(data[body:]) != want {
		return nil, corrupt("the checksum of the manifest is wrong")
	}
	m := new(Manifest)
	r := lines{rest: string(data[len(title)+1 : body])}
	var count int
	r.field("made ", func(s string) (err error) { m.Made, err = time.Parse(timeLayout, s); return err })
	r.field("position ", func(s string) (err error) { m.Position, err = strconv.ParseUint(s, 10, 64); return err })
	r.field("files ", func(s string) (err error) { count, err = strconv.Atoi(s); return err })
	for before := ""; r.err == nil && r.rest != ""; {
		r.field("", func(s string) error {
			e, err := parseEntry(s)
			if err == nil && e.Path <= before {
				err = errors.New("the paths are not in order")
			}
			before = e.Path
			m.Files = append(m.Files, e)
			return err
		})
	}
	if r.err == nil && count != len(m.Files) {
		r.err = corrupt("the manifest has %d files, not %d", len(m.Files), count)
	}
	if r.err == nil && !bytes.Equal(m.append(nil), data) {
		r.err = corrupt("the manifest has numbers in a form that nobody writes")
	}
	if r.err != nil {
		return nil, r.err
	}
	return m, nil
}

// lines takes a text apart; the first thing wrong with it stays in err.
type lines struct {
	rest string
	line int
	err  error
}

// field gives what stands behind the prefix of the next line to parse.
func (r *lines) field(prefix string, parse func(string) error) {
	if r.err != nil {
		return
	}
	line, rest, _ := strings.Cut(r.rest, "\n")
	r.rest = rest
	r.line++
	text, ok := strings.CutPrefix(line, prefix)
	err := errors.New("want " + strconv.Quote(prefix))
	if ok {
		err = parse(text)
	}
	if err != nil {
		r.err = corrupt("line %d of the manifest, %.80q: %w", r.line+1, line, err)
	}
}

func parseEntry(line string) (Entry, error) {
	crc, rest, _ := strings.Cut(line, " ")
	size, path, _ := strings.Cut(rest, " ")
	sum, err := strconv.ParseUint(crc, 16, 32)
	if err != nil {
		return Entry{}, err
	}
	e := Entry{Path: path, CRC: uint32(sum)}
	if e.Size, err = strconv.ParseInt(size, 10, 64); err != nil {
		return e, err
	}
	if e.Size < 0 {
		return e, errors.New("a negative size")
	}
	return e, checkPath(path)
}

// checkPath refuses what would lead out of a folder, or break a line.
func checkPath(path string) error {
	if !filepath.IsLocal(filepath.FromSlash(path)) || filepath.ToSlash(filepath.Clean(path)) != path || path == ManifestName || path == UnfinishedName {
		return fmt.Errorf("path %.200q is none of a file in a data directory", path)
	}
	if strings.ContainsFunc(path, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return fmt.Errorf("path %.200q has control characters", path)
	}
	return nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(data []byte) uint32 { return crc32.Checksum(data, castagnoli) }

// ReadManifest reads the manifest of a backup; the error is fs.ErrNotExist if the
// folder is none.
func ReadManifest(c Config, dir string) (*Manifest, error) { return readManifest(c.fs(), dir) }

func readManifest(fs FS, dir string) (*Manifest, error) {
	path := filepath.Join(dir, ManifestName)
	in, err := fs.Open(path)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(in, manifestMaxBytes+1))
	if err = errors.Join(err, in.Close()); err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	if len(data) > manifestMaxBytes {
		return nil, fmt.Errorf("reading %s: %w", path, corrupt("more than %d bytes", manifestMaxBytes))
	}
	m, err := ParseManifest(data)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	return m, nil
}

// writeManifest makes a folder a backup, in one step.
func writeManifest(fs FS, dir string, m *Manifest) error {
	temp, path := filepath.Join(dir, manifestTemp), filepath.Join(dir, ManifestName)
	if err := writeSynced(fs, temp, m.append(nil)); err != nil {
		return err
	}
	if err := fs.Rename(temp, path); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	if err := fs.SyncDir(dir); err != nil {
		return fmt.Errorf("syncing %s: %w", dir, err)
	}
	return nil
}

func writeSynced(fs FS, path string, data []byte) error {
	if err := fs.RemoveAll(path); err != nil {
		return fmt.Errorf("creating %s: %w", path, err)
	}
	out, err := fs.Create(path)
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
	return nil
}
