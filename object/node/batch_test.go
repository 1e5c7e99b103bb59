package node

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"carillon/object"
	"carillon/object/conformance"
	"carillon/object/replica"
)

// gate is a node that lets puts in when it is told to, and notes how many came together.
type gate struct {
	Local
	open  chan struct{}
	first chan struct{} // closed when the first puts have come

	mu   sync.Mutex
	came []int // guarded by mu; puts of each batch
}

func (g *gate) PutBatch(ctx context.Context, puts []replica.ContentPut) []replica.PutResult {
	g.mu.Lock()
	if g.came = append(g.came, len(puts)); len(g.came) == 1 {
		close(g.first)
	}
	g.mu.Unlock()
	<-g.open
	return g.Local.PutBatch(ctx, puts)
}

// startGate puts a gate in front of a place's store, and returns a client of it.
func startGate(t *testing.T, p *place) (*gate, *Client) {
	t.Helper()
	g := &gate{Local: p.member, open: make(chan struct{}), first: make(chan struct{})}
	config := p.server.config
	config.Local = g
	server := httptest.NewServer(NewServer(config))
	t.Cleanup(server.Close)
	c, err := NewClient(server.URL, Dial{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return g, c
}

func putOf(i int) replica.ContentPut {
	content := conformance.Content(i, 1)
	return replica.ContentPut{
		Name: fmt.Sprintf("put/%d", i), Content: content,
		Write: replica.Write{Epoch: 1, Version: conformance.V(1), Size: int64(len(content))},
	}
}

// TestBatchesFill: what comes while a batch is on its way travels together.
func TestBatchesFill(t *testing.T) {
	p := startPlaces(t, options{}, "a")[0]
	g, c := startGate(t, p)
	const puts = 1 + maxBatchPuts - 1
	results := make(chan error, puts)
	queue := func(i int) {
		put := putOf(i)
		c.QueuePut(put, time.Now().Add(time.Minute), func(r replica.Receipt, err error) {
			if want := object.SumOf(put.Content); err == nil && (r.Info.Sum != want || r.Info.Name != put.Name || r.Info.Version != put.Write.Version) {
				err = fmt.Errorf("%+v", r)
			}
			results <- err
		})
	}
	queue(0)
	<-g.first
	for i := 1; i < puts; i++ {
		queue(i)
	}
	close(g.open)
	for range puts {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	if want := []int{1, puts - 1}; !slices.Equal(g.came, want) {
		t.Errorf("batches of %d puts, want %d", g.came, want)
	}
	for i := range puts {
		body, err := c.Get(t.Context(), putOf(i).Name, object.Get{})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(body); err != nil || !bytes.Equal(got, putOf(i).Content) {
			t.Errorf("put %d: %d bytes, %v", i, len(got), err)
		}
	}
}

// TestBatchesAreBounded: a node that does not answer holds so many puts and no more, for no longer than their callers want.
func TestBatchesAreBounded(t *testing.T) {
	p := startPlaces(t, options{}, "a")[0]
	g, c := startGate(t, p)
	defer close(g.open)
	answered := make(chan error, maxQueuedPuts+2*maxBatches*maxBatchPuts)
	until := time.Now().Add(300 * time.Millisecond)
	sent := 0
	for refused := false; !refused; sent++ {
		if sent == cap(answered) {
			t.Fatalf("%d puts wait", sent)
		}
		c.QueuePut(putOf(0), until, func(_ replica.Receipt, err error) { answered <- err })
		select {
		case err := <-answered:
			if refused = errors.Is(err, ErrBusy); !refused && err == nil {
				t.Fatal("a put was answered")
			}
		default:
		}
	}
	for range sent - 1 {
		if err := <-answered; err == nil {
			t.Fatal("a put was answered")
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Put(ctx, "late", strings.NewReader("x"), replica.Write{Epoch: 1, Version: conformance.V(1), Size: 1}); !errors.Is(err, context.Canceled) {
		t.Errorf("put of who does not wait: %v", err)
	}
}

// TestBatchErrors: each put of a batch has its own.
func TestBatchErrors(t *testing.T) {
	p := startPlaces(t, options{}, "a")[0]
	newer := putOf(1)
	newer.Write.Version = conformance.V(3)
	older, copied, guarded, sum, epoch := putOf(1), putOf(1), putOf(1), putOf(2), putOf(3)
	older.Write.Version = conformance.V(2)
	copied.Write.Version, copied.Write.Copy = conformance.V(2), true
	guarded.Write.Version, guarded.Write.If = conformance.V(4), object.IfNewest(conformance.V(1))
	sum.Write.Sum = new(object.Sum)
	epoch.Write.Epoch = 0
	absent := putOf(4)
	absent.Write.If = object.IfAbsent()
	if r := p.member.PutBatch(t.Context(), []replica.ContentPut{newer}); r[0].Err != nil {
		t.Fatal(r[0].Err)
	}
	c := p.client(t, Dial{})
	batch := []*queuedPut{{ContentPut: older}, {ContentPut: copied}, {ContentPut: guarded}, {ContentPut: sum}, {ContentPut: epoch}, {ContentPut: absent}, {ContentPut: absent}}
	for _, put := range batch {
		put.until = time.Now().Add(time.Minute)
	}
	answers, err := c.sendBatch(batch)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []error{object.ErrConflict, nil, object.ErrConflict, object.ErrSum, replica.ErrStale, nil, nil} {
		if !errors.Is(answers[i].err, want) {
			t.Errorf("put %d: %v, want %v", i, answers[i].err, want)
		}
		var conflict *object.ConflictError
		if errors.As(answers[i].err, &conflict) && conflict.Newest.Version != newer.Write.Version {
			t.Errorf("put %d met %+v", i, conflict.Newest)
		}
	}
}

// TestBatchRefused: what is wrong with a batch as a whole is every put's error.
func TestBatchRefused(t *testing.T) {
	p := startPlaces(t, options{token: "secret"}, "a")[0]
	if _, err := p.client(t, Dial{}).Put(t.Context(), "x", strings.NewReader("x"), putOf(1).Write); !errors.Is(err, ErrToken) {
		t.Errorf("without a token: %v", err)
	}
	put := putOf(5)
	frame := append(appendPutHead(nil, put), put.Content...)
	root := p.url + "/objects?puts"
	post := func(status int, part string, body []byte, headers ...string) {
		t.Helper()
		want(t, status, part, "POST", root, bytes.NewReader(body), append(headers, "Authorization", "Bearer secret")...)
	}
	post(400, "bad_name", frame) // for nodes only
	local := []string{headerLocal, "true"}
	post(400, "cut off", frame[:5], local...)
	post(400, "are left", frame[:len(frame)-1], local...)
	flipped := bytes.Clone(frame)
	flipped[len(flipped)-1] ^= 1
	post(400, "checksum", append(frame, flipped...), local...)
	post(400, "more than", bytes.Repeat(frame, maxBatchPuts+1), local...)
	post(400, "want at most", make([]byte, maxBatchBytes+maxPutFrame+1), local...)
	post(200, "", nil, local...)
	want(t, 200, `"objects":[]`, "GET", p.url+"/objects?list&deleted", nil, "Authorization", "Bearer secret")
}

// TestBatchConnectionEnds: a connection that the node has closed meanwhile is no error, but an answer that makes no
// sense is.
func TestBatchConnectionEnds(t *testing.T) {
	p := startPlaces(t, options{}, "a")[0]
	server := httptest.NewServer(p.server)
	defer server.Close()
	c, err := NewClient(server.URL, Dial{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		put := putOf(i)
		if _, err := c.Put(t.Context(), put.Name, bytes.NewReader(put.Content), put.Write); err != nil {
			t.Errorf("put %d: %v", i, err)
		}
		server.CloseClientConnections()
	}
	c.Close()
	if c.batches.idle() != nil {
		t.Error("a closed client has a connection")
	}
	for _, answer := range []string{"nonsense", "x"} {
		nonsense := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, answer) }))
		defer nonsense.Close()
		c, err := NewClient(nonsense.URL, Dial{})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := c.Put(t.Context(), "x", strings.NewReader("x"), replica.Write{Size: 1}); !errors.Is(err, errBatch) {
			t.Errorf("answer %q: %v", answer, err)
		}
	}
}

// TestBatchesByTLS go by HTTP/1.1, too.
func TestBatchesByTLS(t *testing.T) {
	p := startPlaces(t, options{}, "a")[0]
	server := httptest.NewUnstartedServer(p.server)
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	put := putOf(9)
	for i, config := range []*tls.Config{{RootCAs: roots}, nil} {
		c, err := NewClient(server.URL, Dial{TLS: config})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := c.Put(t.Context(), put.Name, bytes.NewReader(put.Content), put.Write); (err == nil) != (i == 0) {
			t.Errorf("by TLS %v: %v", config, err)
		}
	}
}

// TestFloodOfBatches: two nodes flood each other with batches over small buffers, and all puts are made.
func TestFloodOfBatches(t *testing.T) {
	places := startPlaces(t, options{
		connect: dialSmall, listen: func(l net.Listener) net.Listener { return smallListener{l} },
	}, "a", "b")
	content := conformance.Content(300, 1)
	source := replica.Source{Size: int64(len(content)), Open: func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(content)), nil
	}}
	var group sync.WaitGroup
	for i := range 8 * maxBatchPuts {
		group.Go(func() {
			if _, err := places[i%2].cluster.Put(t.Context(), fmt.Sprintf("flood/%d", i), source); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
}

// FuzzPuts: a node takes any bytes, and what it takes is what was sent.
func FuzzPuts(f *testing.F) {
	sum := object.SumOf(nil)
	for i, w := range []replica.Write{
		{Epoch: 1, Version: conformance.V(1)}, {Copy: true, Repair: true, Sum: &sum}, {If: object.IfAbsent()}, {If: object.IfNewest(conformance.V(7))},
	} {
		put := replica.ContentPut{Name: "name", Content: conformance.Content(i, 1), Write: w}
		one := append(appendPutHead(nil, put), put.Content...)
		f.Add(one)
		f.Add(append(one, one...))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		puts, err := parsePuts(b)
		if err != nil {
			if !errors.Is(err, errBatch) {
				t.Error(err)
			}
			return
		}
		var again []byte
		for _, put := range puts {
			again = append(appendPutHead(again, put), put.Content...)
		}
		if !bytes.Equal(again, b) {
			t.Errorf("%x, again %x", b, again)
		}
	})
}

// FuzzAnswers: so does a client.
func FuzzAnswers(f *testing.F) {
	info := object.Info{Name: "name", Version: conformance.V(1), Size: 3, Sum: object.SumOf([]byte("abc"))}
	f.Add(appendAnswer(nil, putAnswer{info: info}))
	f.Add(appendAnswer(nil, putAnswer{info, &object.ConflictError{Newest: info}}))
	f.Add(appendAnswer(nil, putAnswer{err: errors.New("disk is gone")}))
	f.Fuzz(func(t *testing.T, b []byte) {
		answers, err := parseAnswers([]*queuedPut{{ContentPut: replica.ContentPut{Name: "name"}}}, b)
		if err == nil && (len(answers) != 1 || answers[0].info.Name != "name" || answers[0].info.Size < 0) {
			t.Errorf("%x: %+v", b, answers)
		}
		if err != nil && !errors.Is(err, errBatch) {
			t.Error(err)
		}
	})
}
