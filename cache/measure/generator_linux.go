//go:build linux && (amd64 || arm64 || riscv64)

package measure

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"time"

	"carillon/cache/xdp/lab"
	"carillon/peer"
)

const (
	clientPort  = 40_000
	mostLost    = 0.05                  // of paced requests: more, and what is measured is a server that is overrun
	mostFlooded = 0.95                  // of requests as fast as can be, of which a busy machine loses many
	mostWrong   = 0.02                  // of the replies by which a share may differ
	settlesFor  = 20 * time.Millisecond // without a reply, then none comes any more
	settlesLast = 100                   // times that, at most
	pacedBurst  = 128                   // requests, then a pause
	pacedSecond = 50_000                // requests, at first
	slowest     = 1_000
	floodBurst  = 8192    // requests of a mix, then its changes
	floodAtOnce = 500_000 // until it may be interrupted
)

// generator makes GETs of items for a contestant inside the kernel, and takes the replies there. It
// sends on whatever is answered: to a program in the kernel as fast as it can, to a socket
// at a pace that all of them can keep.
type generator struct {
	contestant
	site   *site
	lab    *lab.Lab
	items  items
	values float64 // which share of the replies must be values
	pace   int     // requests a second, for a socket: halved when too many are lost
}

// newGenerator makes one that draws from count items, of which those from there on are absent.
func (s *site) newGenerator(c contestant, i items, count, there uint32, seed uint64) (*generator, error) {
	command := append(i.key([]byte("\x00\x07\x00\x00\x00\x01\x00\x00get "), 0), "\r\n"...)
	frame, err := lab.Frame4(netip.AddrPortFrom(lab.Client4, clientPort), c.at, command)
	if err != nil {
		return nil, err
	}
	random := rand.New(rand.NewPCG(seed, 0))
	keys := make([]uint32, lab.MaxKeys)
	values := 0
	for k := range keys {
		keys[k] = random.Uint32N(count)
		if keys[k] < there {
			values++
		}
	}
	l, err := lab.Load(lab.Request{
		Frame: frame, Check: lab.CheckAt, Keys: keys, Number: bytes.Index(frame, []byte(keyPrefix)) + len(keyPrefix),
	})
	if err != nil {
		return nil, err
	}
	return &generator{c, s, l, i, float64(values) / float64(len(keys)), pacedSecond}, nil
}

// attach puts the sink at the client's end: for frames, or for packets if a socket answers.
func (g *generator) attach() error {
	return g.site.pair.Client.Do(func() error {
		if g.name == inKernel {
			return g.lab.Sink(lab.ClientInterface)
		}
		return g.lab.SinkPackets(lab.ClientInterface)
	})
}

// alone is a trial without a server: requests leave from its end, straight into the sink, which is
// what generator and sink cost. The sink for packets needs another program in front then,
// that has packets made of frames; that spares memcached a little more than it should.
func (g *generator) alone(send func(from end) (trial, error)) (trial, error) {
	if g.name != inKernel {
		err := g.site.pair.Client.Do(func() error { return g.lab.Open(lab.ClientInterface) })
		if err != nil {
			return trial{}, err
		}
	}
	t, err := send(g.site.server())
	if err == nil && g.tooFew(t.replies.Others, t.requests) {
		err = fmt.Errorf("only %d of %d requests went straight into the sink", t.replies.Others, t.requests)
	}
	drop := func([]byte) error { return nil } // samples, which are no replies
	return t, errors.Join(err, g.lab.Samples(drop), g.lab.Detach())
}

// end is where requests leave, or arrive.
type end struct {
	namespace *lab.Namespace
	device    string
}

func (s *site) client() end { return end{s.pair.Client, lab.ClientInterface} }
func (s *site) server() end { return end{s.pair.Server, lab.ServerInterface} }

// trial is what became of requests.
type trial struct {
	requests uint64
	replies  lab.Replies
	took     time.Duration
	spent    spent
}

// try counts what becomes of the requests that send sends, and what it takes.
func (g *generator) try(send func() error) (t trial, err error) {
	made, err := g.lab.Made()
	if err != nil {
		return t, err
	}
	received, err := g.lab.Received()
	if err != nil {
		return t, err
	}
	before, err := g.site.machine.spent()
	if err != nil {
		return t, err
	}
	began := time.Now()
	if err := send(); err != nil {
		return t, err
	}
	t.took = time.Since(began)
	madeThen, err := g.lab.Made()
	if err != nil {
		return t, err
	}
	t.requests = madeThen - made
	receivedThen, err := g.settle(received, t.requests)
	if err != nil {
		return t, err
	}
	t.replies = receivedThen.Less(received)
	after, err := g.site.machine.spent()
	t.spent = after.less(before)
	return t, err
}

// settle waits until every request has a reply, or no more come.
func (g *generator) settle(before lab.Replies, requests uint64) (now lab.Replies, err error) {
	tick := time.NewTicker(settlesFor)
	defer tick.Stop()
	last := uint64(0)
	for range settlesLast {
		if now, err = g.lab.Received(); err != nil {
			return now, err
		}
		if got := now.Less(before).All(); got >= requests || got == last && got > 0 {
			return now, nil
		} else {
			last = got
		}
		<-tick.C
	}
	return now, nil
}

// flood sends requests from all processors as fast as they can.
func (g *generator) flood(ctx context.Context, from end, requests uint32) (trial, error) {
	return g.try(func() error {
		for sent := uint32(0); sent < requests && ctx.Err() == nil; sent += floodAtOnce {
			if _, err := g.lab.Flood(from.namespace, from.device, min(floodAtOnce, requests-sent)); err != nil {
				return err
			}
		}
		return ctx.Err()
	})
}

// paced sends requests for some time, in bursts.
func (g *generator) paced(ctx context.Context, from end, lasts time.Duration) (trial, error) {
	return g.try(func() error {
		return from.namespace.Do(func() error {
			began := time.Now()
			for sent := 0; time.Since(began) < lasts && ctx.Err() == nil; sent += pacedBurst {
				due := began.Add(time.Duration(sent) * time.Second / time.Duration(g.pace))
				time.Sleep(time.Until(due))
				if err := g.lab.Generate(from.device, pacedBurst); err != nil {
					return err
				}
			}
			return ctx.Err()
		})
	})
}

// tooFew tells whether more was lost on the way than may be.
func (g *generator) tooFew(arrived, sent uint64) bool {
	most := mostLost
	if g.name == inKernel {
		most = mostFlooded
	}
	return float64(arrived) < (1-most)*float64(sent)
}

// slower halves the pace if a server did not keep it, and tells whether to try again.
func (g *generator) slower(t trial) bool {
	if g.name == inKernel || !g.tooFew(t.replies.All(), t.requests) || g.pace/2 < slowest {
		return false
	}
	g.pace /= 2
	return true
}

// check fails if a reply was wrong, or too few came, or too many without a value.
func (g *generator) check(t trial) error {
	if err := g.lab.Samples(func(frame []byte) error { return g.items.checkFrame(frame, g.at) }); err != nil {
		return fmt.Errorf("%s: %w", g.name, err)
	}
	all := float64(t.replies.All())
	share := float64(t.replies.Values) / max(all, 1)
	wrong := mostWrong + 4*math.Sqrt(g.values*(1-g.values)/max(all, 1)) // four standard deviations
	switch {
	case g.tooFew(t.replies.All(), t.requests):
		return fmt.Errorf("%s: %.0f replies to %d requests: %w", g.name, all, t.requests, ErrWrongAnswer)
	case t.replies.Others > 0:
		return fmt.Errorf("%s: %d replies that are neither values nor END: %w", g.name, t.replies.Others, ErrWrongAnswer)
	case math.Abs(share-g.values) > wrong:
		return fmt.Errorf("%s: %.3f of the replies are values, instead of %.3f: %w", g.name, share, g.values, ErrWrongAnswer)
	}
	return nil
}

// checkFrame compares a reply as it arrived with what was stored.
func (i items) checkFrame(frame []byte, from netip.AddrPort) error {
	const source, port, text = 26, 34, lab.PayloadAt + 8
	if len(frame) < text || !bytes.Equal(frame[source:source+4], from.Addr().AsSlice()) || uint16(frame[port])<<8|uint16(frame[port+1]) != from.Port() {
		return fmt.Errorf("%w: a frame from another one: %x", ErrWrongAnswer, frame)
	}
	length := int(frame[port+4])<<8 | int(frame[port+5]) // of UDP, with its header
	if lab.PayloadAt-8+length > len(frame) || !bytes.Equal(frame[lab.PayloadAt:text], []byte("\x00\x07\x00\x00\x00\x01\x00\x00")) {
		return fmt.Errorf("%w: %x", ErrWrongAnswer, frame)
	}
	return i.check(frame[text : lab.PayloadAt-8+length])
}

// cost is the time of processors that an answered GET takes, by both accounts.
type cost struct{ parts, machine float64 } // ns

// costOf is that of a trial, less what generator and sink took alone for as many requests.
func costOf(t, alone trial, own time.Duration) cost {
	share := float64(t.requests) / float64(max(alone.requests, 1))
	replies := float64(max(t.replies.All(), 1))
	return cost{
		(float64(t.spent.parts-own) - share*float64(alone.spent.parts)) / replies,
		(float64(t.spent.machine-own) - share*float64(alone.spent.machine)) / replies,
	}
}

// aloneCost is what generator and sink take alone for a request.
func aloneCost(alone trial) float64 {
	return float64(alone.spent.parts) / float64(max(alone.requests, 1))
}

// medianCost is that of some rounds.
func medianCost(rounds []cost) cost {
	var parts, machine []float64
	for _, c := range rounds {
		parts, machine = append(parts, c.parts), append(machine, c.machine)
	}
	return cost{median(parts), median(machine)}
}

// ratios are those of two contestants, round by round.
func ratios(theirs, ours []cost) (parts, machine []float64) {
	for i := range min(len(theirs), len(ours)) {
		parts = append(parts, theirs[i].parts/ours[i].parts)
		machine = append(machine, theirs[i].machine/ours[i].machine)
	}
	return parts, machine
}

// compared tells what the costs of two contestants are, for people.
func compared(ours, theirs []cost) string {
	o, t := medianCost(ours), medianCost(theirs)
	_, machine := ratios(theirs, ours)
	return fmt.Sprintf("%.0f ns of CPU a GET, %s %.0f; by /proc/stat less others %.0f, %.0f, %.3g×", o.parts, peer.Memcached, t.parts, o.machine, t.machine, median(machine))
}
