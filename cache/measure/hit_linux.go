//go:build linux && (amd64 || arm64 || riscv64)

package measure

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"

	"carillon/cache"
	"carillon/cache/xdp"
	"carillon/cache/xdp/lab"
	"carillon/figure"
)

// hit is the time that the kernel program takes for a GET, by test runs in this process.
func (r *run) hit(context.Context) (_ []figure.Figure, err error) {
	region, err := xdp.NewRegion(64 << 20)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, region.Close()) }()
	c, err := cache.New(region.Words(), cache.Config{Seed: r.Seed, Grace: region})
	if err != nil {
		return nil, err
	}
	defer c.Close()
	for n := range uint32(udpItems) {
		c.Store(cache.Write{Key: small.key(nil, n), Value: small.value(nil, n, 0)})
	}
	server := netip.AddrPortFrom(lab.Server4, 11211)
	program, err := xdp.Load(region, xdp.Config{
		Interface: "lo", Addresses: []netip.Addr{server.Addr()}, Port: server.Port(),
		Allow: []netip.Prefix{netip.PrefixFrom(lab.Client4, 24)}, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, program.Close()) }()
	times, err := r.timeHits(program, server)
	if err != nil {
		return nil, err
	}
	return []figure.Figure{{
		ID: "cache.xdp_hit_ns", Value: median(times), Unit: "ns", Better: figure.Lower, Goal: 150, Floor: 250,
		Note: fmt.Sprintf("best of %d rounds %.0f; 20-byte key and value, without a driver", len(times), slices.Min(times)),
	}}, nil
}

func (r *run) timeHits(program *xdp.Program, server netip.AddrPort) (times []float64, err error) {
	const number = udpItems / 2
	client := netip.AddrPortFrom(lab.Client4, clientPort)
	frame, err := lab.Frame4(client, server, append(small.key([]byte("\x00\x07\x00\x00\x00\x01\x00\x00get "), number), "\r\n"...))
	if err != nil {
		return nil, err
	}
	reply, answered, err := program.Run(frame)
	if err != nil {
		return nil, err
	}
	if err := small.checkFrame(reply, server); err != nil || !answered {
		return nil, errors.Join(err, ErrWrongAnswer)
	}
	l, err := lab.Load(lab.Request{Frame: frame})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	rounds := uint64(5 * r.Scale.Rounds)
	for round := range rounds {
		r.Progress("the program's time", round, rounds)
		took, err := l.Measure(program.Kernel(), r.Scale.HitRuns/5)
		if err != nil {
			return nil, err
		}
		times = append(times, float64(took))
	}
	r.Progress("the program's time", rounds, rounds)
	return times, nil
}
