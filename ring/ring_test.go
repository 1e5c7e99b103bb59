package ring

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"sync"
	"testing"

	"pgregory.net/rapid"
)

// Both rings are a bounded queue, whatever is done to them in one goroutine.
func TestModel(t *testing.T) {
	t.Run("SPSC", rapid.MakeCheck(func(t *rapid.T) {
		bell := NewBell()
		r := NewSPSC[int](rapid.IntRange(1, 9).Draw(t, "capacity"), &bell)
		model(t, len(r.slots), func(v []int) int { return r.Push(v...) }, r.Pop)
		if !r.Empty() {
			t.Fatal("it is not empty")
		}
	}))
	t.Run("MPSC", rapid.MakeCheck(func(t *rapid.T) {
		r := NewMPSC[int](rapid.IntRange(1, 9).Draw(t, "capacity"))
		model(t, len(r.slots), func(values []int) int {
			for i, v := range values {
				if err := r.Push(v); errors.Is(err, ErrFull) {
					return i
				} else if err != nil {
					t.Fatal(err)
				}
			}
			return len(values)
		}, r.Pop)
	}))
}

func model(t *rapid.T, capacity int, push func([]int) int, pop func([]int) int) {
	var want []int
	next := 0
	take := func(n int) {
		got := make([]int, n)
		got = got[:pop(got)]
		expected := want[:min(n, len(want))]
		if !slices.Equal(got, expected) {
			t.Fatalf("took %v, want %v", got, expected)
		}
		want = want[len(expected):]
	}
	t.Repeat(map[string]func(*rapid.T){
		"push": func(t *rapid.T) {
			var values []int
			for range rapid.IntRange(0, 12).Draw(t, "values") {
				values = append(values, next)
				next++
			}
			n := push(values)
			if n != min(len(values), capacity-len(want)) {
				t.Fatalf("%d of %d values went into a ring of %d that held %d", n, len(values), capacity, len(want))
			}
			want = append(want, values[:n]...)
		},
		"pop": func(t *rapid.T) { take(rapid.IntRange(0, 12).Draw(t, "room")) },
	})
	take(len(want))
}

// What was taken is no longer held by the ring.
func TestTakenValuesAreFree(t *testing.T) {
	bell := NewBell()
	one, many := NewSPSC[*int](2, &bell), NewMPSC[*int](2)
	one.Push(new(int))
	if err := many.Push(new(int)); err != nil {
		t.Fatal(err)
	}
	if one.Pop(make([]*int, 2)) != 1 || many.Pop(make([]*int, 2)) != 1 {
		t.Fatal("a value is missing")
	}
	if one.slots[0] != nil || many.slots[0].value != nil {
		t.Error("a ring still refers to what was taken")
	}
}

// One goroutine puts, one takes, both sleep when they must: all comes, in order.
func TestSPSCInOrder(t *testing.T) {
	const values = 100_000
	for _, capacity := range []int{1, 2, 64} {
		bell := NewBell()
		r := NewSPSC[int](capacity, &bell)
		go func() {
			for i := range values {
				if err := r.Put(context.Background(), i); err != nil {
					t.Error(err)
				}
			}
		}()
		batch := make([]int, 7)
		for next := 0; next < values; {
			n := r.Pop(batch)
			if n == 0 {
				if woken := bell.Listen(); r.Empty() {
					<-woken
				}
			}
			for _, v := range batch[:n] {
				if v != next {
					t.Fatalf("capacity %d: took %d, want %d", capacity, v, next)
				}
				next++
			}
		}
	}
}

func TestPutEndsWithItsContext(t *testing.T) {
	bell := NewBell()
	r := NewSPSC[int](1, &bell)
	ctx, cancel := context.WithCancel(context.Background())
	if err := r.Put(ctx, 1); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	go func() { ended <- r.Put(ctx, 2) }()
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

// Many goroutines put and the ring is closed under them: what was accepted comes,
// each producer's values in order, and then the end.
func TestMPSCDeliversWhatItAccepted(t *testing.T) {
	const producers, each = 8, 20_000
	for _, capacity := range []int{2, 64} {
		r := NewMPSC[[2]int](capacity)
		var accepted [producers]int
		var all sync.WaitGroup
		for p := range producers {
			all.Go(func() {
				for i := 0; i < each; {
					switch err := r.Push([2]int{p, i}); {
					case err == nil:
						i++
						accepted[p] = i
					case errors.Is(err, ErrClosed):
						return
					default:
						runtime.Gosched()
					}
				}
			})
		}
		var got [producers]int
		batch := make([][2]int, 5)
		for taken := 0; ; {
			n := r.Wait(batch, nil)
			if n == 0 {
				break
			}
			for _, v := range batch[:n] {
				if v[1] != got[v[0]] {
					t.Fatalf("of producer %d came %d, want %d", v[0], v[1], got[v[0]])
				}
				got[v[0]]++
			}
			if taken += n; taken > producers*each/2 {
				r.Close()
			}
		}
		all.Wait()
		if got != accepted {
			t.Errorf("capacity %d: accepted %v, delivered %v", capacity, accepted, got)
		}
		if err := r.Push([2]int{}); !errors.Is(err, ErrClosed) {
			t.Errorf("push after close: %v", err)
		}
	}
}

func TestCloseWakesTheConsumer(t *testing.T) {
	r := NewMPSC[int](4)
	ended := make(chan int)
	go func() { ended <- r.Wait(make([]int, 1), nil) }()
	r.Close()
	r.Close()
	if n := <-ended; n != 0 {
		t.Errorf("took %d values of an empty ring", n)
	}
}

func TestNothingIsAllocated(t *testing.T) {
	bell := NewBell()
	one, many := NewSPSC[int](16, &bell), NewMPSC[int](16)
	batch := make([]int, 4)
	if n := testing.AllocsPerRun(100, func() {
		one.Push(1, 2, 3)
		one.Pop(batch)
		if err := many.Push(1); err != nil {
			t.Fatal(err)
		}
		many.Wait(batch, nil)
	}); n != 0 {
		t.Errorf("%g allocations", n)
	}
}

func BenchmarkSPSC(b *testing.B) {
	bell := NewBell()
	r := NewSPSC[int](1024, &bell)
	go func() {
		for i := range b.N {
			_ = r.Put(context.Background(), i)
		}
	}()
	batch := make([]int, 64)
	for taken := 0; taken < b.N; {
		n := r.Pop(batch)
		if taken += n; n == 0 {
			if woken := bell.Listen(); r.Empty() {
				<-woken
			}
		}
	}
}

func BenchmarkMPSC(b *testing.B) {
	r := NewMPSC[int](1024)
	b.SetParallelism(4)
	done := make(chan int)
	go func() {
		batch, taken := make([]int, 64), 0
		for n := r.Wait(batch, nil); n > 0; n = r.Wait(batch, nil) {
			taken += n
		}
		done <- taken
	}()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			for r.Push(1) != nil {
				runtime.Gosched()
			}
		}
	})
	r.Close()
	if taken := <-done; taken != b.N {
		b.Fatalf("took %d of %d", taken, b.N)
	}
}

// BenchmarkChannel is what the rings replace.
func BenchmarkChannel(b *testing.B) {
	c := make(chan int, 1024)
	go func() {
		for i := range b.N {
			c <- i
		}
	}()
	for range b.N {
		<-c
	}
}
