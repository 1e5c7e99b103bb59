package recording

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// some is events of every kind.
func some() []Event {
	return []Event{
		{Kind: Request, At: 0, Header: []Field{{"Content-Encoding", "snappy"}, {"X", ""}}, Body: []byte("one")},
		{Kind: Open, At: 5 * time.Microsecond, Connection: 1},
		{Kind: Data, At: 5 * time.Microsecond, Connection: 1, Body: []byte("a 1 1\nb")},
		{Kind: Open, At: time.Second, Connection: 2},
		{Kind: Request, At: time.Second, Body: nil},
		{Kind: Close, At: time.Hour, Connection: 1},
		{Kind: Data, At: time.Hour, Connection: 2, Body: []byte(" 2 2\n")},
		{Kind: Close, At: time.Hour, Connection: 2},
	}
}

func write(t testing.TB, events []Event) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := NewWriter(&b)
	if err != nil {
		t.Fatal(err)
	}
	for i := range events {
		if err := w.Write(&events[i]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// read returns what there is before an error; io.EOF is none.
func read(b []byte) (events []Event, err error) {
	r, err := NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	for {
		e, err := r.Next()
		if err == io.EOF {
			return events, nil
		}
		if err != nil {
			return events, err
		}
		if len(e.Body) == 0 {
			e.Body = nil
		}
		events = append(events, e)
	}
}

func TestRoundTrip(t *testing.T) {
	got, err := read(write(t, some()))
	if err != nil || !reflect.DeepEqual(got, some()) {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestEveryCutAndFlipIsNoticed(t *testing.T) {
	whole := write(t, some())
	for n := range whole {
		events, err := read(whole[:n])
		if !errors.Is(err, ErrCutOff) && !(n < 4 && errors.Is(err, ErrDamaged)) {
			t.Errorf("cut at %d of %d: %v", n, len(whole), err)
		}
		if !reflect.DeepEqual(events, some()[:len(events)]) && len(events) > 0 {
			t.Errorf("cut at %d: other events", n)
		}
	}
	for n := range whole {
		flipped := bytes.Clone(whole)
		flipped[n] ^= 0x10
		if _, err := read(flipped); !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrCutOff) {
			t.Errorf("flip at %d: %v", n, err)
		}
	}
	if _, err := read(append(bytes.Clone(whole), 0)); !errors.Is(err, ErrDamaged) {
		t.Errorf("a byte more: %v", err)
	}
}

func TestSummarize(t *testing.T) {
	whole := write(t, some())
	want := Summary{Requests: 2, Connections: 2, Bytes: 15, Lasts: time.Hour}
	if got, err := Summarize(bytes.NewReader(whole)); err != nil || got != want {
		t.Errorf("got %v, %v", got, err)
	}
	if got, err := Summarize(bytes.NewReader(whole[:len(whole)-1])); !errors.Is(err, ErrCutOff) || got != want {
		t.Errorf("cut off: got %v, %v", got, err)
	}
}

// TestLayout keeps docs/format/recording.md true.
func TestLayout(t *testing.T) {
	got := write(t, []Event{{Kind: Request, At: 300 * time.Microsecond, Header: []Field{{"A", "b"}}, Body: []byte("xy")}})
	want := "crr\x01" +
		"\x0a\x00\x00\x00" + "$:/\x87" + "\x01" + "\xac\x02" + "\x01" + "\x01A\x01b" + "xy" +
		"\x02\x00\x00\x00" + "z\r\"^" + "\x05" + "\x01"
	if string(got) != want {
		t.Errorf("got %q", got)
	}
}

func TestWriterRefuses(t *testing.T) {
	w, err := NewWriter(io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	for name, e := range map[string]Event{
		"body":   {Kind: Data, Connection: 1, Body: make([]byte, MaxBody+1)},
		"header": {Kind: Request, Header: make([]Field, maxFields+1)},
		"field":  {Kind: Request, Header: []Field{{strings.Repeat("x", maxFieldBytes+1), ""}}},
		"time":   {Kind: Request, At: -1},
	} {
		if err := w.Write(&e); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func FuzzReader(f *testing.F) {
	f.Add(write(f, some()))
	f.Add(write(f, nil))
	f.Add([]byte("crr\x01\x01\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		events, err := read(b)
		if err != nil {
			if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrCutOff) {
				t.Fatalf("an error of no kind: %v", err)
			}
			return
		}
		if again := write(t, events); !bytes.Equal(again, b) {
			t.Fatalf("%q was read, %q written", b, again)
		}
	})
}

// server remembers what it was sent.
type server struct {
	mu       sync.Mutex
	requests []Event  // guarded by mu
	lines    []string // a connection each; guarded by mu
	http     *httptest.Server
	listener net.Listener
}

func newServer(t *testing.T) *server {
	s := &server{}
	s.http = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.requests = append(s.requests, Event{Header: []Field{{r.Method + " " + r.URL.Path, r.Header.Get("Content-Encoding")}}, Body: body})
		if string(body) == "bad" {
			http.Error(w, "no good", http.StatusBadRequest)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}))
	t.Cleanup(s.http.Close)
	s.listener = listen(t)
	go func() {
		for {
			c, err := s.listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				text, err := io.ReadAll(c)
				s.mu.Lock()
				defer s.mu.Unlock()
				if err == nil {
					s.lines = append(s.lines, string(text))
				}
			}()
		}
	}()
	return s
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func (s *server) got() (requests, lines []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.requests {
		requests = append(requests, r.Header[0].Name+" "+r.Header[0].Value+" "+string(r.Body))
	}
	lines = slices.Clone(s.lines)
	slices.Sort(requests)
	slices.Sort(lines)
	return requests, lines
}

func post(t *testing.T, url, body string) int {
	t.Helper()
	request, err := http.NewRequest(http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Encoding", "snappy")
	request.Header.Set("Authorization", "secret")
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	return answer.StatusCode
}

func sendLines(t *testing.T, address string, pieces ...string) {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, p := range pieces {
		if _, err := io.WriteString(c, p); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if n, err := c.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Fatalf("no orderly end: %v", err)
	}
}

// TestRecordAndPlay sends through a recorder to one server, and plays the recording to
// another, which must get the same.
func TestRecordAndPlay(t *testing.T) {
	first, second := newServer(t), newServer(t)
	forward, err := url.Parse(first.http.URL)
	if err != nil {
		t.Fatal(err)
	}
	recorder := &Recorder{Forward: forward, ForwardLines: first.listener.Addr().String(), Logger: slog.New(slog.DiscardHandler)}
	requests, lines := listen(t), listen(t)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var file bytes.Buffer
	ended := make(chan error)
	go func() { ended <- recorder.Run(ctx, requests, lines, &file) }()

	base := "http://" + requests.Addr().String()
	for body, want := range map[string]int{"good": 204, "bad": 400} {
		if got := post(t, base+"/api/v1/write", body); got != want {
			t.Errorf("%s: status %d, want %d", body, got, want)
		}
	}
	post(t, base+"/api/v1/query", "other")
	sendLines(t, lines.Addr().String(), "a 1 1\n", "b 2 2\n")
	sendLines(t, lines.Addr().String())
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(file.Bytes(), []byte("secret")) {
		t.Error("credentials were recorded")
	}
	gotRequests, gotLines := first.got()
	if want := []string{"POST /api/v1/query snappy other", "POST /api/v1/write snappy bad", "POST /api/v1/write snappy good"}; !slices.Equal(gotRequests, want) {
		t.Errorf("forwarded: %q", gotRequests)
	}

	player := &Player{To: second.http.URL, ToLines: second.listener.Addr().String(), Speed: 0, Progress: func(time.Duration) {}}
	played, err := player.Play(t.Context(), &file)
	if err != nil {
		t.Fatal(err)
	}
	playedRequests, playedLines := second.got()
	if !slices.Equal(playedRequests, gotRequests[1:]) || !slices.Equal(playedLines, gotLines) || !slices.Equal(gotLines, []string{"", "a 1 1\nb 2 2\n"}) {
		t.Errorf("played %q and %q", playedRequests, playedLines)
	}
	want := Played{Requests: 2, Connections: 2, Bytes: 7 + 12, Refused: 1, FirstRefusal: "400 Bad Request: no good"}
	if played != want {
		t.Errorf("got %+v", played)
	}
}

// TestPlayKeepsTime plays slower than recorded: nothing may come early.
func TestPlayKeepsTime(t *testing.T) {
	s := newServer(t)
	file := write(t, []Event{{Kind: Request, At: 0}, {Kind: Request, At: 20 * time.Millisecond}})
	began := time.Now()
	if _, err := (&Player{To: s.http.URL, Speed: 0.5, Progress: func(time.Duration) {}}).Play(t.Context(), bytes.NewReader(file)); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < 40*time.Millisecond {
		t.Errorf("40 ms were played in %s", took)
	}
}

func TestPlayEnds(t *testing.T) {
	s := newServer(t)
	whole := write(t, some())
	play := func(ctx context.Context, p Player, b []byte) error {
		p.Progress = func(time.Duration) {}
		_, err := p.Play(ctx, bytes.NewReader(b))
		return err
	}
	here := Player{To: s.http.URL, ToLines: s.listener.Addr().String()}
	if err := play(t.Context(), here, whole[:len(whole)-1]); !errors.Is(err, ErrCutOff) {
		t.Errorf("cut off: %v", err)
	}
	nowhere := listen(t)
	_ = nowhere.Close()
	if err := play(t.Context(), Player{To: "http://" + nowhere.Addr().String(), ToLines: here.ToLines}, whole); err == nil || !strings.Contains(err.Error(), "send a request") {
		t.Errorf("no server: %v", err)
	}
	if err := play(t.Context(), Player{To: here.To, ToLines: nowhere.Addr().String()}, whole); err == nil || !strings.Contains(err.Error(), "connect") {
		t.Errorf("no lines: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	here.Speed = 1
	if err := play(ctx, here, whole); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("ended early: %v", err)
	}
}

func TestFailingDisk(t *testing.T) {
	recorder := &Recorder{Forward: &url.URL{Scheme: "http", Host: "127.0.0.1:1"}, Logger: slog.New(slog.DiscardHandler)}
	failure := errors.New("disk full")
	if err := recorder.Run(t.Context(), listen(t), nil, failing{failure}); !errors.Is(err, failure) {
		t.Errorf("got %v", err)
	}
}

type failing struct{ error }

func (f failing) Write([]byte) (int, error) { return 0, f.error }
