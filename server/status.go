package server

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"runtime/metrics"
	"slices"
	"sync/atomic"
	"time"

	"github.com/prometheus/common/model"

	"carillon/directory"
	"carillon/journal"
	"carillon/partition"
	"carillon/receive"
	"carillon/rejects"
	"carillon/store"
)

// status answers GET /api/v1/status: the server's own health, for people and for
// the page.
type status struct {
	version    string
	started    time.Time
	now        func() time.Time
	tiers      []store.Tier
	journal    *journal.Journal
	directory  *directory.Directory
	partitions *partition.Set
	disk       *disk
	writer     *receive.Writer
	rejects    *rejects.Ledger
	notices    []string // what to know about the start, like a port that was taken
	cache      bool     // there is one, with a page of its own

	pointsPerSecond atomic.Uint64 // bits of a float64, written by watch
}

// rate measures points a second over the last rateWindow.
type rate struct {
	samples []rateSample // oldest first
}

type rateSample struct {
	at     time.Time
	points uint64
}

const (
	rateWindow  = time.Minute // several beats of the slowest senders
	rateSpacing = time.Second
)

// observe notes the total and returns the average over the window.
func (r *rate) observe(at time.Time, points uint64) float64 {
	for len(r.samples) > 1 && at.Sub(r.samples[0].at) > rateWindow {
		r.samples = slices.Delete(r.samples, 0, 1)
	}
	r.samples = append(r.samples, rateSample{at, points})
	first := r.samples[0]
	if elapsed := at.Sub(first.at).Seconds(); elapsed > 0 {
		return float64(points-first.points) / elapsed
	}
	return 0
}

// watch measures the rate until ctx ends.
func (s *status) watch(ctx context.Context) error {
	var r rate
	tick := time.NewTicker(rateSpacing)
	defer tick.Stop()
	for {
		s.pointsPerSecond.Store(math.Float64bits(r.observe(s.now(), s.points())))
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// points is how many came in since the start.
func (s *status) points() (total uint64) {
	for _, received := range s.writer.Received() {
		total += received.Points
	}
	return total
}

type statusAnswer struct {
	Version         string                `json:"version"`
	UptimeSeconds   float64               `json:"uptimeSeconds"`
	Series          int                   `json:"series"`
	Points          uint64                `json:"points"`
	PointsPerSecond float64               `json:"pointsPerSecond"`
	LagSeconds      float64               `json:"lagSeconds"`
	JournalBytes    int64                 `json:"journalBytes"`
	DirectoryBytes  int64                 `json:"directoryBytes"`
	MemoryBytes     uint64                `json:"memoryBytes"`
	Received        []receive.Received    `json:"received"`
	Spellings       receive.SpellingStats `json:"spellings"` // series known by the bytes they are sent as
	Rejected        uint64                `json:"rejected"`
	Repeated        uint64                `json:"repeated"` // parts of requests that were sent again, and counted once
	Dropped         []receive.Dropped     `json:"dropped"`
	Notices         []string              `json:"notices"`
	Cache           bool                  `json:"cache"`   // GET /api/v1/cache says more
	Aligned         map[string]uint64     `json:"aligned"` // points by what the quantizer made of them
	Tiers           []tierStatus          `json:"tiers"`
	Partitions      []partitionStatus     `json:"partitions"`
	Disk            diskStatus            `json:"disk"`
	Written         writtenStatus         `json:"written"`
}

// writtenStatus is the bytes of page files that were written since the start, by what for.
type writtenStatus struct {
	store.Written
	Amplification float64 `json:"amplification"` // all of them, for each that was sealed
}

type tierStatus struct {
	Resolution string `json:"resolution"`
	Retention  string `json:"retention"`
	Bytes      int64  `json:"bytes"`
	Files      int    `json:"files"`
	Buckets    uint64 `json:"buckets"`
	Oldest     *int64 `json:"oldest"` // milliseconds since the epoch; null without files
}

type partitionStatus struct {
	Partition    int    `json:"partition"`
	Series       int    `json:"series"`
	Acknowledged uint64 `json:"acknowledged"`
	Applied      uint64 `json:"applied"`
	Sealed       uint64 `json:"sealed"`
	HeadBuckets  int    `json:"headBuckets"`
	Corrupt      uint64 `json:"corrupt"` // journal messages that could not be decoded

	Activity         store.Activity `json:"activity"` // of the store's worker,
	ActivitySeconds  float64        `json:"activitySeconds"`
	RollupLagSeconds float64        `json:"rollupLagSeconds"`
	Waiting          string         `json:"waiting"`         // why a seal waits for room on the disk
	MergeWantsBytes  int64          `json:"mergeWantsBytes"` // room that files wait for to be merged
	Damages          []string       `json:"damages"`         // what could not be read in the background
}

// work adds what goes on behind the partition's store.
func (s *partitionStatus) work(now time.Time, work store.Work) {
	s.Activity, s.RollupLagSeconds, s.MergeWantsBytes = work.Activity, rollupLag(now, work), work.MergeWants
	if work.Since > 0 {
		s.ActivitySeconds = max(now.Sub(time.UnixMilli(work.Since)).Seconds(), 0)
	}
	if work.Waiting != nil {
		s.Waiting = work.Waiting.Error()
	}
	s.Damages = append([]string{}, work.Damages...)
}

func (s *status) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	now := s.now()
	a := statusAnswer{
		Version: s.version, UptimeSeconds: now.Sub(s.started).Seconds(),
		Points: s.points(), PointsPerSecond: math.Float64frombits(s.pointsPerSecond.Load()),
		DirectoryBytes: s.directory.Bytes(), MemoryBytes: memoryBytes(),
		Received: s.writer.Received(), Spellings: s.writer.Spellings(), Dropped: s.writer.Dropped(),
		Notices: slices.Clone(s.notices), Cache: s.cache, Aligned: make(map[string]uint64),
	}
	if a.Notices == nil {
		a.Notices = []string{}
	}
	for _, err := range []error{s.partitions.Err(), s.partitions.Replaying()} {
		if err != nil {
			a.Notices = append(a.Notices, err.Error())
		}
	}
	for _, e := range s.rejects.Entries() {
		a.Rejected += e.Count
	}
	var err error
	if a.JournalBytes, err = s.journal.Bytes(r.Context()); err != nil {
		a.Notices = append(a.Notices, err.Error())
	}
	s.partitionStatus(now, &a)
	a.Disk = s.disk.status()
	if a.Disk.Full != "" {
		a.Notices = append(a.Notices, "no points are accepted: "+a.Disk.Full)
	}
	for _, t := range a.Disk.DroppedEarly {
		a.Notices = append(a.Notices, fmt.Sprintf("tier %s is kept since %s only, for --disk-max",
			t.Resolution, time.UnixMilli(t.KeptSince).UTC().Format(time.RFC3339)))
	}
	writeJSON(w, a)
}

func (s *status) partitionStatus(now time.Time, a *statusAnswer) {
	for _, t := range s.tiers {
		a.Tiers = append(a.Tiers, tierStatus{
			Resolution: model.Duration(t.Resolution).String(), Retention: model.Duration(t.Retention).String(),
		})
	}
	for i, p := range s.partitions.Stats() {
		acknowledged := s.journal.Acknowledged()
		a.Series += p.Series
		a.Repeated += p.RepeatedParts
		if p.Applied < acknowledged && !p.AppliedAt.IsZero() {
			a.LagSeconds = max(a.LagSeconds, now.Sub(p.AppliedAt).Seconds())
		}
		for verdict, n := range p.Counts.ByReason() {
			a.Aligned[verdict] += n
		}
		a.Partitions = append(a.Partitions, partitionStatus{
			Partition: p.Number, Series: p.Series, Acknowledged: max(acknowledged, p.Applied),
			Applied: p.Applied, Sealed: p.Sealed, HeadBuckets: p.HeadBuckets, Corrupt: p.Corrupt,
		})
		work := s.disk.stores[i].Work()
		a.Partitions[i].work(now, work)
		a.Notices = append(a.Notices, work.Damages...)
		a.Written.Add(p.Written)
		for i, t := range p.Tiers {
			a.Tiers[i].add(t)
		}
	}
	a.Written.Amplification = a.Written.Written.Amplification()
}

func (t *tierStatus) add(s store.TierStats) {
	t.Bytes += s.Bytes
	t.Files += s.Files
	t.Buckets += s.Buckets
	if s.Files > 0 && (t.Oldest == nil || s.Oldest < *t.Oldest) {
		oldest := s.Oldest
		t.Oldest = &oldest
	}
}

// memoryBytes is what the Go runtime holds of the operating system's memory.
func memoryBytes() uint64 {
	samples := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(samples)
	return samples[0].Value.Uint64() - samples[1].Value.Uint64()
}

// serveRejects answers GET /api/v1/status/rejects.
func serveRejects(ledger *rejects.Ledger) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, struct {
			Status string          `json:"status"`
			Data   []rejects.Entry `json:"data"`
		}{"success", ledger.Entries()})
	}
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	// An error here is the client's connection: there is nobody to tell.
	_ = json.NewEncoder(w).Encode(v)
}
