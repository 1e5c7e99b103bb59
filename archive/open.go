package archive

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"carillon/object"
	"carillon/object/clock"
	"carillon/object/location"
	"carillon/object/membership"
	"carillon/object/node"
	"carillon/object/replica"
)

// Open opens an archive: http:// or https:// is a node of an object cluster, any other URL is of object/location.
// The token is for nodes.
func Open(ctx context.Context, url, token string, logger *slog.Logger) (*Archive, error) {
	if strings.HasPrefix(url, "http://") || strings.HasPrefix(url, "https://") {
		c, err := dial(ctx, url, token)
		if err != nil {
			return nil, fmt.Errorf("archive %s: %w", url, err)
		}
		return New(c, logger), nil
	}
	s, err := location.Open(ctx, url, logger)
	if err != nil {
		return nil, fmt.Errorf("archive: %w", err)
	}
	return New(&inStore{s, newClock()}, logger), nil
}

// Check tells what is wrong with a URL, without opening anything.
func Check(url string) error {
	if strings.HasPrefix(url, "http://") || strings.HasPrefix(url, "https://") {
		return nil
	}
	return location.Check(url)
}

func newClock() *clock.Clock {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return clock.New(binary.LittleEndian.Uint64(b[:]), time.Now, 0)
}

// inStore is objects in one store.
type inStore struct {
	object.Store
	clock *clock.Clock
}

func (s *inStore) Put(ctx context.Context, name string, open func() (io.ReadCloser, error), size int64) error {
	in, err := open()
	if err != nil {
		return err
	}
	_, err = s.Store.Put(ctx, name, in, object.Put{Version: s.clock.Now(), Size: size})
	return errors.Join(err, in.Close())
}

func (s *inStore) Get(ctx context.Context, name string) (object.Body, error) {
	return s.Store.Get(ctx, name, object.Get{})
}

// Delete leaves no mark: nobody else has an older version.
func (s *inStore) Delete(ctx context.Context, name string) error {
	return s.Drop(ctx, name, s.clock.Now())
}

// inCluster is objects in copies on a cluster.
type inCluster struct {
	*replica.Coordinator
	peers *node.Peers
}

const dialLasts = 30 * time.Second

// dial asks a node who there is.
func dial(ctx context.Context, url, token string) (*inCluster, error) {
	members := membership.Client{Addresses: []string{url}, Token: token, HTTP: &http.Client{Timeout: dialLasts}}
	defer members.HTTP.CloseIdleConnections()
	status, err := members.Status(ctx)
	if err != nil {
		return nil, err
	}
	view, err := status.State.View()
	if err != nil {
		return nil, err
	}
	peers := node.NewPeers(node.Dial{Token: token, TLS: &tls.Config{}}, nil)
	if err := peers.Set(status.State.Addresses()); err != nil {
		return nil, err
	}
	c, err := replica.New(replica.Config{Node: peers.Node, Clock: newClock(), Need: status.State.Need, Timeout: 10 * time.Minute, Grace: 24 * time.Hour}, view)
	return &inCluster{c, peers}, err
}

func (c *inCluster) Put(ctx context.Context, name string, open func() (io.ReadCloser, error), size int64) error {
	_, err := c.Coordinator.Put(ctx, name, replica.Source{Open: open, Size: size})
	return err
}

func (c *inCluster) Get(ctx context.Context, name string) (object.Body, error) {
	return c.Coordinator.Get(ctx, name, replica.Newest, object.Get{})
}

func (c *inCluster) Delete(ctx context.Context, name string) error {
	_, err := c.Coordinator.Delete(ctx, name)
	return err
}

func (c *inCluster) Close() error {
	c.Coordinator.Close()
	c.peers.Close()
	return nil
}
