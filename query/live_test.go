package query

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"carillon/bucket"
	"carillon/query/querytest"
	"carillon/series"
)

// watching is a hub, a store, and a reader of GET /api/v1/live for a selector.
type watching struct {
	live  *Live
	store *querytest.Store
	lines *bufio.Scanner
}

func watch(t *testing.T, selector string) *watching {
	t.Helper()
	w := &watching{live: NewLive(), store: querytest.New(defaultTiers()...)}
	mux := http.NewServeMux()
	newAPI(w.store, epoch, func(c *Config) { c.Live = w.live }).Register(mux)
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+"/api/v1/live?match[]="+url.QueryEscape(selector), nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := server.Client().Do(request)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { response.Body.Close() })
	if kind := response.Header.Get("Content-Type"); kind != "text/event-stream" {
		t.Fatalf("%s of type %s", response.Status, kind)
	}
	w.lines = bufio.NewScanner(response.Body)
	return w
}

// event is the next event and its data.
func (w *watching) event(t *testing.T) string {
	t.Helper()
	for w.lines.Scan() {
		if event, ok := strings.CutPrefix(w.lines.Text(), "event: "); ok {
			w.lines.Scan()
			return event + " " + strings.TrimPrefix(w.lines.Text(), "data: ")
		}
	}
	return "end"
}

func (w *watching) publish(t *testing.T, name string, kind series.Kind, seconds int64, values ...float64) {
	t.Helper()
	var b bucket.Bucket
	for i, v := range values {
		one := bucket.Of(epoch.UnixMilli()+seconds*1000+int64(i), v)
		b.Merge(kind, &one)
	}
	id := w.store.AddBucket(named(t, name), kind, b)
	w.live.Publish([]LiveBucket{{ID: id, Bucket: b}})
}

func TestLive(t *testing.T) {
	w := watch(t, `{__name__=~"x.*"}`)
	w.publish(t, "y", series.Gauge, 0, 1)
	w.publish(t, "x", series.Gauge, 3, 1, 2) // a series that came after the reader
	w.publish(t, "x_total", series.Counter, 1, 100)
	w.publish(t, "x_total", series.Counter, 11, 130)
	w.publish(t, "x_events", series.Event, 11, 5, 6)
	for _, want := range []string{
		`bucket {"metric":{"__name__":"x"},"kind":"gauge","bucket":[1772323200,2,1.5,0.5,1,2,1,2,3,null]}`,
		`bucket {"metric":{"__name__":"x_total"},"kind":"counter","bucket":[1772323200,1,100,0,100,100,100,100,100,null]}`,
		`bucket {"metric":{"__name__":"x_total"},"kind":"counter","bucket":[1772323210,1,130,0,130,130,130,130,130,3]}`,
		`bucket {"metric":{"__name__":"x_events"},"kind":"event","bucket":[1772323210,2,1.1,0.5,5,6,5,6,11,1.1]}`,
	} {
		if got := w.event(t); got != want {
			t.Errorf("\n got %s\nwant %s", got, want)
		}
	}
	w.live.Close()
	if got := w.event(t); got != "end" {
		t.Errorf("after the end: %s", got)
	}
}

// TestLiveLoses publishes to a reader that does not read: publishing goes on, and
// what the reader sees and what it is told it lost is all there was.
func TestLiveLoses(t *testing.T) {
	w := watch(t, "x")
	id := w.store.Add(named(t, "x"), series.Gauge, epoch.UnixMilli(), 1)
	other := w.store.Add(named(t, "y"), series.Gauge, epoch.UnixMilli(), 1)
	batch := make([]LiveBucket, 2000)
	for i := range batch {
		batch[i] = LiveBucket{ID: id, Bucket: bucket.Of(epoch.UnixMilli(), float64(i))}
	}
	var publishers sync.WaitGroup
	const batches = 400
	for range 2 {
		publishers.Go(func() {
			for range batches / 2 {
				w.live.Publish(batch)
			}
		})
	}
	publishers.Wait()
	w.live.Publish([]LiveBucket{{ID: other, Bucket: bucket.Of(epoch.UnixMilli(), 1)}})

	seen, lost := 0, 0
	for seen+lost < batches*len(batch) {
		event := w.event(t)
		var n int
		if _, err := fmt.Sscanf(event, `lost {"buckets":%d}`, &n); err == nil {
			lost += n
		} else if strings.HasPrefix(event, "bucket ") {
			seen++
		} else {
			t.Fatalf("after %d seen and %d lost: %s", seen, lost, event)
		}
	}
	if lost == 0 {
		t.Error("nothing was lost: the test is too small")
	}
}

func TestLiveStaysAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := newAPI(querytest.New(defaultTiers()...), epoch, func(c *Config) { c.Live = NewLive() })
		ctx, cancel := context.WithCancel(t.Context())
		w := httptest.NewRecorder()
		go api.live(w, httptest.NewRequestWithContext(ctx, http.MethodGet, "/api/v1/live?match[]=x", nil))
		time.Sleep(2*keepAlive + time.Second)
		cancel()
		synctest.Wait()
		if n := strings.Count(w.Body.String(), ": still here"); n != 2 {
			t.Errorf("%d signs of life in two intervals", n)
		}
		if n := api.config.Live.readers.Load(); n != 0 {
			t.Errorf("%d readers left", n)
		}
	})
}

func TestLiveRefuses(t *testing.T) {
	s := querytest.New(defaultTiers()...)
	ask := func(live *Live, query string) string {
		api := newAPI(s, epoch, func(c *Config) { c.Live = live })
		w := httptest.NewRecorder()
		api.live(w, httptest.NewRequest(http.MethodGet, "/api/v1/live?"+query, nil))
		return fmt.Sprint(w.Code, " ", w.Body)
	}
	full, closed := NewLive(), NewLive()
	for range liveReaders {
		if _, err := full.subscribe(); err != nil {
			t.Fatal(err)
		}
	}
	closed.Close()
	for _, c := range []struct {
		live        *Live
		query, want string
	}{
		{nil, "match[]=x", "503"},
		{full, "match[]=x", "the limit of 256 readers at a time"},
		{closed, "match[]=x", "the server is stopping"},
		{full, "", "400"},
		{full, "match[]={", "400"},
	} {
		if got := ask(c.live, c.query); !strings.Contains(got, c.want) {
			t.Errorf("%q: %s, want %s", c.query, got, c.want)
		}
	}
}

func TestQueueIsBounded(t *testing.T) {
	q := newQueue()
	batch := make([]LiveBucket, liveQueue/2)
	for range 5 {
		q.put(batch)
	}
	q.lose(7)
	batches, lost := q.take()
	if len(batches) != 2 || lost != 3*liveQueue/2+7 {
		t.Errorf("%d batches, %d lost", len(batches), lost)
	}
	if batches, lost := q.take(); len(batches) != 0 || lost != 0 {
		t.Errorf("taken twice: %d batches, %d lost", len(batches), lost)
	}
}
