package location

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
)

const (
	memTableBytes = 16 << 20 // what Pebble gathers before it writes a table
	filterBits    = 10       // of Bloom filter a key: one absent name in a hundred reads a block
)

func (d *Directory) pebbleOptions() *pebble.Options {
	options := &pebble.Options{
		FS: d.fs,
		// Named, so that a newer Pebble does not silently write what an older
		// Carillon cannot read.
		FormatMajorVersion: pebble.FormatTableFormatV6,
		MemTableSize:       memTableBytes,
		CacheSize:          d.config.BlockCacheBytes,
		Logger:             pebbleLogger{d.logger},
		EventListener: &pebble.EventListener{
			BackgroundError: func(err error) { d.logger.Error("location: background work failed", "err", err) },
			// Pebble's default is to end the process. The reader gets an error too.
			DataCorruption: func(i pebble.DataCorruptionInfo) { d.logger.Error("location: corrupt file", "what", i.String()) },
		},
	}
	for i := range options.Levels {
		options.Levels[i].FilterPolicy = bloom.FilterPolicy(filterBits)
	}
	return options
}

// read checks the format record, or writes it in an empty database, and reads
// state and servers.
func (l *database) read(fresh bool) error {
	if err := l.readFormat(fresh); err != nil {
		return fmt.Errorf("format record: %w", err)
	}
	value, closer, err := l.db.Get([]byte{stateSpace})
	if err == nil {
		l.state, err = decodeState(value)
		err = errors.Join(err, closer.Close())
	}
	if err != nil {
		return fmt.Errorf("state record: %w", err)
	}
	return l.readServers()
}

func (l *database) readFormat(fresh bool) error {
	value, closer, err := l.db.Get([]byte{formatSpace})
	if err == nil {
		return errors.Join(decodeFormat(value), closer.Close())
	}
	if !errors.Is(err, pebble.ErrNotFound) || !fresh {
		return err
	}
	iter, err := l.db.NewIter(nil)
	if err != nil {
		return err
	}
	occupied := iter.First()
	if err := errors.Join(iter.Error(), iter.Close()); err != nil {
		return err
	}
	if occupied {
		return decodeFormat(nil)
	}
	batch := l.db.NewBatch()
	return errors.Join(
		batch.Set([]byte{formatSpace}, appendFormat(nil), nil),
		batch.Set([]byte{stateSpace}, appendState(nil, state{nextID: 1}), nil),
		batch.Commit(pebble.Sync),
		batch.Close())
}

func (l *database) readServers() (err error) {
	l.servers = &servers{numbers: make(map[string]uint32)}
	iter, err := l.db.NewIter(spaceBounds(serverSpace))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, iter.Close()) }()
	for valid := iter.First(); valid; valid = iter.Next() {
		number := uint32(len(l.servers.list))
		if key := iter.Key(); len(key) != 5 || binary.BigEndian.Uint32(key[1:]) != number {
			return fmt.Errorf("server %d: record is missing", number)
		}
		value, err := iter.ValueAndErr()
		if err != nil {
			return err
		}
		s, err := decodeServer(iter.Key(), value)
		if err != nil {
			return fmt.Errorf("server %d: %w", number, err)
		}
		l.servers.list = append(l.servers.list, s)
		l.servers.numbers[s.name] = number
	}
	return iter.Error()
}

func spaceBounds(space byte) *pebble.IterOptions {
	return &pebble.IterOptions{LowerBound: []byte{space}, UpperBound: []byte{space + 1}}
}
