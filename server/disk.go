package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/common/model"
	"golang.org/x/sys/unix"

	"carillon/bucket"
	"carillon/partition"
	"carillon/pause"
	"carillon/rejects"
	"carillon/store"
)

// MinDiskMax is the least that --disk-max may be: below, what the databases and the
// journal need for themselves leaves no room for data.
const MinDiskMax = 48 << 20

const (
	lookEvery     = time.Second // at the disk
	minLookWait   = 100 * time.Millisecond
	fullLookEvery = 15 // without a cap the directory is summed up at every so many looks

	// What is written without asking: a database's next log and the tables of its
	// memory, JetStream's rewriting of a block that is half trimmed, and manifests.
	databaseBytes      = 4 << 20
	maxCompactionBytes = 128 << 20 // a database is rewritten in parts of that at most
	journalBlockBytes  = 8 << 20
	manifestsBytes     = 1 << 20

	// What sealing needs is estimated, on the safe side of noise that does not compress.
	// Should that be too little, the seal is tried again, and the estimate grows with
	// each try up to the worst case.
	sealedBucketBytes = 12
	worstBucketBytes  = 48
	storeOutputBytes  = 512 << 10 // that a store reserves ahead, and the ends of its files

	maxMergeShare = 8 // files are dropped for a merge of at most one part in so many of the cap
)

// disk watches over what the data directory takes: it keeps the room up to date, drops
// the oldest files when --disk-max leaves no room, and says so.
type disk struct {
	data       *dataDir
	max        int64 // 0: as much as there is
	room       *room
	tiers      []store.Tier
	stores     []*store.Store
	partitions *partition.Set
	rejects    *rejects.Ledger
	logger     *slog.Logger
	now        func() time.Time

	mu      sync.Mutex
	used    usage           // guarded by mu, as are the next two
	free    int64           // on the file system
	dropped []store.Dropped // by tier, over all partitions: what was announced
	refused bool            // the watching goroutine's: nothing was accepted at the last look
}

// usage is how many bytes the parts of a data directory take.
type usage struct {
	Directory int64 `json:"directory"` // both databases
	Journal   int64 `json:"journal"`
	Store     int64 `json:"store"`
	Other     int64 `json:"other"`
}

func (u usage) total() int64 { return u.Directory + u.Journal + u.Store + u.Other }

// watch looks until ctx ends: every so often, and soon after somebody was refused.
func (d *disk) watch(ctx context.Context) error {
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(lookEvery):
		case <-d.room.wake:
			if pause.For(ctx, minLookWait) != nil {
				return nil
			}
		}
		if err := d.look(d.max > 0 || n%fullLookEvery == 0); err != nil {
			d.logger.Warn("what the data directory takes is not known", "error", err)
		}
	}
}

// look finds out what is there, and makes room if the cap leaves too little.
func (d *disk) look(sum bool) error {
	written := d.room.begin()
	used := d.usage()
	if sum {
		var err error
		if used, err = measure(d.data.path); err != nil {
			return err
		}
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(d.data.path, &fs); err != nil {
		return fmt.Errorf("free space of %s: %w", d.data.path, err)
	}
	free := int64(fs.Bavail) * int64(fs.Bsize) // their types differ by platform
	d.mu.Lock()
	d.used, d.free = used, free
	d.mu.Unlock()

	o := outlook{limit: free, headroom: headroom(used), sealing: d.sealing()}
	if d.max > 0 {
		o.measured, o.limit = used.total(), used.total()+free
		o.capped = d.max <= o.limit
		o.limit = min(o.limit, d.max)
		o.journal, o.share = used.Journal, (o.limit-o.headroom)/2
	}
	d.room.looked(written, o)
	d.partitions.Press(d.room.refused() != nil || d.max > 0 && used.Journal > o.share/2)
	if o.capped {
		d.drop()
	}
	d.announce()
	return nil
}

// headroom is for what is written without asking.
func headroom(used usage) int64 {
	return 2*databaseBytes + min(used.Directory, 2*maxCompactionBytes) + journalBlockBytes + manifestsBytes
}

// sealing estimates what will be written to seal all that is in memory, and to roll up
// what is not yet.
func (d *disk) sealing() (bytes int64) {
	stats := d.partitions.Stats()
	for i, s := range d.stores {
		work := s.Work()
		each := min(sealedBucketBytes+int64(max(work.Tries-1, 0))*sealedBucketBytes/4, worstBucketBytes)
		bytes += int64(stats[i].HeadBuckets+work.Frozen)*each + work.Unrolled*3/4 + storeOutputBytes
	}
	return bytes
}

// drop lets go of the oldest files of the finest tier, then of the next one, and so on,
// if there is too little room.
func (d *disk) drop() {
	var merge int64
	for _, s := range d.stores {
		merge = max(merge, s.Work().MergeWants)
	}
	if merge > d.max/maxMergeShare {
		merge = 0
	}
	now := d.now().UnixMilli()
	beat := d.tiers[len(d.tiers)-1].Resolution.Milliseconds()
	need := d.room.short(2*minRoomBytes + merge)
	for tier := range d.tiers {
		var ages []store.Aged
		for _, s := range d.stores {
			aged, going := s.Ages(tier)
			ages = append(ages, aged...)
			need -= going
		}
		if need <= 0 {
			return
		}
		before, frees := store.PlanDrop(ages, beat, need, bucket.Floor(now, beat))
		if frees == 0 {
			continue
		}
		for _, s := range d.stores {
			s.DropBefore(tier, before, now)
		}
		need -= frees
	}
}

// announce says what was dropped since it was last said, and when acceptance stops and
// goes on.
func (d *disk) announce() {
	dropped := d.sumDropped()
	d.mu.Lock()
	before := d.dropped
	d.dropped = dropped
	d.mu.Unlock()
	for tier, is := range dropped {
		was := store.Dropped{}
		if tier < len(before) {
			was = before[tier]
		}
		if is.Files == was.Files {
			continue
		}
		name := model.Duration(d.tiers[tier].Resolution).String()
		since := time.UnixMilli(is.Before).UTC().Format(time.RFC3339)
		d.logger.Warn("the disk is at its cap: the oldest data were dropped before their time", "tier", name,
			"kept since", since, "files", is.Files-was.Files, "bytes", is.Bytes-was.Bytes, "max", d.max)
		d.rejects.Add("store", "dropped_early", int(is.Buckets-was.Buckets), rejects.Sample{
			Input: "tier " + name,
			Detail: fmt.Sprintf("kept since %s; %d files of %s went to keep --disk-max %s",
				since, is.Files-was.Files, formatBytes(is.Bytes-was.Bytes), formatBytes(d.max)),
		})
	}
	refused := d.room.refused()
	switch {
	case refused != nil && !d.refused:
		d.logger.Warn("no more points are accepted until there is room again", "reason", refused)
	case refused == nil && d.refused:
		d.logger.Info("there is room again; points are accepted")
	}
	d.refused = refused != nil
}

func (d *disk) sumDropped() []store.Dropped {
	sum := make([]store.Dropped, len(d.tiers))
	for _, s := range d.stores {
		for tier, of := range s.Dropped() {
			sum[tier].Before = max(sum[tier].Before, of.Before)
			sum[tier].Files += of.Files
			sum[tier].Bytes += of.Bytes
			sum[tier].Buckets += of.Buckets
		}
	}
	return sum
}

func (d *disk) usage() usage {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.used
}

// diskStatus is the disk in GET /api/v1/status.
type diskStatus struct {
	MaxBytes     int64         `json:"maxBytes"` // --disk-max; 0 for none
	Bytes        int64         `json:"bytes"`    // all of the data directory
	Parts        usage         `json:"parts"`
	FreeBytes    int64         `json:"freeBytes"` // on the file system
	Full         string        `json:"full"`      // why no points are accepted; empty if they are
	DroppedEarly []droppedTier `json:"droppedEarly"`
}

// droppedTier is what --disk-max cost a tier since the start.
type droppedTier struct {
	Resolution string `json:"resolution"`
	KeptSince  int64  `json:"keptSince"` // milliseconds since the epoch
	Files      int    `json:"files"`
	Bytes      int64  `json:"bytes"`
	Buckets    uint64 `json:"buckets"`
}

func (d *disk) status() diskStatus {
	d.mu.Lock()
	a := diskStatus{MaxBytes: d.max, Bytes: d.used.total(), Parts: d.used, FreeBytes: d.free, DroppedEarly: []droppedTier{}}
	dropped := slices.Clone(d.dropped)
	d.mu.Unlock()
	if err := d.room.refused(); err != nil {
		a.Full = err.Error()
	}
	for tier, of := range dropped {
		if of.Files > 0 {
			a.DroppedEarly = append(a.DroppedEarly, droppedTier{
				model.Duration(d.tiers[tier].Resolution).String(), of.Before, of.Files, of.Bytes, of.Buckets,
			})
		}
	}
	return a
}

// measure sums up what the files and folders of a data directory take of the disk,
// each once however many names it has. What goes while it looks is left out.
func measure(dir string) (used usage, err error) {
	linked := make(map[uint64]bool) // inodes that were seen, of files with several names
	err = filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		var stat unix.Stat_t
		if err == nil {
			err = unix.Lstat(path, &stat)
		}
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("measuring %s: %w", path, err)
		}
		if stat.Mode&unix.S_IFMT == unix.S_IFREG && stat.Nlink > 1 {
			if linked[stat.Ino] {
				return nil
			}
			linked[stat.Ino] = true
		}
		used.add(strings.TrimPrefix(path, dir), max(stat.Size, stat.Blocks*512))
		return nil
	})
	return used, err
}

func (u *usage) add(path string, bytes int64) {
	part, _, _ := strings.Cut(strings.TrimPrefix(path, string(filepath.Separator)), string(filepath.Separator))
	switch part {
	case directoryName, locationsName:
		u.Directory += bytes
	case journalName:
		u.Journal += bytes
	case storeName:
		u.Store += bytes
	default:
		u.Other += bytes
	}
}
