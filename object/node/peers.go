package node

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"carillon/object/replica"
)

// Bounds of what waits for one node.
const (
	gets      = 64   // contents that are being got from it
	puts      = 64   // writes that it makes
	relays    = 64   // writes that it makes and has others make
	asks      = 64   // everything else, at once
	peerQueue = 1024 // in front of each of these

	dialLasts = 5 * time.Second
)

// Dial says how other nodes are reached. It is by HTTP/1.1: one connection a request, up to as many as the lanes
// have places. By HTTP/2 all would share a connection, and a body that nobody takes yet its window.
type Dial struct {
	Token string      // sent with each request, if not empty
	TLS   *tls.Config // for addresses that begin with https
	// Connect makes connections; nil for net.Dialer's.
	Connect func(ctx context.Context, network, address string) (net.Conn, error)
}

// NewClient makes a client of the node at an address like http://host:9490. Close its connections by Close.
func NewClient(address string, d Dial) (*Client, error) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" {
		return nil, fmt.Errorf("address of a node %.200q: want http://HOST:PORT or https://HOST:PORT", address)
	}
	if d.Connect == nil {
		d.Connect = (&net.Dialer{Timeout: dialLasts}).DialContext
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	transport := &http.Transport{
		DialContext: d.Connect, TLSClientConfig: d.TLS, Protocols: protocols,
		MaxIdleConnsPerHost: gets + puts + relays + asks, IdleConnTimeout: time.Minute,
		ExpectContinueTimeout: dialLasts, DisableCompression: true,
		ReadBufferSize: 64 << 10, WriteBufferSize: 64 << 10,
	}
	return &Client{
		base: u.Scheme + "://" + u.Host, token: d.Token, http: &http.Client{Transport: transport},
		dialer: newBatchDialer(u, d), batches: batches{enough: make(chan struct{}, 1)},
		getting: newLane(gets, peerQueue), putting: newLane(puts, peerQueue), relaying: newLane(relays, peerQueue), asking: newLane(asks, peerQueue),
	}, nil
}

// Close closes the connections that nobody uses.
func (c *Client) Close() {
	c.http.CloseIdleConnections()
	c.batches.close()
}

// Peers is the nodes that a coordinator or a node talks to. Its methods may be called by many
// goroutines at once.
type Peers struct {
	dial Dial

	mu      sync.Mutex
	here    map[string]replica.Node // in this process
	address map[string]string       // of all others
	clients map[string]*Client      // by address
}

// NewPeers knows no node yet but those in this process.
func NewPeers(d Dial, here map[string]replica.Node) *Peers {
	return &Peers{dial: d, here: here, address: make(map[string]string), clients: make(map[string]*Client)}
}

// Set says where nodes are, besides those that are known. It is an error if one has an address that makes
// no sense.
func (p *Peers) Set(addresses map[string]string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for name, address := range addresses {
		if p.address[name] == address {
			continue
		}
		if _, known := p.clients[address]; !known {
			c, err := NewClient(address, p.dial)
			if err != nil {
				return fmt.Errorf("node %s: %w", name, err)
			}
			p.clients[address] = c
		}
		p.address[name] = address
	}
	return nil
}

// Node is one of them, as replica.Config wants it.
func (p *Peers) Node(name string) (replica.Node, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := p.here[name]; n != nil {
		return n, nil
	}
	if c := p.clients[p.address[name]]; c != nil {
		return c, nil
	}
	return nil, fmt.Errorf("unknown node %.80q", name)
}

// Client is one of them that is not in this process.
func (p *Peers) Client(name string) (*Client, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.clients[p.address[name]]; c != nil {
		return c, nil
	}
	return nil, fmt.Errorf("unknown node %.80q", name)
}

// Close closes the connections that nobody uses.
func (p *Peers) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.clients {
		c.Close()
	}
}
