// Package client reads and changes caches that speak memcached's protocol, ours and
// memcached itself: keys and values come in, items and what became of a change go out. It
// reads by UDP where that is asked for, so that a kernel can answer, and changes by TCP.
// The command line calls it, and any Go program may.
package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"time"
)

// Defaults of Config.
const (
	DefaultTimeout     = 2 * time.Second
	DefaultReplyWithin = 50 * time.Millisecond
	DefaultRetries     = 2
	DefaultConnections = 4
)

// MaxKey is the longest key, in bytes.
const MaxKey = 250

// Config says how to talk to the servers. The zero Config has all defaults, and reads by TCP.
type Config struct {
	// UDP makes Get read by datagrams, from the same addresses. A reply that does not come
	// is a miss: after Retries more requests, within ReplyWithin each.
	UDP         bool
	ReplyWithin time.Duration
	Retries     int // negative for none

	Timeout     time.Duration // of anything by TCP
	Connections int           // kept open and unused, a server

	User, Password string // if the servers want to know
}

var (
	// ErrMiss is returned where there is no item.
	ErrMiss = errors.New("no such item")
	// ErrNotStored is returned where a condition was not met.
	ErrNotStored = errors.New("not stored")
	// ErrChanged is returned where somebody else changed the item in between.
	ErrChanged = errors.New("changed in between")
	// ErrKey is wrapped by errors about keys that cannot be sent.
	ErrKey = errors.New("bad key")
)

// ServerError is a reply that says what is wrong.
type ServerError struct{ Server, Reply string }

func (e *ServerError) Error() string { return e.Server + ": " + e.Reply }

// Item is a key and its value.
type Item struct {
	Key    string `json:"key"`
	Value  []byte `json:"value"`
	Flags  uint32 `json:"flags"`
	Unique uint64 `json:"cas,omitempty"` // CAS unique, if it was asked for
}

// Counters are what a client has done by datagrams. A key is answered, or lost.
type Counters struct {
	Answered uint64
	Retried  uint64 // requests sent again
	Lost     uint64 // keys that no reply came for: taken for misses
}

// Client talks to the servers. Any number of goroutines may use it.
type Client struct {
	config  Config
	servers []*server
	ring    []uint64 // hash of each server's address
	udp     struct{ answered, retried, lost atomic.Uint64 }
}

// server is one of the caches, with connections that nobody uses.
type server struct {
	network, address string
	streams          chan *stream
	datagrams        chan *datagrams
}

// New is a client of servers, by their addresses: host:port, or the path of a Unix socket.
// Nothing is connected until it is needed.
func New(addresses []string, config Config) (*Client, error) {
	if len(addresses) == 0 {
		return nil, errors.New("cache client: no servers")
	}
	setDefaults(&config)
	c := &Client{config: config}
	for _, address := range addresses {
		s := &server{network: "tcp", address: address}
		if strings.Contains(address, "/") {
			s.network = "unix"
		} else if _, _, err := net.SplitHostPort(address); err != nil {
			return nil, fmt.Errorf("cache client: %w", err)
		}
		if s.network == "unix" && config.UDP {
			return nil, fmt.Errorf("cache client: %s: a Unix socket takes no datagrams", address)
		}
		s.streams = make(chan *stream, config.Connections)
		s.datagrams = make(chan *datagrams, config.Connections)
		c.servers = append(c.servers, s)
		c.ring = append(c.ring, hash(address))
	}
	return c, nil
}

func setDefaults(c *Config) {
	if c.Timeout == 0 {
		c.Timeout = DefaultTimeout
	}
	if c.ReplyWithin == 0 {
		c.ReplyWithin = DefaultReplyWithin
	}
	if c.Retries == 0 {
		c.Retries = DefaultRetries
	}
	if c.Connections == 0 {
		c.Connections = DefaultConnections
	}
}

// Close closes all connections that nobody uses.
func (c *Client) Close() {
	for _, s := range c.servers {
		for open := true; open; {
			select {
			case st := <-s.streams:
				st.close()
			case d := <-s.datagrams:
				d.close()
			default:
				open = false
			}
		}
	}
}

// Counters are the client's so far.
func (c *Client) Counters() Counters {
	return Counters{Answered: c.udp.answered.Load(), Retried: c.udp.retried.Load(), Lost: c.udp.lost.Load()}
}

// Servers are the addresses.
func (c *Client) Servers() (addresses []string) {
	for _, s := range c.servers {
		addresses = append(addresses, s.address)
	}
	return addresses
}

// ServerOf is the address of the server that has a key: rendezvous hashing (Thaler and
// Ravishankar, 1998), by which each key prefers the servers in an order of its own. A server more or less moves
// the keys that it gets or had, and no others.
func (c *Client) ServerOf(key string) string { return c.serverOf(key).address }

func (c *Client) serverOf(key string) *server {
	k := hash(key)
	best, most := 0, uint64(0)
	for i, r := range c.ring {
		if weight := mix(k ^ r); i == 0 || weight > most {
			best, most = i, weight
		}
	}
	return c.servers[best]
}

// hash is FNV-1a (Fowler, Noll, Vo), mixed.
func hash(s string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	return mix(h)
}

// mix is the finaliser of splitmix64.
func mix(h uint64) uint64 {
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	return h ^ h>>31
}

// check refuses keys that would be something else on the wire.
func check(key string) error {
	if len(key) == 0 || len(key) > MaxKey {
		return fmt.Errorf("%w: %d bytes, want 1 to %d", ErrKey, len(key), MaxKey)
	}
	for i := range len(key) {
		if key[i] <= ' ' || key[i] == 0x7f {
			return fmt.Errorf("%w: %q has spaces or control characters", ErrKey, key)
		}
	}
	return nil
}

// Get is the item of a key, or ErrMiss.
func (c *Client) Get(ctx context.Context, key string) (Item, error) {
	if err := check(key); err != nil {
		return Item{}, err
	}
	s := c.serverOf(key)
	var items []Item
	var err error
	if c.config.UDP {
		items, err = c.getByDatagram(ctx, s, key)
	} else {
		err = c.with(ctx, s, func(st *stream) (err error) {
			items, err = st.values("get " + key)
			return err
		})
	}
	switch {
	case err != nil:
		return Item{}, err
	case len(items) == 0:
		return Item{}, ErrMiss
	case len(items) > 1 || items[0].Key != key:
		return Item{}, fmt.Errorf("%s: asked for %q, got %q", s.address, key, items[0].Key)
	}
	return items[0], nil
}
