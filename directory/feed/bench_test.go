package feed

import (
	"fmt"
	"testing"

	"carillon/directory/location"
)

// The server of these does not sync each message, the directory does.

func BenchmarkPropose(b *testing.B) {
	m := startSingle(b)
	for b.Loop() {
		m.do(b, location.Change{Op: location.NewID, Count: 1})
	}
}

func BenchmarkProposeTogether(b *testing.B) {
	m := startSingle(b)
	b.SetParallelism(64)
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			m.do(b, location.Change{Op: location.NewID, Count: 1})
		}
	})
}

func BenchmarkCurrent(b *testing.B) {
	m := startSingle(b)
	for _, callers := range []int{1, 64} {
		b.Run(fmt.Sprint(callers), func(b *testing.B) {
			b.SetParallelism(callers)
			b.RunParallel(func(p *testing.PB) {
				for p.Next() {
					if err := m.Current(b.Context()); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}
