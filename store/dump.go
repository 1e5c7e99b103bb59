package store

import (
	"encoding/binary"
	"fmt"
	"iter"
	"path/filepath"
	"time"

	"carillon/bucket"
	"carillon/store/page"
)

// FileType is what a file of a store is.
type FileType int

// The types of files.
const (
	FileOther FileType = iota // none of a store
	FilePages
	FileManifest
	FileDeletes
)

// TypeOf tells by its first bytes what a file is.
func TypeOf(head []byte) FileType {
	if len(head) < len(headerMagic) {
		return FileOther
	}
	switch string(head[:len(headerMagic)]) {
	case headerMagic:
		return FilePages
	case manifestMagic:
		return FileManifest
	case gravesMagic:
		return FileDeletes
	}
	return FileOther
}

// PageFile is a page file that is looked at as it is: what later files replace or
// deletes hide is there. Not for concurrent use.
type PageFile struct {
	cursor *cursor
}

// PageFileInfo is what the two ends of a page file say. Times are milliseconds.
type PageFileInfo struct {
	Version     int    `json:"version"`
	Size        int64  `json:"bytes"`
	Resolution  int64  `json:"resolution"`
	Window      int64  `json:"window"`
	First       int64  `json:"first"` // start of the first segment, and of the last
	Last        int64  `json:"last"`
	Pages       uint64 `json:"pages"`
	Series      uint64 `json:"series"`
	Buckets     uint64 `json:"buckets"`
	Highest     uint32 `json:"highest"` // number of the last series
	Replaces    bool   `json:"replaces"`
	Level       uint8  `json:"level"`
	IndexOffset uint64 `json:"indexOffset"`
	IndexBytes  uint64 `json:"indexBytes"` // what is not pages: header, index, sparse index, footer
	Checksum    uint32 `json:"checksum"`
}

// PageInfo is what the index says of one page.
type PageInfo struct {
	Position uint64 `json:"page"`
	Offset   uint64 `json:"offset"`
	Bytes    uint32 `json:"bytes"`
	Low      uint32 `json:"low"` // numbers of its first and its last series
	High     uint32 `json:"high"`
	Buckets  uint32 `json:"buckets"`
	First    int64  `json:"first"` // start of its first segment, milliseconds, and of its last
	Last     int64  `json:"last"`
}

// OpenPageFile opens a file for PageFile's methods. It fails if an end is damaged.
func OpenPageFile(path string) (*PageFile, error) {
	f, err := openFile(OS{}, path, 0)
	if err != nil {
		return nil, err
	}
	return &PageFile{newCursor(f, new(page.Decoder))}, nil
}

// Close closes the file.
func (p *PageFile) Close() error { return p.cursor.in.Close() }

// Info is what the ends of the file say.
func (p *PageFile) Info() PageFileInfo {
	f := p.cursor.file
	return PageFileInfo{
		Version: formatVersion, Size: f.size, Resolution: f.resolution, Window: f.window, First: f.first, Last: f.last,
		Pages: f.pages, Series: f.series, Buckets: f.buckets,
		Highest: f.high(), Replaces: f.replaces, Level: f.level,
		IndexOffset: f.index, IndexBytes: uint64(f.size) - (f.index - headerBytes), Checksum: f.crc,
	}
}

// Pages yields the index's entries. An error is of one block of the index; the entries
// of the others follow.
func (p *PageFile) Pages() iter.Seq2[PageInfo, error] {
	return func(yield func(PageInfo, error) bool) {
		f := p.cursor.file
		for position := uint64(0); position < f.pages; position++ {
			e, err := p.cursor.lookUp(position)
			if err != nil {
				block := position / blockEntries
				err = fmt.Errorf("block %d of the index, at %d: %w", block, f.footer.index+block*blockBytes, err)
				position = (block+1)*blockEntries - 1
			}
			info := PageInfo{
				Position: position, Offset: e.offset, Bytes: e.length, Low: e.low, High: e.high, Buckets: e.count,
				First: f.window + int64(e.first)*f.resolution, Last: f.window + int64(e.last)*f.resolution,
			}
			if !yield(info, err) {
				return
			}
		}
	}
}

// Strips yields the strips of a page. An error, the last thing that is yielded, names
// the page's offset in the file, and the byte of the page.
func (p *PageFile) Strips(of PageInfo) iter.Seq2[page.Strip, error] {
	return func(yield func(page.Strip, error) bool) {
		c := p.cursor
		err := c.load(of.Position)
		if err == nil {
			err = c.rewind()
		}
		for ; err == nil && c.more; err = c.skip() {
			if !yield(c.strip, nil) {
				return
			}
		}
		if err != nil {
			yield(page.Strip{}, err)
		}
	}
}

// Buckets appends what a strip holds.
func (p *PageFile) Buckets(s page.Strip, dst []bucket.Bucket) ([]bucket.Bucket, error) {
	dst, err := p.cursor.decoder.Buckets(s, dst)
	if err != nil {
		return dst, p.cursor.damaged(err, p.cursor.entry)
	}
	return dst, nil
}

// Listing is what a store's manifest says. Times are milliseconds.
type Listing struct {
	Sealed    uint64        `json:"sealed"`
	Watermark int64         `json:"watermark"`
	Sequence  uint64        `json:"sequence"` // of the next file
	Deletes   *ListedFile   `json:"deletes,omitempty"`
	Tiers     []ListingTier `json:"tiers"`
}

// ListingTier is the files of one tier, in the order in which they were committed.
type ListingTier struct {
	Resolution int64        `json:"resolution"`
	Horizon    int64        `json:"horizon"`
	Files      []ListedFile `json:"files"`
}

// ListedFile is a file as a manifest knows it; of one of deletes only the first three.
type ListedFile struct {
	Path     string `json:"path"` // beside the manifest
	Bytes    int64  `json:"bytes"`
	Checksum uint32 `json:"checksum"`
	First    int64  `json:"first,omitempty"` // start of the first segment, milliseconds, and of the last
	Last     int64  `json:"last,omitempty"`
	Highest  uint32 `json:"highest,omitempty"` // number of the last series
	Buckets  uint64 `json:"buckets,omitempty"`
}

// Paths is all files of the store, the manifest included, from its folder on.
func (l *Listing) Paths() []string {
	paths := []string{manifestName}
	if l.Deletes != nil {
		paths = append(paths, l.Deletes.Path)
	}
	for _, t := range l.Tiers {
		for _, f := range t.Files {
			paths = append(paths, f.Path)
		}
	}
	return paths
}

// Highest is the largest number of a series in the page files, -1 without any.
func (l *Listing) Highest() int64 {
	highest := int64(-1)
	for _, t := range l.Tiers {
		for _, f := range t.Files {
			highest = max(highest, int64(f.Highest))
		}
	}
	return highest
}

// ReadListing reads the manifest of a store's folder, or the one at a path. The error
// is fs.ErrNotExist if there is none.
func ReadListing(path string) (*Listing, error) {
	if filepath.Base(path) != manifestName {
		path = filepath.Join(path, manifestName)
	}
	data, err := readFile(OS{}, path, manifestMaxBytes)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	m, err := decodeManifest(data)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	l := &Listing{Sealed: m.sealed, Watermark: m.watermark, Sequence: m.sequence}
	if b := m.buried; b.sequence != 0 {
		l.Deletes = &ListedFile{Path: gravesPath("", b.sequence), Bytes: b.size, Checksum: b.crc}
	}
	for _, t := range m.tiers {
		tier := ListingTier{Resolution: t.resolution, Horizon: t.horizon}
		for _, f := range t.files {
			name := filePath("", Tier{Resolution: time.Duration(t.resolution) * time.Millisecond}, f.sequence)
			tier.Files = append(tier.Files, ListedFile{
				Path: name, Bytes: f.size, Checksum: f.crc, First: f.first, Last: f.last, Highest: f.high, Buckets: f.buckets,
			})
		}
		l.Tiers = append(l.Tiers, tier)
	}
	return l, nil
}

// Deleted is one entry of a store's file of deletes. A span is [from, to) of a tier, in
// milliseconds.
type Deleted struct {
	Below   uint64     `json:"below"` // it hides what is in files of smaller sequence numbers
	Spans   [][2]int64 `json:"spans"`
	Numbers []uint32   `json:"numbers"`
}

// ReadDeletes reads a file of deletes.
func ReadDeletes(path string) ([]Deleted, error) {
	data, err := readFile(OS{}, path, gravesMaxBytes)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	graves, _, err := eitherCopy(data, func(one []byte) ([]*grave, error) {
		if len(one) < gravesHeadBytes {
			return nil, corrupt("%d bytes are too few", len(one))
		}
		return decodeGraves(one, int(binary.LittleEndian.Uint32(one[len(gravesMagic)+4:])))
	})
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	deletes := make([]Deleted, len(graves))
	for i, g := range graves {
		deletes[i] = Deleted{Below: g.sequence, Numbers: g.numbers}
		for _, s := range g.spans {
			deletes[i].Spans = append(deletes[i].Spans, [2]int64{s.from, s.to})
		}
	}
	return deletes, nil
}

// LongestRetention is the longest that a tier of a resolution may have, or two hundred
// years; the coarser of two tiers always has the longer one.
func LongestRetention(resolution time.Duration) time.Duration {
	const years = 200 * 365 * 24 * time.Hour
	if resolution > years/(windowSegments*maxWindows) {
		return years + resolution
	}
	return resolution * windowSegments * maxWindows
}

// Sizes is how many bytes of a strip are for what.
func (p *PageFile) Sizes(s page.Strip) (page.Sizes, error) {
	sizes, err := p.cursor.decoder.Sizes(s)
	if err != nil {
		return sizes, p.cursor.damaged(err, p.cursor.entry)
	}
	return sizes, nil
}
