package store

import "time"

// Files are merged because a seal brings each series only a few buckets: strips that
// short take more bytes a bucket, and a query would have to look into many files. But
// whatever is merged is written again. So files of one tier, window and level become
// one of the next level when that makes strips of fullStrip buckets, which another
// merge would hardly make smaller; files with such strips are left alone. Before that,
// and after, only mergeMost of them are merged, which bounds how many there are.
//
// What is left of a window when it is over will hardly become more. Then its files with
// short strips become one, if that is at least twice as large as the largest of them: so
// the few data that still come late do not have all of it written again and again.
const (
	mergeLeast = 3
	mergeMost  = 64
	fullStrip  = 720 // buckets: two hours of 10 s

	leftAfter = 6 * time.Hour // behind the end of a window, and the rollup's delay
)

// stripBuckets is how many buckets a series of the file has.
func (f *file) stripBuckets() uint64 { return f.buckets / f.series }

// due finds neighbours of one window and level that are worth merging. Files of other
// windows may stand between them: they have no segment in common.
func due(files []*file) []*file {
	runs := make(map[int64]*mergeRun) // by window
	for _, f := range files {
		if f.damaged { // nothing is put in its place
			delete(runs, f.window)
			continue
		}
		run := runs[f.window]
		if run == nil {
			run = new(mergeRun)
			runs[f.window] = run
		}
		if run.add(f) {
			return run.files
		}
	}
	return nil
}

// mergeRun is neighbours that may become one file.
type mergeRun struct {
	files   []*file
	buckets uint64 // of a series
}

// add takes the next file, in place of the run if it does not belong to it, and tells
// whether the run is due.
func (r *mergeRun) add(f *file) bool {
	full := f.stripBuckets() >= fullStrip
	if len(r.files) > 0 {
		if first := r.files[0]; first.level != f.level || full != (first.stripBuckets() >= fullStrip) {
			*r = mergeRun{}
		}
	}
	r.files = append(r.files, f)
	r.buckets += f.stripBuckets()
	return len(r.files) == mergeMost || !full && len(r.files) >= mergeLeast && r.buckets >= fullStrip
}

// leftOver finds neighbours with short strips of a window that is over. They are alike, so
// that they become one file, never two: each time a bucket is written again its file
// becomes twice as large, and that comes to an end.
func (w *worker) leftOver(files []*file) []*file {
	over := w.now - (leftAfter + w.config.RollupDelay).Milliseconds()
	runs := make(map[int64][]*file) // by window
	for _, f := range files {
		if f.window+windowSegments*f.resolution > over {
			continue
		}
		run := runs[f.window]
		short := !f.damaged && f.stripBuckets() < fullStrip
		if len(run) > 0 && (!short || run[0].replaces != f.replaces) {
			if found := doubling(run); found != nil {
				return found
			}
			run = nil
		}
		if short {
			run = append(run, f)
		}
		runs[f.window] = run
	}
	for _, f := range files { // in their order: a map has none
		if found := doubling(runs[f.window]); found != nil {
			return found
		}
	}
	return nil
}

// doubling is neighbours among files that together are at least twice as large as the
// largest of them; nil if there are none.
func doubling(files []*file) []*file {
	for len(files) > 1 {
		run := files[:min(len(files), mergeMost)]
		largest, total := 0, int64(0)
		for i, f := range run {
			if total += f.size; f.size > run[largest].size {
				largest = i
			}
		}
		if total >= 2*run[largest].size {
			return run
		}
		if older := doubling(run[:largest]); older != nil {
			return older
		}
		files = files[largest+1:]
	}
	return nil
}
