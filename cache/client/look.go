package client

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// maxStats is how many lines of statistics are read from a server.
const maxStats = 100_000

// Stat is a line of statistics.
type Stat struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Stats is the statistics of a server, in its order. part is one of settings, items, slabs, sizes,
// conns, hot, or empty.
func (c *Client) Stats(ctx context.Context, address, part string) (stats []Stat, err error) {
	i := slices.IndexFunc(c.servers, func(s *server) bool { return s.address == address })
	if i < 0 {
		return nil, fmt.Errorf("cache client: no server %s", address)
	}
	err = c.with(ctx, c.servers[i], func(st *stream) (err error) {
		stats, err = st.stats(part)
		return err
	})
	return stats, err
}

func (st *stream) stats(part string) (stats []Stat, err error) {
	if err := st.send(strings.TrimSpace("stats " + part)); err != nil {
		return nil, err
	}
	for len(stats) < maxStats {
		line, err := st.line()
		if err != nil {
			return nil, err
		}
		words := strings.SplitN(line, " ", 3)
		switch {
		case line == "END":
			return stats, nil
		case words[0] != "STAT" || len(words) < 2:
			return nil, &ServerError{st.server, line}
		}
		words = append(words, "")
		stats = append(stats, Stat{words[1], words[2]})
	}
	return nil, fmt.Errorf("more than %d lines of statistics", maxStats)
}

// HotKey is a key that is asked for often, and about how many times lately.
type HotKey struct {
	Server string `json:"server"`
	Key    string `json:"key"`
	Count  uint64 `json:"count"`
}

// Hot is the keys of all servers that are asked for most, the most frequent first. Only our
// servers can tell.
func (c *Client) Hot(ctx context.Context) (hot []HotKey, err error) {
	var mu sync.Mutex
	err = c.each(ctx, func(st *stream, s *server) error {
		stats, err := st.stats("hot")
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		for _, stat := range stats {
			key, err := url.QueryUnescape(stat.Name)
			if err != nil {
				return err
			}
			count, err := strconv.ParseUint(stat.Value, 10, 64)
			if err != nil {
				return err
			}
			hot = append(hot, HotKey{s.address, key, count})
		}
		return nil
	})
	slices.SortFunc(hot, func(a, b HotKey) int {
		if a.Count != b.Count {
			return int(b.Count) - int(a.Count)
		}
		return strings.Compare(a.Key, b.Key)
	})
	return hot, err
}

// Entry is what a dump tells of an item.
type Entry struct {
	Server  string `json:"server"`
	Key     string `json:"key"`
	Expiry  int64  `json:"expiry"` // Unix second, -1 for never
	Access  int64  `json:"access"` // Unix second of the last one, to the minute
	Unique  uint64 `json:"cas"`
	Fetched bool   `json:"fetched"` // read since it was stored
	Bytes   int    `json:"bytes"`
}

// Dump calls f with all items, server by server, until it returns an error.
func (c *Client) Dump(ctx context.Context, f func(Entry) error) error {
	for _, s := range c.servers {
		st, err := c.connect(ctx, s)
		if err != nil {
			return err
		}
		err = st.dump(ctx, c, f)
		st.close()
		if err != nil {
			return fmt.Errorf("%s: %w", s.address, err)
		}
	}
	return nil
}

func (st *stream) dump(ctx context.Context, c *Client, f func(Entry) error) error {
	deadline := func() error { return st.conn.SetDeadline(c.deadline(ctx)) }
	if err := deadline(); err != nil {
		return err
	}
	if err := st.send("lru_crawler metadump all"); err != nil {
		return err
	}
	for n := 0; ; n++ {
		if n%1024 == 0 { // the whole dump may take long, but some of it must come
			if err := deadline(); err != nil {
				return err
			}
		}
		line, err := st.line()
		switch {
		case err != nil:
			return err
		case line == "END":
			return nil
		case !strings.HasPrefix(line, "key="):
			return &ServerError{st.server, line}
		}
		entry, err := parseEntry(line)
		if err != nil {
			return fmt.Errorf("%q: %w", line, err)
		}
		entry.Server = st.server
		if err := f(entry); err != nil {
			return err
		}
	}
}

// parseEntry reads a line of words like exp=5.
func parseEntry(line string) (e Entry, err error) {
	for word := range strings.FieldsSeq(line) {
		name, value, _ := strings.Cut(word, "=")
		switch name {
		case "key":
			e.Key, err = url.QueryUnescape(value)
		case "exp":
			e.Expiry, err = strconv.ParseInt(value, 10, 64)
		case "la":
			e.Access, err = strconv.ParseInt(value, 10, 64)
		case "cas":
			e.Unique, err = strconv.ParseUint(value, 10, 64)
		case "fetch":
			e.Fetched = value == "yes"
		case "size":
			e.Bytes, err = strconv.Atoi(value)
		}
		if err != nil {
			return Entry{}, err
		}
	}
	return e, nil
}
