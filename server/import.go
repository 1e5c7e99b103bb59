package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"carillon/importer"
	"carillon/journal"
	"carillon/series"
	"carillon/store"
)

// ImportConfig says where an import goes to.
type ImportConfig struct {
	Data       string       // the data directory, which no server may use; made if there is none
	Tiers      []store.Tier // as the server has them
	Partitions int          // of a new data directory
	DiskMax    int64        // as Config has it
	JournalURL string       // likewise
	Ledger     *importer.Ledger
	Logger     *slog.Logger
	Progress   func(stage string, done, total uint64)
}

// Import opens a data directory as a server would, but takes nothing in and drops nothing
// for its age; has work import into it; seals it and closes it.
//
// New series are defined through the journal, like those that a server is sent, after all
// that it held is applied: so a start that replays it gives them the same numbers.
func Import(ctx context.Context, c ImportConfig, work func(context.Context, *importer.Importer) error) (err error) {
	config, err := c.offline()
	if err != nil {
		return err
	}
	p, err := open(ctx, config)
	defer func() { err = errors.Join(err, p.close()) }()
	if err != nil {
		return err
	}
	stopLoops := p.startLoops(ctx)
	defer func() { err = errors.Join(err, stopLoops()) }()
	if err := p.replay(ctx, c.Progress); err != nil {
		return err
	}
	// What is in memory would lie between what is imported and what comes later.
	if err := p.partitions.Seal(ctx); err != nil {
		return fmt.Errorf("seal before the import: %w", err)
	}
	return errors.Join(work(ctx, p.importer(c)), p.seal())
}

// offline is the configuration that the directory is opened with.
func (c *ImportConfig) offline() (Config, error) {
	config, err := Offline(c.Data, c.Logger)
	if errors.Is(err, fs.ErrNotExist) {
		if err := emptyOrAbsent(c.Data); err != nil {
			return config, err
		}
		config.Partitions, err = c.Partitions, nil
		for _, t := range c.Tiers {
			config.Tiers = append(config.Tiers, store.Tier{Resolution: t.Resolution, Retention: store.LongestRetention(t.Resolution)})
		}
	}
	if err != nil {
		return config, err
	}
	if have, want := newIdentity(0, config.Tiers, time.Time{}).Tiers, newIdentity(0, c.Tiers, time.Time{}).Tiers; fmt.Sprint(have) != fmt.Sprint(want) {
		return config, fmt.Errorf("data directory %s holds tiers of %v, not of %v: say the --tiers that the server has", c.Data, have, want)
	}
	config.DiskMax, config.JournalURL, config.Progress = c.DiskMax, c.JournalURL, c.Progress
	return config, nil
}

// emptyOrAbsent is an error if a folder has something that is no data directory.
func emptyOrAbsent(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("data directory: %w", err)
	}
	if len(entries) > 0 {
		return fmt.Errorf("%s is no data directory: it has no %s, but %s", dir, IdentityName, filepath.Join(dir, entries[0].Name()))
	}
	return nil
}

func (p *parts) importer(c ImportConfig) *importer.Importer {
	return importer.New(importer.Config{
		Target: importer.Target{Stores: p.stores, Lookup: p.directory.Lookup, KindOf: p.directory.KindOf, Define: p.define},
		Tiers:  c.Tiers, Now: time.Now(), Ledger: c.Ledger, Progress: c.Progress,
	})
}

// define has the journal define series and describe families, and waits until that is
// applied.
func (p *parts) define(ctx context.Context, definitions []series.Definition, metadata []series.Metadata) error {
	parts := make([]*journal.Part, p.data.identity.Partitions)
	var news []series.Metadata
	for _, m := range metadata {
		if !p.directory.Known(m) {
			news = append(news, m)
		}
	}
	for i := range parts {
		parts[i] = &journal.Part{Metadata: news}
	}
	for _, d := range definitions {
		part := parts[d.Key.Partition(len(parts))]
		part.Definitions = append(part.Definitions, d)
	}
	if err := p.journal.Append(ctx, parts); err != nil {
		return fmt.Errorf("defining %d series: %w", len(definitions), err)
	}
	_, err := p.partitions.Settle(ctx)
	return err
}
