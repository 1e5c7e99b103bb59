package httpapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"carillon/directory/location"
)

// catchUp waits until this node is as fresh as the request demands:
// ?consistency=current for all that was acknowledged anywhere before, ?revision=R
// for at least that revision.
func (a *API) catchUp(r *http.Request) error {
	q := r.URL.Query()
	switch consistency := q.Get("consistency"); consistency {
	case "", "local":
	case "current":
		if err := a.config.Feed.Current(r.Context()); err != nil {
			return ofFeed(r, err)
		}
	default:
		return bad("invalid parameter %q: %.80q, want local or current", "consistency", consistency)
	}
	revision, err := number(q, "revision", 64)
	if err != nil || revision == 0 {
		return err
	}
	return ofFeed(r, a.config.Feed.Await(r.Context(), revision))
}

// number is a parameter, decimal or 0x hexadecimal; 0 if it is not there.
func number(q url.Values, name string, bits int) (uint64, error) {
	text := q.Get(name)
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(text, 0, bits)
	if err != nil {
		return 0, bad("invalid parameter %q: %.80q is not a number of %d bits", name, text, bits)
	}
	return n, nil
}

// decode reads the body, which is one JSON value and nothing else. A field that does
// not exist is an error: it is a field misspelt.
func decode(r *http.Request, into any) error {
	decoder := json.NewDecoder(r.Body)
	decoder.DisallowUnknownFields()
	err := decoder.Decode(into)
	if err == nil {
		_, err = decoder.Token()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = errors.New("there is more than one JSON value")
		}
	}
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return &failure{badData, http.StatusRequestEntityTooLarge, fmt.Errorf("body is longer than %d bytes", tooLarge.Limit)}
	}
	return bad("read the body: %w", err)
}

// version is the version that the entry must have: of If-Match, of ?version=, or
// of the body. They must not contradict each other.
func version(r *http.Request, ofBody uint64) (uint64, error) {
	wanted, err := number(r.URL.Query(), "version", 64)
	if err != nil {
		return 0, err
	}
	var tagged uint64
	if tag := r.Header.Get("If-Match"); tag != "" {
		text, err := strconv.Unquote(tag)
		if err == nil {
			tagged, err = strconv.ParseUint(text, 10, 64)
		}
		if err != nil {
			return 0, bad("If-Match is %.80s, want a version in quotes, as ETag had it", tag)
		}
	}
	for _, other := range []uint64{tagged, ofBody} {
		switch {
		case other == 0 || other == wanted:
		case wanted == 0:
			wanted = other
		default:
			return 0, bad("the request names version %d and version %d", wanted, other)
		}
	}
	return wanted, nil
}

// changeOf is a change of the entry that the path names.
func changeOf(r *http.Request, op location.Op, versionOfBody uint64) (location.Change, error) {
	v, err := version(r, versionOfBody)
	return location.Change{Op: op, Name: r.PathValue("name"), Version: v, Owner: r.URL.Query().Get("owner")}, err
}
