package node

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"carillon/object"
	"carillon/object/replica"
)

// getNear answers a program's GET. By default this node's own copy is the answer if it has one, which is
// older than the newest only if the node was away; ?read=newest and the other modes of replica.Read
// say otherwise.
func (q *request) getNear() error {
	mode, given, err := readMode(q.query.Get("read"))
	if err != nil {
		return err
	}
	if !given {
		err := q.in(q.reading, q.get)
		if q.pace.begun || err == nil || errors.Is(err, ErrRequest) || errors.Is(err, object.ErrRange) || errors.Is(err, object.ErrName) {
			return err
		}
	}
	return q.in(q.clustering, func() error { return q.getFrom(mode) })
}

func (q *request) getFrom(mode replica.Read) error {
	cluster, err := q.cluster()
	if err != nil {
		return err
	}
	o, err := q.wanted(func() (object.Info, error) { return cluster.Stat(q.r.Context(), q.name) })
	if err != nil {
		return err
	}
	body, err := cluster.Get(q.r.Context(), q.name, mode, o)
	if errors.Is(err, object.ErrNotFound) && !o.Version.IsZero() && !q.query.Has("version") {
		return fmt.Errorf("%w with the version that was the newest when its size was asked for", replica.ErrTooFew)
	}
	if err != nil {
		return err
	}
	return errors.Join(q.send(body), body.Close())
}

func readMode(text string) (mode replica.Read, given bool, err error) {
	switch text {
	case "":
		return replica.Newest, false, nil
	case "newest":
		return replica.Newest, true, nil
	case "race":
		return replica.Race, true, nil
	case "failover":
		return replica.Failover, true, nil
	case "one":
		return replica.One, true, nil
	}
	return 0, false, fmt.Errorf("%w: read=%.40q, want newest, race, failover or one", ErrRequest, text)
}

// get sends this node's copy.
func (q *request) get() error {
	o, err := q.wanted(func() (object.Info, error) { return q.config.Local.Stat(q.r.Context(), q.name, q.epoch) })
	if err != nil {
		return err
	}
	body, err := q.config.Local.Get(q.r.Context(), q.name, o)
	if err != nil {
		return err
	}
	return errors.Join(q.send(body), body.Close())
}

// wanted reads version and range. Only a range that counts from the end needs to know the size.
func (q *request) wanted(stat func() (object.Info, error)) (o object.Get, err error) {
	if o.Version, err = versionOf(q.query.Get("version")); err != nil {
		return o, err
	}
	from, to, ok := parseRange(q.r.Header.Get("Range"))
	switch {
	case !ok:
		return o, nil
	case from >= 0 && to >= 0:
		o.Offset, o.Length = from, to-from+1
	case from >= 0:
		o.Offset = from
	default:
		info, err := stat()
		if err != nil {
			return o, err
		}
		o.Version, o.Offset = info.Version, max(0, info.Size-to)
	}
	return o, nil
}

// parseRange reads "bytes=FROM-TO", "bytes=FROM-" (to is -1) and "bytes=-LAST" (from is -1, to is LAST).
// Anything else, several ranges included, asks for all, as RFC 9110 allows.
func parseRange(text string) (from, to int64, ok bool) {
	spec, isBytes := strings.CutPrefix(text, "bytes=")
	first, last, isRange := strings.Cut(spec, "-")
	if !isBytes || !isRange || first == "" && last == "" {
		return 0, 0, false
	}
	from, to = -1, -1
	var err error
	if first != "" {
		if from, err = strconv.ParseInt(first, 10, 64); err != nil || from < 0 {
			return 0, 0, false
		}
	}
	if last != "" {
		if to, err = strconv.ParseInt(last, 10, 64); err != nil || to < max(0, from) || first == "" && to == 0 || to == 1<<63-1 {
			return 0, 0, false
		}
	}
	return from, to, true
}

// stat describes the newest version without its content. Of a mark of a delete the answer is "not found", with the
// mark's version.
func (q *request) stat() error {
	info, err := q.newest()
	if err != nil {
		return err
	}
	h := q.w.Header()
	setInfo(h, info)
	if info.Deleted || info.Version.IsZero() {
		h.Set(headerError, kindOf(object.ErrNotFound).name)
		q.w.WriteHeader(http.StatusNotFound)
		return nil
	}
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Content-Length", strconv.FormatInt(info.Size, 10))
	h.Set("Accept-Ranges", "bytes")
	q.w.WriteHeader(http.StatusOK)
	return nil
}

// newest is the newest version, be it the mark of a delete, here or anywhere.
func (q *request) newest() (object.Info, error) {
	if q.local {
		return q.config.Local.Stat(q.r.Context(), q.name, q.epoch)
	}
	cluster, err := q.cluster()
	if err != nil {
		return object.Info{}, err
	}
	info, err := cluster.Stat(q.r.Context(), q.name)
	if errors.Is(err, object.ErrNotFound) {
		err = nil
	}
	return info, err
}

func (q *request) history() error {
	history := q.config.Local.History
	if !q.local {
		cluster, err := q.cluster()
		if err != nil {
			return err
		}
		history = cluster.History
	}
	versions, err := history(q.r.Context(), q.name)
	if err == nil {
		q.json(http.StatusOK, describeAll(versions, ""))
	}
	return err
}

// list sends a page of names: ?list&prefix=P&after=CURSOR&limit=N&deleted.
func (q *request) list() error {
	o := object.List{Prefix: q.query.Get("prefix"), After: q.query.Get("after"), Deleted: q.query.Has("deleted")}
	if text := q.query.Get("limit"); text != "" {
		var err error
		if o.Limit, err = strconv.Atoi(text); err != nil || o.Limit < 1 || o.Limit > object.MaxPage {
			return fmt.Errorf("%w: limit=%.40q, want 1 to %d", ErrRequest, text, object.MaxPage)
		}
	}
	list := q.config.Local.List
	if !q.local {
		cluster, err := q.cluster()
		if err != nil {
			return err
		}
		list = cluster.List
	}
	page, err := list(q.r.Context(), o)
	if err == nil {
		q.json(http.StatusOK, describeAll(page.Objects, page.Next))
	}
	return err
}

func (q *request) check() error {
	v, err := versionOf(q.r.Header.Get(headerVersion))
	if err != nil {
		return err
	}
	// It may take long to read, and the answer is short.
	if err := q.config.Local.Check(q.r.Context(), q.name, v); err != nil {
		return err
	}
	q.verified.add(q.name, v)
	q.done(object.Info{}, nil)
	return nil
}

// done answers that something was done.
func (q *request) done(info object.Info, acked []string) {
	setInfo(q.w.Header(), info)
	if len(acked) > 0 {
		q.w.Header().Set(headerAcked, strings.Join(acked, ","))
	}
	q.pace.write()
	q.w.WriteHeader(http.StatusNoContent)
}
