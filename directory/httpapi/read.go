package httpapi

import (
	"errors"
	"fmt"
	"net/http"
	"slices"

	"carillon/directory"
	"carillon/directory/feed"
	"carillon/directory/location"
)

func (a *API) get(r *http.Request) (answer, error) {
	name := r.PathValue("name")
	entry, err := a.config.Directory.Get(name)
	if errors.Is(err, location.ErrNotFound) {
		return answer{}, notFound(fmt.Errorf("%w: %.80s", err, name))
	}
	return answer{data: entry, version: entry.Version}, err
}

// Names is the body of a batch look-up.
type Names struct {
	Names []string `json:"names"` // names or ids, at most MaxNames
}

// lookup answers with an entry a name, in order; null for a name that is not there
// or cannot be.
func (a *API) lookup(r *http.Request) (answer, error) {
	var body Names
	if err := decode(r, &body); err != nil {
		return answer{}, err
	}
	if len(body.Names) > MaxNames {
		return answer{}, bad("%d names at once, want at most %d", len(body.Names), MaxNames)
	}
	entries := make([]*location.Entry, len(body.Names))
	var (
		view   location.View
		failed error
	)
	a.config.Directory.LookupAll(body.Names, &view, func(i int, err error) {
		switch {
		case err == nil:
			entry := view.Entry()
			entries[i] = &entry
		case errors.Is(err, location.ErrNotFound), errors.Is(err, location.ErrBadName):
		case failed == nil:
			failed = err
		}
	})
	return answer{data: entries}, failed
}

func (a *API) list(r *http.Request) (answer, error) {
	q := r.URL.Query()
	limit, limitErr := number(q, "limit", 31)
	flags, flagsErr := number(q, "flags", 32)
	partition, partitionErr := number(q, "partition", 32)
	if err := errors.Join(limitErr, flagsErr, partitionErr); err != nil {
		return answer{}, err
	}
	filter := location.Filter{Server: q.Get("server"), Flags: uint32(flags), Pattern: q.Get("pattern")}
	if q.Get("partition") != "" {
		p := uint32(partition)
		filter.Partition = &p
	}
	if !q.Has("limit") {
		limit = listDefault
	}
	page, err := a.config.Directory.List(filter, q.Get("cursor"), int(limit))
	if page.Entries == nil {
		page.Entries = []location.Entry{} // an empty list, not null
	}
	return answer{data: page}, err
}

func (a *API) servers(*http.Request) (answer, error) {
	return answer{data: append([]string{}, a.config.Directory.Servers()...)}, nil
}

// Server is the answer about one server.
type Server struct {
	Name string `json:"name"`
}

func (a *API) server(r *http.Request) (answer, error) {
	name := r.PathValue("name")
	if _, ok := slices.BinarySearch(a.config.Directory.Servers(), name); !ok {
		return answer{}, notFound(fmt.Errorf("%w: server %.80q", location.ErrNotFound, name))
	}
	return answer{data: Server{Name: name}}, nil
}

// Stats are all figures of a node's directory.
type Stats struct {
	Directory location.Stats        `json:"location"`
	Feed      feed.Status           `json:"feed"`
	Series    *directory.CacheStats `json:"series,omitempty"`
}

func (c *Config) stats() Stats {
	s := Stats{Directory: c.Directory.Stats(), Feed: c.Feed.Status()}
	if c.Series != nil {
		series := c.Series()
		s.Series = &series
	}
	return s
}

func (a *API) stats(*http.Request) (answer, error) { return answer{data: a.config.stats()}, nil }
