package pack

import (
	"bytes"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"carillon/object"
	"carillon/object/backend"
	"carillon/object/conformance"
	"carillon/object/file"
)

// benchmarkPuts measures objects a second, 32 writers, 10 KB each, on the disk of the temporary folder.
func benchmarkPuts(b *testing.B, s object.Store) {
	const writers, size = 32, 10_000
	content := conformance.Content(size, 1)
	b.SetBytes(size)
	b.ResetTimer()
	var next atomic.Int64
	var all sync.WaitGroup
	for range writers {
		all.Go(func() {
			for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
				name := fmt.Sprintf("bench/%012d", i)
				if _, err := s.Put(b.Context(), name, bytes.NewReader(content), object.Put{Version: conformance.V(1), Size: size}); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "objects/s")
	b.StopTimer()
	if err := s.Close(); err != nil {
		b.Error(err)
	}
}

// BenchmarkPut: object.pack_ratio is pack/always over file/always, object.sync_ratio is pack/always over pack/none.
func BenchmarkPut(b *testing.B) {
	for _, policy := range []backend.Sync{backend.SyncAlways, backend.SyncNone} {
		b.Run("pack/"+policy.String(), func(b *testing.B) {
			s, err := Open(Config{Dir: b.TempDir(), Sync: policy, Logger: quiet()})
			if err != nil {
				b.Fatal(err)
			}
			benchmarkPuts(b, s)
		})
		b.Run("file/"+policy.String(), func(b *testing.B) {
			s, err := file.Open(file.Config{Dir: b.TempDir(), Sync: policy, Logger: quiet()})
			if err != nil {
				b.Fatal(err)
			}
			benchmarkPuts(b, s)
		})
	}
}

func BenchmarkGet(b *testing.B) {
	const objects, size = 1000, 10_000
	s, err := Open(Config{Dir: b.TempDir(), Logger: quiet()})
	if err != nil {
		b.Fatal(err)
	}
	content := conformance.Content(size, 1)
	names := make([]string, objects)
	for i := range names {
		names[i] = fmt.Sprint("get/", i)
		if _, err := s.Put(b.Context(), names[i], bytes.NewReader(content), object.Put{Version: conformance.V(1), Size: size}); err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(size)
	b.ReportAllocs()
	var into bytes.Buffer
	for i := 0; b.Loop(); i++ {
		body, err := s.Get(b.Context(), names[i%objects], object.Get{})
		if err != nil {
			b.Fatal(err)
		}
		into.Reset()
		if _, err := into.ReadFrom(body); err != nil {
			b.Fatal(err)
		}
		_ = body.Close()
	}
	if err := s.Close(); err != nil {
		b.Error(err)
	}
}

// BenchmarkFigures measures object.pack_ratio and object.sync_ratio in turns of a few thousand objects, so that whatever
// else the machine does falls on all sides.
func BenchmarkFigures(b *testing.B) {
	const turns, writers, size = 6, 32, 10_000
	content := conformance.Content(size, 1)
	round := 0
	spent := func(s object.Store, objects int64) float64 {
		round++
		begun := time.Now()
		var next atomic.Int64
		var all sync.WaitGroup
		for range writers {
			all.Go(func() {
				for i := next.Add(1); i <= objects; i = next.Add(1) {
					if _, err := s.Put(b.Context(), fmt.Sprint(round, "/", i), bytes.NewReader(content), object.Put{Version: conformance.V(1), Size: size}); err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
		all.Wait()
		return time.Since(begun).Seconds() / float64(objects)
	}
	open := func(policy backend.Sync) object.Store {
		s, err := Open(Config{Dir: b.TempDir(), Sync: policy, Logger: quiet()})
		if err != nil {
			b.Fatal(err)
		}
		return s
	}
	files, err := file.Open(file.Config{Dir: b.TempDir(), Logger: quiet()})
	if err != nil {
		b.Fatal(err)
	}
	always, none := open(backend.SyncAlways), open(backend.SyncNone)
	var perFile, perAlways, perNone float64
	for b.Loop() {
		for range turns {
			perFile += spent(files, 500)
			perAlways += spent(always, 5000)
			perNone += spent(none, 5000)
		}
	}
	b.ReportMetric(perFile/perAlways, "pack_ratio")
	b.ReportMetric(perNone/perAlways, "sync_ratio")
	for _, s := range []object.Store{files, always, none} {
		if err := s.Close(); err != nil {
			b.Error(err)
		}
	}
}
