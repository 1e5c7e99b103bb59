package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"

	"carillon/object"
	"carillon/object/backend"
	"carillon/object/replica"
)

const (
	wholeBytes    = 256 << 10 // contents up to it are compared with their checksum before a byte is handed out
	continueBytes = 64 << 10  // bodies from it on are sent only when the node has said that it takes them
	maxErrorBytes = 64 << 10  // of an error's body
)

// Client is a node at the other end of a network. It implements replica.Node. Requests to one node
// wait in bounded queues, see lane; net/http has one goroutine a connection that reads and one that writes.
type Client struct {
	base  string // URL without a path
	token string
	http  *http.Client

	dialer  batchDialer
	batches batches

	getting, putting, relaying, asking *lane
}

var _ replica.Node = (*Client)(nil)

// call is a request before it is sent.
type call struct {
	method, name string
	nameless     bool // not about an object
	query        url.Values
	header       http.Header
	body         io.ReadCloser
	size         int64
	sent         bool // net/http has the body, and will close it
}

func newCall(method, name string) *call {
	return &call{method: method, name: name, header: http.Header{headerLocal: {"true"}}}
}

// ofNode is a call that is about no object.
func ofNode(method string) *call {
	c := newCall(method, "")
	c.nameless = true
	return c
}

func (c *call) epoch(epoch uint64) *call {
	c.header.Set(headerEpoch, strconv.FormatUint(epoch, 10))
	return c
}

func (c *call) version(v object.Version) *call {
	c.header.Set(headerVersion, v.String())
	return c
}

func (c *call) ask(key string) *call {
	c.query = url.Values{key: {""}}
	return c
}

// request makes what net/http sends. A name is kept as it is, see path.
func (c *Client) request(ctx context.Context, call *call) (*http.Request, error) {
	plain, escaped := Root, Root
	if !call.nameless {
		if err := object.CheckName(call.name); err != nil {
			return nil, err
		}
		plain, escaped = path(call.name)
	}
	r, err := http.NewRequestWithContext(ctx, call.method, c.base, nil)
	if err != nil {
		return nil, err
	}
	r.URL.Path, r.URL.RawPath, r.URL.RawQuery = plain, escaped, call.query.Encode()
	r.Header = call.header
	if c.token != "" {
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	if call.body != nil {
		r.Body, r.ContentLength = call.body, call.size
		if call.size == 0 {
			r.Body = http.NoBody
		}
	}
	return r, nil
}

// send sends a request and returns the answer, if that is a success.
func (c *Client) send(ctx context.Context, call *call) (*http.Response, error) {
	r, err := c.request(ctx, call)
	if err != nil {
		return nil, err
	}
	call.sent = true
	response, err := c.http.Do(r)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", call.method, c.base, shorten(err))
	}
	if response.StatusCode/100 == 2 {
		return response, nil
	}
	err = errorOf(call.name, response)
	return nil, errors.Join(err, response.Body.Close())
}

// shorten removes the address from an error of net/http, which has the whole name in it.
func shorten(err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		return wrapped.Err
	}
	return err
}

// errorOf reads an answer that is an error.
func errorOf(name string, response *http.Response) error {
	var body failureBody
	text := response.Status
	kindName := response.Header.Get(headerError)
	if err := json.NewDecoder(io.LimitReader(response.Body, maxErrorBytes)).Decode(&body); err == nil && body.Error != "" {
		text = body.Error
	}
	newest, err := infoOf(name, response.Header)
	if err != nil {
		return fmt.Errorf("%s: %w", text, err)
	}
	return errorOfKind(kindName, text, newest)
}

// errorOfKind is an error of another node, and of a conflict what is there.
func errorOfKind(kindName, text string, newest object.Info) error {
	for _, k := range kinds() {
		if k.name != kindName {
			continue
		}
		if k.is == object.ErrConflict {
			return &remoteError{text, &object.ConflictError{Newest: newest}}
		}
		return &remoteError{text, k.is}
	}
	return errors.New(text)
}

// ask sends a request without a body and reads a short answer.
func (c *Client) ask(ctx context.Context, call *call, into any) (http.Header, error) {
	if err := c.asking.enter(ctx); err != nil {
		return nil, err
	}
	defer c.asking.leave()
	response, err := c.send(ctx, call)
	if err != nil {
		return nil, err
	}
	if into != nil {
		if err = json.NewDecoder(io.LimitReader(response.Body, maxAnswerBytes)).Decode(into); err != nil {
			err = fmt.Errorf("%s %s: answer: %w", call.method, c.base, err)
		}
	}
	return response.Header, errors.Join(err, response.Body.Close())
}

// Put implements replica.Node. A small content that the node is not to pass on travels in a batch with others.
func (c *Client) Put(ctx context.Context, name string, body io.Reader, w replica.Write) (replica.Receipt, error) {
	if w.Size >= 0 && w.Size <= replica.MaxQueued && len(w.Forward.To) == 0 {
		return c.putQueued(ctx, name, body, w)
	}
	call := newCall(http.MethodPut, name)
	setWrite(call.header, w)
	if w.Sum != nil {
		call.header.Set(headerSum, w.Sum.String())
	}
	if w.Size == object.UnknownSize || w.Size >= continueBytes {
		call.header.Set("Expect", "100-continue")
	}
	sent := &sentBody{Reader: body, size: w.Size, closed: make(chan struct{})}
	if w.Size == 0 {
		if err := sent.probe(); err != nil {
			return replica.Receipt{}, fmt.Errorf("put %q: %w", name, err)
		}
	}
	call.body, call.size = sent, w.Size
	lane := c.writing(w)
	if err := lane.enter(ctx); err != nil {
		return replica.Receipt{}, err
	}
	defer lane.leave()
	ctx, cancel := context.WithCancel(ctx)
	receipt, err := c.write(ctx, call)
	cancel()
	if w.Size != 0 && call.sent {
		<-sent.closed // until then net/http may still read from the caller's body
	}
	if sent.failed != nil && err != nil {
		err = fmt.Errorf("%w: %w", err, sent.failed)
	}
	return receipt, err
}

// sentBody tells when net/http is done with a body, and what was wrong with it. It hands the last byte of the
// announced size out only when there are no more, so that no node stores what is not what was announced.
type sentBody struct {
	io.Reader
	size   int64 // announced, or object.UnknownSize
	read   int64
	once   sync.Once
	closed chan struct{}
	failed error // read after closed
}

func (b *sentBody) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	b.read += int64(n)
	switch {
	case b.size == object.UnknownSize:
	case b.read > b.size:
		n, err = 0, fmt.Errorf("%w: it is longer than %d bytes", object.ErrSize, b.size)
	case b.read == b.size && err == nil:
		err = b.probe()
	case b.read < b.size && err == io.EOF:
		err = fmt.Errorf("%w: %d bytes came, %d were announced", object.ErrSize, b.read, b.size)
	}
	if err != nil && err != io.EOF {
		b.failed = err
		return 0, err
	}
	return n, err
}

// probe tells whether the body ends here.
func (b *sentBody) probe() error {
	var more [1]byte
	switch n, err := io.ReadFull(b.Reader, more[:]); {
	case n > 0:
		return fmt.Errorf("%w: it is longer than %d bytes", object.ErrSize, b.size)
	case err == io.EOF:
		return nil
	default:
		return err
	}
}

func (b *sentBody) Close() error {
	b.once.Do(func() { close(b.closed) })
	return nil
}

// Delete implements replica.Node.
func (c *Client) Delete(ctx context.Context, name string, w replica.Write) (replica.Receipt, error) {
	call := newCall(http.MethodDelete, name)
	setWrite(call.header, w)
	lane := c.writing(w)
	if err := lane.enter(ctx); err != nil {
		return replica.Receipt{}, err
	}
	defer lane.leave()
	return c.write(ctx, call)
}

// writing is the lane of a write.
func (c *Client) writing(w replica.Write) *lane {
	if len(w.Forward.To) > 0 {
		return c.relaying
	}
	return c.putting
}

func setWrite(h http.Header, w replica.Write) {
	h.Set(headerEpoch, strconv.FormatUint(w.Epoch, 10))
	h.Set(headerVersion, w.Version.String())
	setCondition(h, w.If)
	if w.Copy {
		h.Set(headerCopy, "true")
	}
	if w.Repair {
		h.Set(headerRepair, "true")
	}
	if len(w.Forward.To) > 0 {
		h.Set(headerCopiesTo, strings.Join(w.Forward.To, ","))
		h.Set(headerNeed, strconv.Itoa(w.Forward.Need))
	}
}

func (c *Client) write(ctx context.Context, call *call) (replica.Receipt, error) {
	response, err := c.send(ctx, call)
	if err != nil {
		return replica.Receipt{}, err
	}
	info, err := infoOf(call.name, response.Header)
	if err = errors.Join(err, response.Body.Close()); err != nil {
		return replica.Receipt{}, fmt.Errorf("%s %s: answer: %w", call.method, c.base, err)
	}
	receipt := replica.Receipt{Info: info}
	if acked := response.Header.Get(headerAcked); acked != "" {
		receipt.Acked = strings.Split(acked, ",")
	}
	return receipt, nil
}

// Get implements replica.Node.
func (c *Client) Get(ctx context.Context, name string, o object.Get) (object.Body, error) {
	call := newCall(http.MethodGet, name)
	if !o.Version.IsZero() {
		call.query = url.Values{"version": {o.Version.String()}}
	}
	part := o.Offset != 0 || o.Length != 0
	switch {
	case o.Offset < 0 || o.Length < 0:
		return nil, fmt.Errorf("get %q: %w: %d bytes from byte %d on", name, object.ErrRange, o.Length, o.Offset)
	case o.Length > 0:
		call.header.Set("Range", fmt.Sprintf("bytes=%d-%d", o.Offset, o.Offset+o.Length-1))
	case part:
		call.header.Set("Range", fmt.Sprintf("bytes=%d-", o.Offset))
	}
	if part {
		call.header.Set(headerVerify, "node") // nobody can compare a part with the checksum of the whole
	}
	if err := c.getting.enter(ctx); err != nil {
		return nil, err
	}
	response, err := c.send(ctx, call)
	if err != nil {
		c.getting.leave()
		return nil, err
	}
	body, err := c.receive(name, response)
	if err != nil {
		c.getting.leave()
		return nil, errors.Join(fmt.Errorf("GET %s: %w", c.base, err), response.Body.Close())
	}
	return body, nil
}

// receive makes a Body of an answer, which holds a place in the lane until it is closed.
func (c *Client) receive(name string, response *http.Response) (object.Body, error) {
	info, err := infoOf(name, response.Header)
	if err != nil {
		return nil, err
	}
	b := &receivedBody{ReadCloser: response.Body, info: info, length: response.ContentLength, leave: c.getting.leave}
	if response.StatusCode == http.StatusPartialContent {
		from, _, _ := strings.Cut(strings.TrimPrefix(response.Header.Get("Content-Range"), "bytes "), "-")
		if b.offset, err = strconv.ParseInt(from, 10, 64); err != nil {
			return nil, fmt.Errorf("range %.80q", response.Header.Get("Content-Range"))
		}
	}
	switch {
	case info.Version.IsZero() || b.length < 0 || b.offset+b.length > info.Size:
		return nil, fmt.Errorf("%d bytes from byte %d on of %d", b.length, b.offset, info.Size)
	case b.length < info.Size:
		return b, nil
	case info.Size > wholeBytes:
		summer := object.NewSummer()
		b.summer = &summer
		return b, nil
	}
	content := make([]byte, info.Size)
	if _, err := io.ReadFull(response.Body, content); err != nil {
		return nil, err
	}
	whole, err := backend.NewMemoryBody(info, content, 0, info.Size)
	if err != nil {
		return nil, err
	}
	if err := response.Body.Close(); err != nil {
		return nil, err
	}
	c.getting.leave()
	return whole, nil
}

// Stat implements replica.Node.
func (c *Client) Stat(ctx context.Context, name string, epoch uint64) (object.Info, error) {
	if err := c.asking.enter(ctx); err != nil {
		return object.Info{}, err
	}
	defer c.asking.leave()
	r, err := c.request(ctx, newCall(http.MethodHead, name).epoch(epoch))
	if err != nil {
		return object.Info{}, err
	}
	response, err := c.http.Do(r)
	if err != nil {
		return object.Info{}, fmt.Errorf("HEAD %s: %w", c.base, shorten(err))
	}
	defer response.Body.Close()
	if response.StatusCode == http.StatusOK || response.Header.Get(headerError) == kindOf(object.ErrNotFound).name {
		return infoOf(name, response.Header)
	}
	return object.Info{}, errorOf(name, response)
}

// Check implements replica.Node.
func (c *Client) Check(ctx context.Context, name string, v object.Version) error {
	_, err := c.ask(ctx, newCall(http.MethodPost, name).ask("check").version(v), nil)
	return err
}

// History implements replica.Node.
func (c *Client) History(ctx context.Context, name string) ([]object.Info, error) {
	var l Listing
	if _, err := c.ask(ctx, newCall(http.MethodGet, name).ask("history"), &l); err != nil {
		return nil, err
	}
	return l.infos()
}

// List implements replica.Node.
func (c *Client) List(ctx context.Context, o object.List) (object.Page, error) {
	call := ofNode(http.MethodGet).ask("list")
	call.query.Set("prefix", o.Prefix)
	call.query.Set("after", o.After)
	if o.Limit > 0 {
		call.query.Set("limit", strconv.Itoa(min(o.Limit, object.MaxPage)))
	}
	if o.Deleted {
		call.query.Set("deleted", "")
	}
	var l Listing
	if _, err := c.ask(ctx, call, &l); err != nil {
		return object.Page{}, err
	}
	infos, err := l.infos()
	return object.Page{Objects: infos, Next: l.Next}, err
}

// Drop implements replica.Node.
func (c *Client) Drop(ctx context.Context, name string, v object.Version, epoch uint64) error {
	_, err := c.ask(ctx, newCall(http.MethodDelete, name).ask("drop").version(v).epoch(epoch), nil)
	return err
}

// Forget implements replica.Node.
func (c *Client) Forget(ctx context.Context, before object.Version, epoch uint64) (int, error) {
	var f forgotten
	_, err := c.ask(ctx, ofNode(http.MethodPost).ask("forget").version(before).epoch(epoch), &f)
	return f.Forgotten, err
}

// Admit makes the node a part of the cluster, see replica.Member.
func (c *Client) Admit(ctx context.Context, epoch uint64) error {
	_, err := c.ask(ctx, ofNode(http.MethodPost).ask("admit").epoch(epoch), nil)
	return err
}
