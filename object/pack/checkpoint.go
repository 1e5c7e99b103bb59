package pack

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"carillon/object"
	"carillon/object/backend"
	"carillon/object/catalog"

	"github.com/cockroachdb/pebble/v2/vfs"
)

const (
	checkpointMagic      = "carpackc"
	checkpointHeaderSize = 40
	frameHeaderSize      = 8
	frameBytes           = 64 << 10 // of entries, from which a frame ends
	entrySize            = 16 + 1 + 8 + object.SumSize + 24
	maxFrame             = frameBytes + 3 + object.MaxName + backend.MaxKeep*entrySize
)

var errCheckpoint = errors.New("damaged checkpoint")

// position is a place in the log: everything before it is in the snapshot.
type position struct {
	segment uint64
	offset  int64
}

// snapshot is the store at one moment.
type snapshot struct {
	catalog *catalog.Catalog[place]
	from    position
	unsaved int64
}

func (s *Store) snapshot() snapshot {
	s.mu.RLock()
	defer s.mu.RUnlock()
	snap := snapshot{catalog: s.catalog.Clone(), unsaved: s.unsaved}
	if s.current != nil {
		snap.from = position{s.current.header.number, s.current.end}
		return snap
	}
	for number := range s.segments {
		snap.from.segment = max(snap.from.segment, number)
	}
	snap.from.segment++
	return snap
}

// writeCheckpoint replaces the checkpoint. Called with keeping held, or alone.
func (s *Store) writeCheckpoint(snap snapshot) error {
	if err := s.syncAll(); err != nil {
		return err
	}
	temporary := s.path(checkpointName + ".new")
	size, err := s.writeSnapshot(temporary, snap)
	if err != nil {
		return errors.Join(fmt.Errorf("write checkpoint: %w", err), s.fs.Remove(temporary))
	}
	if err := s.fs.Rename(temporary, s.path(checkpointName)); err != nil {
		return fmt.Errorf("write checkpoint: %w", err)
	}
	if err := backend.SyncFolder(s.fs, s.config.Dir); err != nil {
		return s.life.Stop(fmt.Errorf("sync checkpoint: %w", err))
	}
	s.checkpoint = size
	s.mu.Lock()
	s.unsaved -= snap.unsaved
	for number, seg := range s.segments {
		if number < snap.from.segment {
			seg.drops = false
		}
	}
	s.mu.Unlock()
	return nil
}

func (s *Store) writeSnapshot(path string, snap snapshot) (size int64, err error) {
	file, err := s.fs.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return 0, err
	}
	out := make([]byte, 0, maxFrame+frameHeaderSize)
	write := func(b []byte) {
		if err == nil {
			var n int
			n, err = file.Write(b)
			size += int64(n)
		}
	}
	write(appendCheckpointHeader(out, snap.from, snap.catalog.Len()))
	frame := out[:frameHeaderSize]
	for name, versions := range snap.catalog.All() {
		frame = appendEntries(frame, name, versions)
		if len(frame) >= frameBytes {
			write(sealFrame(frame))
			frame = out[:frameHeaderSize]
		}
	}
	if len(frame) > frameHeaderSize {
		write(sealFrame(frame))
	}
	if err == nil {
		err = file.Sync()
	}
	return size, errors.Join(err, file.Close())
}

func appendCheckpointHeader(dst []byte, from position, names int) []byte {
	dst = append(dst, checkpointMagic...)
	dst = binary.LittleEndian.AppendUint32(dst, version)
	dst = binary.LittleEndian.AppendUint64(dst, from.segment)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(from.offset))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(names))
	return binary.LittleEndian.AppendUint32(dst, checksum(0, dst))
}

func sealFrame(frame []byte) []byte {
	binary.LittleEndian.PutUint32(frame, uint32(len(frame)-frameHeaderSize))
	binary.LittleEndian.PutUint32(frame[4:], checksum(0, frame[frameHeaderSize:]))
	return frame
}

func appendEntries(dst []byte, name string, versions catalog.Versions[place]) []byte {
	dst = binary.LittleEndian.AppendUint16(dst, uint16(len(name)))
	dst = append(dst, byte(len(versions)))
	dst = append(dst, name...)
	for i := range versions {
		e := &versions[i]
		v := e.Version.Bytes()
		dst = append(dst, v[:]...)
		kind := byte(kindContent)
		if e.Deleted {
			kind = kindDelete
		}
		dst = append(dst, kind)
		dst = binary.LittleEndian.AppendUint64(dst, uint64(e.Size))
		dst = append(dst, e.Sum[:]...)
		dst = binary.LittleEndian.AppendUint64(dst, e.Where.segment)
		dst = binary.LittleEndian.AppendUint64(dst, uint64(e.Where.offset))
		dst = binary.LittleEndian.AppendUint64(dst, e.Where.blob)
	}
	return dst
}

// readCheckpoint loads the catalogue, if there is a good checkpoint, and returns from where on the log is to be
// read. Without one that is its beginning.
func (s *Store) readCheckpoint() (position, error) {
	file, err := s.fs.Open(s.path(checkpointName))
	if errors.Is(err, os.ErrNotExist) {
		return position{}, nil
	}
	if err != nil {
		return position{}, err
	}
	from, size, err := decodeCheckpoint(file, s.catalog)
	err = errors.Join(err, file.Close())
	if errors.Is(err, errCheckpoint) {
		s.config.Logger.Warn("read the whole log, the checkpoint is of no use", "dir", s.config.Dir, "error", err)
		s.damaged++
		s.catalog.Clear()
		return position{}, nil
	}
	s.checkpoint = size
	return from, err
}

// decodeCheckpoint reads a checkpoint into a catalogue.
func decodeCheckpoint(in io.Reader, c *catalog.Catalog[place]) (from position, size int64, err error) {
	buffer := make([]byte, maxFrame)
	header := buffer[:checkpointHeaderSize]
	if err := readFull(in, header); err != nil {
		return position{}, 0, err
	}
	if string(header[:8]) != checkpointMagic || checksum(0, header[:36]) != binary.LittleEndian.Uint32(header[36:]) {
		return position{}, 0, fmt.Errorf("%w: no header", errCheckpoint)
	}
	if v := binary.LittleEndian.Uint32(header[8:]); v != version {
		return position{}, 0, fmt.Errorf("%w: version %d, want %d", errCheckpoint, v, version)
	}
	from = position{binary.LittleEndian.Uint64(header[12:]), int64(binary.LittleEndian.Uint64(header[20:]))}
	names := binary.LittleEndian.Uint64(header[28:])
	size = checkpointHeaderSize
	for uint64(c.Len()) < names {
		frame, err := readFrame(in, buffer)
		if err != nil {
			return position{}, 0, err
		}
		size += int64(len(frame)) + frameHeaderSize
		before := c.Len()
		for len(frame) > 0 {
			if frame, err = decodeEntries(frame, c); err != nil {
				return position{}, 0, err
			}
		}
		if c.Len() == before {
			return position{}, 0, fmt.Errorf("%w: a frame without names", errCheckpoint)
		}
	}
	return from, size, nil
}

func readFull(in io.Reader, b []byte) error {
	_, err := io.ReadFull(in, b)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: it is too short", errCheckpoint)
	}
	return err
}

func readFrame(in io.Reader, buffer []byte) ([]byte, error) {
	if err := readFull(in, buffer[:frameHeaderSize]); err != nil {
		return nil, err
	}
	size, sum := binary.LittleEndian.Uint32(buffer), binary.LittleEndian.Uint32(buffer[4:])
	if size == 0 || int64(size) > int64(len(buffer)) {
		return nil, fmt.Errorf("%w: a frame of %d bytes", errCheckpoint, size)
	}
	frame := buffer[:size]
	if err := readFull(in, frame); err != nil {
		return nil, err
	}
	if checksum(0, frame) != sum {
		return nil, fmt.Errorf("%w: a frame with a wrong checksum", errCheckpoint)
	}
	return frame, nil
}

// decodeEntries decodes a name with its versions and returns what follows.
func decodeEntries(b []byte, c *catalog.Catalog[place]) ([]byte, error) {
	if len(b) < 3 {
		return nil, fmt.Errorf("%w: a torn name", errCheckpoint)
	}
	nameLen, count := int(binary.LittleEndian.Uint16(b)), int(b[2])
	b = b[3:]
	if count == 0 || len(b) < nameLen+count*entrySize {
		return nil, fmt.Errorf("%w: a torn entry", errCheckpoint)
	}
	name := string(b[:nameLen])
	if err := object.CheckName(name); err != nil {
		return nil, fmt.Errorf("%w: %w", errCheckpoint, err)
	}
	for b = b[nameLen:]; count > 0; count-- {
		e := entry{
			Version: object.VersionOf([object.VersionSize]byte(b)),
			Deleted: b[16] == kindDelete,
			Size:    int64(binary.LittleEndian.Uint64(b[17:])),
			Sum:     object.Sum(b[25:57]),
			Where: place{
				segment: binary.LittleEndian.Uint64(b[57:]),
				offset:  int64(binary.LittleEndian.Uint64(b[65:])),
				blob:    binary.LittleEndian.Uint64(b[73:]),
			},
		}
		if e.Size < 0 || e.Where.offset < 0 || e.Where.blob == 0 && e.Size > maxInline {
			return nil, fmt.Errorf("%w: an entry of %d bytes", errCheckpoint, e.Size)
		}
		c.Add(name, e)
		b = b[entrySize:]
	}
	return b, nil
}
