// Package node puts a node of the object store on the network: HTTP/1.1 and HTTP/2, with TLS and a token
// if asked for (docs/format/object-http.md). In come requests of other nodes, which it answers from
// its own store, and of programs, which it answers for the whole cluster; out go contents, by sendfile
// where the backend allows, and, through Client, which implements replica.Node, the same requests to other
// nodes. cmd/carillon serves with it; package membership tells it who there is.
package node

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"carillon/object"
	"carillon/object/clock"
	"carillon/object/replica"
)

// Root is the path under which objects are: an object's is Root + "/" + its name.
const Root = "/objects"

// Headers of requests and answers.
const (
	headerVersion = "Carillon-Version" // 32 hexadecimal digits
	headerSize    = "Carillon-Size"    // bytes of the whole content
	headerSum     = "Carillon-Sum"     // BLAKE3 of the whole content
	headerDeleted = "Carillon-Deleted" // "true": the version is the mark of a delete
	headerError   = "Carillon-Error"   // kind of the error
	headerAcked   = "Carillon-Acked"   // names of the nodes that have what was written

	headerLocal    = "Carillon-Local"     // "true": of this node alone, asked by another or by a client that knows all
	headerEpoch    = "Carillon-Epoch"     // of the asker's view
	headerCopy     = "Carillon-Copy"      // replica.Write.Copy
	headerRepair   = "Carillon-Repair"    // replica.Write.Repair
	headerCopiesTo = "Carillon-Copies-To" // replica.Forward.To
	headerNeed     = "Carillon-Need"      // replica.Forward.Need
	headerVerify   = "Carillon-Verify"    // "node": this node compares with checksums what it sends
)

var (
	// ErrBusy means that as many requests wait for a node as may.
	ErrBusy = errors.New("too many requests wait for the node")
	// ErrRequest means that a request makes no sense.
	ErrRequest = errors.New("bad request")
	// ErrToken means that a request did not have the token.
	ErrToken = errors.New("no token, or a wrong one")
)

// kinds is how errors travel: the first that an error is gives its kind and the status of the answer. So
// what says more comes before what it may wrap.
func kinds() []kind {
	return []kind{
		{ErrToken, "unauthorized", http.StatusUnauthorized},
		{ErrRequest, "bad_request", http.StatusBadRequest},
		{replica.ErrUncertain, "uncertain", http.StatusServiceUnavailable},
		{replica.ErrTooFew, "too_few", http.StatusServiceUnavailable},
		{replica.ErrGuarded, "guarded", http.StatusConflict},
		{replica.ErrUnguarded, "unguarded", http.StatusConflict},
		{object.ErrConflict, "conflict", http.StatusPreconditionFailed},
		{replica.ErrStale, "stale", http.StatusConflict},
		{replica.ErrBlank, "blank", http.StatusServiceUnavailable},
		{clock.ErrSkew, "skew", http.StatusBadRequest},
		{object.ErrSize, "bad_size", http.StatusBadRequest},
		{object.ErrSum, "bad_sum", http.StatusBadRequest},
		{object.ErrRange, "bad_range", http.StatusRequestedRangeNotSatisfiable},
		{object.ErrName, "bad_name", http.StatusBadRequest},
		{object.ErrVersion, "bad_version", http.StatusBadRequest},
		{object.ErrDamaged, "damaged", http.StatusInternalServerError},
		{object.ErrStopped, "stopped", http.StatusServiceUnavailable},
		{object.ErrClosed, "closed", http.StatusServiceUnavailable},
		{ErrBusy, "busy", http.StatusServiceUnavailable},
		{object.ErrNotFound, "not_found", http.StatusNotFound},
	}
}

type kind struct {
	is     error
	name   string
	status int
}

const internalKind = "internal"

func kindOf(err error) kind {
	for _, k := range kinds() {
		if errors.Is(err, k.is) {
			return k
		}
	}
	return kind{nil, internalKind, http.StatusInternalServerError}
}

// remoteError is an error of another node: its text, and the error that its kind stands for.
type remoteError struct {
	text string
	is   error
}

func (e *remoteError) Error() string { return e.text }
func (e *remoteError) Unwrap() error { return e.is }

// setInfo describes a version in headers.
func setInfo(h http.Header, info object.Info) {
	if info.Version.IsZero() {
		return
	}
	h.Set(headerVersion, info.Version.String())
	if info.Deleted {
		h.Set(headerDeleted, "true")
		return
	}
	h.Set(headerSize, strconv.FormatInt(info.Size, 10))
	h.Set(headerSum, info.Sum.String())
	h.Set("Etag", `"`+info.Version.String()+`"`)
}

// infoOf reads what setInfo wrote; it is zero if that was nothing.
func infoOf(name string, h http.Header) (object.Info, error) {
	info := object.Info{Name: name, Deleted: h.Get(headerDeleted) == "true"}
	if h.Get(headerVersion) == "" {
		return object.Info{}, nil
	}
	var err error
	if info.Version, err = object.ParseVersion(h.Get(headerVersion)); err != nil || info.Deleted {
		return info, err
	}
	if info.Size, err = strconv.ParseInt(h.Get(headerSize), 10, 64); err != nil || info.Size < 0 {
		return info, fmt.Errorf("size %.40q", h.Get(headerSize))
	}
	info.Sum, err = object.ParseSum(h.Get(headerSum))
	return info, err
}

// setCondition writes a condition as If-Match or If-None-Match.
func setCondition(h http.Header, c object.Condition) {
	newest, set := c.Wants()
	switch {
	case !set:
	case newest.IsZero():
		h.Set("If-None-Match", "*")
	default:
		h.Set("If-Match", `"`+newest.String()+`"`)
	}
}

// conditionOf reads If-Match: "VERSION" and If-None-Match: *.
func conditionOf(h http.Header) (object.Condition, error) {
	match, none := h.Get("If-Match"), h.Get("If-None-Match")
	switch {
	case match == "" && none == "":
		return object.Condition{}, nil
	case match == "" && none == "*":
		return object.IfAbsent(), nil
	case match == "" || none != "":
		return object.Condition{}, fmt.Errorf(`%w: want If-Match: "VERSION" or If-None-Match: *`, ErrRequest)
	}
	v, err := object.ParseVersion(strings.Trim(match, `"`))
	if err != nil || v.IsZero() {
		return object.Condition{}, fmt.Errorf(`%w: If-Match is %.80q, want a version in quotes, as Etag had it`, ErrRequest, match)
	}
	return object.IfNewest(v), nil
}

// versionOf reads a version, zero if there is none.
func versionOf(text string) (object.Version, error) {
	if text == "" {
		return object.Version{}, nil
	}
	v, err := object.ParseVersion(text)
	if err != nil {
		return v, fmt.Errorf("%w: %w", ErrRequest, err)
	}
	return v, nil
}

// path of an object. The slashes of its name are escaped, so that nobody on the way tidies them up.
func path(name string) (plain, escaped string) {
	return Root + "/" + name, Root + "/" + url.PathEscape(name)
}

// ObjectInfo is object.Info in JSON.
type ObjectInfo struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Size    int64  `json:"size"`
	Sum     string `json:"blake3,omitempty"`
	Deleted bool   `json:"deleted,omitempty"`
}

// Describe makes it.
func Describe(info object.Info) ObjectInfo {
	o := ObjectInfo{Name: info.Name, Version: info.Version.String(), Size: info.Size, Deleted: info.Deleted}
	if !info.Deleted {
		o.Sum = info.Sum.String()
	}
	return o
}

// Info reads it.
func (o ObjectInfo) Info() (object.Info, error) {
	info := object.Info{Name: o.Name, Size: o.Size, Deleted: o.Deleted}
	var err error
	if info.Version, err = object.ParseVersion(o.Version); err != nil || o.Deleted {
		return info, err
	}
	info.Sum, err = object.ParseSum(o.Sum)
	return info, err
}

// Listing is a page of names, or the history of one, in JSON.
type Listing struct {
	Objects []ObjectInfo `json:"objects"`
	Next    string       `json:"next,omitempty"`
}

func describeAll(infos []object.Info, next string) Listing {
	l := Listing{Objects: make([]ObjectInfo, len(infos)), Next: next}
	for i, info := range infos {
		l.Objects[i] = Describe(info)
	}
	return l
}

func (l Listing) infos() ([]object.Info, error) {
	infos := make([]object.Info, len(l.Objects))
	for i, o := range l.Objects {
		var err error
		if infos[i], err = o.Info(); err != nil {
			return nil, err
		}
	}
	return infos, nil
}

// failureBody is the body of an answer that is an error.
type failureBody struct {
	Status    string `json:"status"` // "error"
	ErrorType string `json:"errorType"`
	Error     string `json:"error"`
}
