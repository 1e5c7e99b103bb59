package client

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"
)

// GetMany is the items of keys that there are, by key, all with their CAS uniques. Keys are
// asked for by TCP, from all servers at the same time.
func (c *Client) GetMany(ctx context.Context, keys []string) (map[string]Item, error) {
	lines := make(map[*server]*strings.Builder)
	for _, key := range keys {
		if err := check(key); err != nil {
			return nil, err
		}
		s := c.serverOf(key)
		if lines[s] == nil {
			lines[s] = &strings.Builder{}
			lines[s].WriteString("gets")
		}
		lines[s].WriteString(" " + key)
	}
	var mu sync.Mutex
	found := make(map[string]Item)
	err := c.each(ctx, func(st *stream, s *server) error {
		if lines[s] == nil {
			return nil
		}
		items, err := st.values(lines[s].String())
		mu.Lock()
		defer mu.Unlock()
		for _, item := range items {
			found[item.Key] = item
		}
		return err
	})
	return found, err
}

// Mode is what Store does with what is there.
type Mode string

// Modes of Store.
const (
	Set     Mode = "set"
	Add     Mode = "add"     // only if there is no item
	Replace Mode = "replace" // only if there is one
	Append  Mode = "append"
	Prepend Mode = "prepend"
	// CompareAndSet is only if the CAS unique is that of the item; otherwise ErrChanged, or ErrMiss.
	CompareAndSet Mode = "cas"
)

// maxRelative is the longest time that servers count from now.
const maxRelative = 30 * 24 * time.Hour

// expiry is how a time to live is sent. 0 is for ever, and less than a second is one.
func expiry(ttl time.Duration) string {
	switch {
	case ttl == 0:
		return "0"
	case ttl < 0:
		return "-1"
	case ttl > maxRelative:
		return strconv.FormatInt(time.Now().Add(ttl).Unix(), 10)
	}
	return strconv.FormatInt(int64((ttl+time.Second-1)/time.Second), 10)
}

// Store stores an item for a time, 0 for ever. The error is ErrNotStored, ErrChanged or ErrMiss
// where the mode does not fit what is there.
func (c *Client) Store(ctx context.Context, mode Mode, item Item, ttl time.Duration) error {
	if err := check(item.Key); err != nil {
		return err
	}
	line := fmt.Sprintf("%s %s %d %s %d", mode, item.Key, item.Flags, expiry(ttl), len(item.Value))
	if mode == CompareAndSet {
		line += " " + strconv.FormatUint(item.Unique, 10)
	}
	ask := c.askOnce
	if mode == Set {
		ask = c.ask
	}
	_, err := ask(ctx, item.Key, line+"\r\n"+string(item.Value), "STORED")
	return err
}

// Delete deletes an item, or says ErrMiss.
func (c *Client) Delete(ctx context.Context, key string) error {
	if err := check(key); err != nil {
		return err
	}
	_, err := c.ask(ctx, key, "delete "+key, "DELETED")
	return err
}

// Touch gives an item another time to live.
func (c *Client) Touch(ctx context.Context, key string, ttl time.Duration) error {
	if err := check(key); err != nil {
		return err
	}
	_, err := c.ask(ctx, key, "touch "+key+" "+expiry(ttl), "TOUCHED")
	return err
}

// Count adds to a number, or subtracts from it down to 0, and returns it.
func (c *Client) Count(ctx context.Context, key string, delta int64) (value uint64, err error) {
	if err := check(key); err != nil {
		return 0, err
	}
	command, by := "incr", uint64(delta)
	if delta < 0 {
		command, by = "decr", -by
	}
	reply, err := c.askOnce(ctx, key, fmt.Sprintf("%s %s %d", command, key, by), "")
	if err != nil {
		return 0, err
	}
	if value, err = strconv.ParseUint(reply, 10, 64); err != nil {
		return 0, &ServerError{c.ServerOf(key), reply}
	}
	return value, nil
}

// ask sends a request about a key, which may be sent twice. want is the reply that is no
// error; any other one is fine if it is empty.
func (c *Client) ask(ctx context.Context, key, request, want string) (reply string, err error) {
	s := c.serverOf(key)
	err = c.with(ctx, s, asking(&reply, request, want))
	return reply, err
}

// askOnce is ask for what must not be sent twice.
func (c *Client) askOnce(ctx context.Context, key, request, want string) (reply string, err error) {
	s := c.serverOf(key)
	err = c.once(ctx, s, asking(&reply, request, want))
	return reply, err
}

func asking(reply *string, request, want string) func(*stream) error {
	return func(st *stream) (err error) {
		if *reply, err = st.ask(request); err != nil {
			return err
		}
		return meaning(st.server, *reply, want)
	}
}

func meaning(server, reply, want string) error {
	switch {
	case reply == want:
		return nil
	case reply == "NOT_FOUND" || reply == "NF":
		return ErrMiss
	case reply == "NOT_STORED":
		return ErrNotStored
	case reply == "EXISTS":
		return ErrChanged
	case want == "" && !strings.Contains(reply, "ERROR"):
		return nil
	}
	return &ServerError{server, reply}
}

// each calls f for every server at the same time, each with a connection, and returns the
// first error in the servers' order.
func (c *Client) each(ctx context.Context, f func(*stream, *server) error) error {
	errs := make([]error, len(c.servers))
	var all sync.WaitGroup
	for i, s := range c.servers {
		all.Go(func() { errs[i] = c.with(ctx, s, func(st *stream) error { return f(st, s) }) })
	}
	all.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// Flush lets all items of all servers end.
func (c *Client) Flush(ctx context.Context) error {
	return c.each(ctx, func(st *stream, s *server) error {
		reply, err := st.ask("flush_all")
		if err != nil {
			return err
		}
		return meaning(s.address, reply, "OK")
	})
}

// DeletePrefix deletes all items of all servers whose keys begin with a prefix, and is how
// many. Only our servers can do that.
func (c *Client) DeletePrefix(ctx context.Context, prefix string) (deleted uint64, err error) {
	if err := check(prefix); err != nil {
		return 0, err
	}
	var mu sync.Mutex
	err = c.each(ctx, func(st *stream, s *server) error {
		reply, err := st.ask("md " + prefix + " p")
		if err != nil {
			return err
		}
		count, ok := strings.CutPrefix(reply, "HD p")
		n, err := strconv.ParseUint(strings.TrimSpace(count), 10, 64)
		if !ok || err != nil {
			return &ServerError{s.address, reply}
		}
		mu.Lock()
		defer mu.Unlock()
		deleted += n
		return nil
	})
	return deleted, err
}
