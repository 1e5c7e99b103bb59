package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"

	"github.com/prometheus/client_golang/prometheus"

	"carillon/directory"
	"carillon/directory/location"
	"carillon/journal"
	"carillon/store"
)

// Report is what Verify has read, and what is wrong with it.
type Report struct {
	Files     int    // page files and manifests
	Pages     uint64 // in them
	Buckets   uint64
	Messages  uint64 // journal messages
	Series    int
	Locations int      // entries of the location directory
	Problems  []string // a line each
}

// Verify reads everything in a data directory that no server uses, and checks
// every checksum. An error means that it could not look; what it found wrong is
// in the report.
func Verify(ctx context.Context, dir string, progress func(stage string, done, total uint64)) (r Report, err error) {
	if _, err := os.Stat(dir); err != nil {
		return r, err
	}
	data, err := openDataDir(dir, nil)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, data.close()) }()
	partitions := data.identity.Partitions
	for i := range partitions {
		if err := r.verifyStore(data.store(i)); err != nil {
			return r, err
		}
		progress("checking page files", uint64(i+1), uint64(partitions))
	}
	quiet := slog.New(slog.DiscardHandler)
	r.verifyDirectory(data, quiet)
	if err := r.verifyLocations(data, quiet); err != nil {
		return r, err
	}
	return r, r.verifyJournal(ctx, data, quiet, progress)
}

func (r *Report) verifyStore(dir string) error {
	report, err := store.Verify(dir)
	if errors.Is(err, fs.ErrNotExist) { // nothing was sealed yet
		return nil
	}
	if err != nil {
		return err
	}
	r.Files += report.Files
	r.Pages += report.Pages
	r.Buckets += report.Buckets
	for _, p := range report.Problems {
		r.Problems = append(r.Problems, fmt.Sprintf("%s: %v", p.File, p.Err))
	}
	return nil
}

func (r *Report) verifyDirectory(data *dataDir, logger *slog.Logger) {
	d, err := directory.Open(data.directory(), data.identity.Partitions, directory.Caches{}, logger)
	if err != nil {
		r.Problems = append(r.Problems, err.Error())
		return
	}
	for i := range data.identity.Partitions {
		r.Series += d.Count(i)
	}
	if err := errors.Join(d.Verify(), d.Close()); err != nil {
		r.Problems = append(r.Problems, err.Error())
	}
}

// verifyLocations reads every entry, each of which has a checksum.
func (r *Report) verifyLocations(data *dataDir, logger *slog.Logger) error {
	if _, err := os.Stat(data.locations()); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	d, err := location.Open(location.Config{Dir: data.locations(), Logger: logger})
	if err != nil {
		r.Problems = append(r.Problems, err.Error())
		return nil
	}
	for cursor, more := "", true; more; more = cursor != "" {
		page, err := d.List(location.Filter{}, cursor, location.MaxList)
		if err != nil {
			r.Problems = append(r.Problems, err.Error())
			break
		}
		r.Locations += len(page.Entries)
		cursor = page.Next
	}
	return d.Close()
}

// errEnd ends the reading of a stream.
var errEnd = errors.New("end of the stream")

func (r *Report) verifyJournal(ctx context.Context, data *dataDir, logger *slog.Logger, progress func(string, uint64, uint64)) (err error) {
	if _, err := os.Stat(data.journal()); errors.Is(err, fs.ErrNotExist) { // an external one
		return nil
	}
	j, err := journal.Open(ctx, journal.Config{
		Dir: data.journal(), Partitions: data.identity.Partitions, Logger: logger, Registerer: prometheus.NewRegistry(),
	})
	if err != nil {
		r.Problems = append(r.Problems, err.Error())
		return nil
	}
	defer func() { err = errors.Join(err, j.Close()) }()
	first, last, err := j.Bounds(ctx)
	if err != nil || last < first {
		return err
	}
	r.Messages = last + 1 - first
	for i := range data.identity.Partitions {
		if err := r.verifyMessages(ctx, j, i, first, last); err != nil {
			return err
		}
		progress("checking the journal", uint64(i+1), uint64(data.identity.Partitions))
	}
	return nil
}

// verifyMessages reads what the journal holds for a partition.
func (r *Report) verifyMessages(ctx context.Context, j *journal.Journal, partition int, first, last uint64) error {
	var decoder journal.Decoder
	err := j.Read(ctx, partition, first, func(m journal.Message) error {
		err := m.Err
		for _, e := range m.Parts(&decoder) {
			err = errors.Join(err, e)
		}
		if err != nil {
			r.Problems = append(r.Problems, fmt.Sprintf("journal of partition %d, message %d: %v", partition, m.Sequence, err))
		}
		if m.Sequence >= last {
			return errEnd
		}
		return nil
	})
	if errors.Is(err, errEnd) {
		return nil
	}
	return err
}
