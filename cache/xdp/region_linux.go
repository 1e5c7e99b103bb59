//go:build linux && (amd64 || arm64 || riscv64)

package xdp

import (
	"errors"
	"fmt"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// Region is memory that Go writes and the program reads: the pages of a map of the
// kernel, mapped one after the other. All of it is taken from the machine at once.
//
// Only the first call of Close may come while others use a Region; and nobody may
// use Words after it.
type Region struct {
	pages  *ebpf.Map // named in kernel/region.h
	memory []byte    // mapped
	grace  *ebpf.Map // a map of maps, of which nothing is wanted but the wait that its update is
	inner  *ebpf.Map
}

// NewRegion makes a zeroed region of at least as many bytes: whole pages.
func NewRegion(bytes int64) (*Region, error) {
	count := (bytes + PageBytes - 1) / PageBytes
	if count < 1 || count > 1<<20 {
		return nil, fmt.Errorf("%w: a region of %d bytes", ErrConfig, bytes)
	}
	r := new(Region)
	if err := r.open(count); err != nil {
		return nil, errors.Join(fmt.Errorf("xdp: region of %d MiB: %w", count*PageBytes>>20, explain(err)), r.Close())
	}
	return r, nil
}

func (r *Region) open(count int64) (err error) {
	r.pages, err = ebpf.NewMap(&ebpf.MapSpec{
		Name: "carillon_cache", Type: ebpf.Array, Flags: unix.BPF_F_MMAPABLE,
		KeySize: 4, ValueSize: PageBytes, MaxEntries: uint32(count),
	})
	if err != nil {
		return err
	}
	r.memory, err = unix.Mmap(r.pages.FD(), 0, int(count*PageBytes), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	inner := &ebpf.MapSpec{Name: "carillon_turn", Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1}
	r.inner, err = ebpf.NewMap(inner)
	if err != nil {
		return err
	}
	r.grace, err = ebpf.NewMap(&ebpf.MapSpec{
		Name: "carillon_grace", Type: ebpf.ArrayOfMaps, KeySize: 4, ValueSize: 4, MaxEntries: 1, InnerMap: inner,
	})
	return err
}

// Words is the region as words. The kernel gave the memory page-aligned and in whole
// pages, words have no pointers, and any bytes are valid words; the region keeps the
// bytes only to unmap them. Go has no way but unsafe to see bytes as words, and
// words are what atomic operations need.
func (r *Region) Words() []uint64 {
	return unsafe.Slice((*uint64)(unsafe.Pointer(unsafe.SliceData(r.memory))), len(r.memory)/8)
}

// Wait returns when every run of a program that was under way has ended: what user
// space took out of the index before is seen by nobody any more. It takes up to some
// tens of milliseconds and hardly any work, so many items should share one.
//
// It updates a map of maps, for which the kernel promises just that (commit
// 1ae80cf31938 of Linux 4.20). membarrier(MEMBARRIER_CMD_GLOBAL) takes as long,
// promises less, and is refused where nohz_full is on.
func (r *Region) Wait() error {
	if err := r.grace.Put(uint32(0), r.inner); err != nil {
		return fmt.Errorf("xdp: wait for running programs: %w", err)
	}
	return nil
}

// Close gives the memory back.
func (r *Region) Close() error {
	var unmapped error
	if r.memory != nil {
		unmapped = unix.Munmap(r.memory)
		r.memory = nil
	}
	return errors.Join(unmapped, r.pages.Close(), r.grace.Close(), r.inner.Close())
}
