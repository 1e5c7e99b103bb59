package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/snappy"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/prompb"

	"carillon/agent"
	"carillon/pause"
)

// acknowledged is every sample that the server said it has.
type acknowledged struct {
	mu      sync.Mutex
	samples map[string]map[int64]float64 // series as PromQL prints it → ms → value; guarded by mu
	batches int                          // guarded by mu
	grew    chan struct{}                // capacity 1
}

func (a *acknowledged) add(batch []sent) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, s := range batch {
		if a.samples[s.series] == nil {
			a.samples[s.series] = make(map[int64]float64)
		}
		a.samples[s.series][s.ms] = s.value
	}
	a.batches++
	select {
	case a.grew <- struct{}{}:
	default:
	}
}

// wait returns when n more batches are acknowledged.
func (a *acknowledged) wait(t *testing.T, n int) {
	t.Helper()
	a.mu.Lock()
	goal := a.batches + n
	a.mu.Unlock()
	limit := time.After(time.Minute)
	for {
		a.mu.Lock()
		reached := a.batches >= goal
		a.mu.Unlock()
		if reached {
			return
		}
		select {
		case <-a.grew:
		case <-limit:
			t.Fatal("nothing was acknowledged for a minute")
		}
	}
}

type sent struct {
	series string
	ms     int64
	value  float64
}

// send repeats one batch until it is acknowledged: whoever is not sure sends again.
func send(ctx context.Context, try func() error) bool {
	for {
		if try() == nil {
			return true
		}
		if pause.For(ctx, 20*time.Millisecond) != nil { // the server is being restarted
			return false
		}
	}
}

const batchSeries = 20

// remoteWriteBatch is one sample of each of a sender's series.
func remoteWriteBatch(sender int, ms int64, random *rand.Rand) (body []byte, batch []sent) {
	var request prompb.WriteRequest
	for i := range batchSeries {
		number, value := fmt.Sprint(i), random.NormFloat64()*math.Pow10(random.IntN(20)-10)
		request.Timeseries = append(request.Timeseries, prompb.TimeSeries{
			Labels: []prompb.Label{
				{Name: "__name__", Value: "killed_remote"}, {Name: "i", Value: number}, {Name: "sender", Value: fmt.Sprint(sender)},
			},
			Samples: []prompb.Sample{{Timestamp: ms, Value: value}},
		})
		batch = append(batch, sent{fmt.Sprintf(`killed_remote{i="%d", sender="%d"}`, i, sender), ms, value})
	}
	raw, err := request.Marshal()
	if err != nil {
		panic(err)
	}
	return snappy.Encode(nil, raw), batch
}

func post(base string, body []byte) error {
	response, err := http.Post(base+"/api/v1/write", "application/x-protobuf", bytes.NewReader(body))
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode/100 != 2 {
		text, _ := io.ReadAll(response.Body)
		return fmt.Errorf("%s: %s", response.Status, text)
	}
	return nil
}

// sendLines sends lines and waits for the server to close its side, which it
// does when the journal has them.
func sendLines(address, lines string) error {
	c, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := io.WriteString(c, lines); err != nil {
		return err
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		return err
	}
	if n, err := c.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		return errors.Join(errors.New("no clean end"), err)
	}
	return nil
}

// lineBatch formats one line of each of a sender's series by format(name, ms, value).
func lineBatch(prefix string, sender int, ms int64, random *rand.Rand, format func(name string, seconds int64, value float64) string) (string, []sent) {
	var lines strings.Builder
	var batch []sent
	for i := range batchSeries {
		name := fmt.Sprintf("killed.%s.%d.%d", prefix, sender, i)
		value := random.NormFloat64()
		lines.WriteString(format(name, ms/1000, value))
		metric := model.Metric{model.MetricNameLabel: model.LabelValue(name)}
		batch = append(batch, sent{metric.String(), ms, value})
	}
	return lines.String(), batch
}

func graphiteLine(name string, seconds int64, value float64) string {
	return fmt.Sprintf("%s %v %d\n", name, value, seconds)
}

func istatdGauge(name string, seconds int64, value float64) string {
	return fmt.Sprintf("%s %d %v\n", name, seconds, value)
}

func istatdEvent(name string, seconds int64, value float64) string {
	return "*" + istatdGauge(name, seconds, value)
}

// recorder notes what the agent was told is kept.
type recorder struct {
	agent.Sender
	acknowledged *acknowledged
}

func (r recorder) Send(ctx context.Context, body []byte) error {
	if err := r.Sender.Send(ctx, body); err != nil {
		return err
	}
	raw, err := snappy.Decode(nil, body)
	if err != nil {
		return err
	}
	var request prompb.WriteRequest
	if err := request.Unmarshal(raw); err != nil {
		return err
	}
	var batch []sent
	for _, s := range request.Timeseries {
		metric := model.Metric{}
		for _, l := range s.Labels {
			metric[model.LabelName(l.Name)] = model.LabelValue(l.Value)
		}
		for _, p := range s.Samples {
			batch = append(batch, sent{metric.String(), p.Timestamp, p.Value})
		}
	}
	r.acknowledged.add(batch)
	return nil
}

// freePort finds an address that nobody listens on.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

const kills = 20

// TestNothingAcknowledgedIsLost sends by all protocols and the agent, kills the
// server at random moments, and sends again whatever was not acknowledged. In
// the end exactly what was acknowledged is there, to the bit, and none twice.
func TestNothingAcknowledgedIsLost(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	data, addresses := tempData(t), []string{freePort(t), freePort(t), freePort(t)}
	base := "http://" + addresses[0]
	args := []string{"--listen", addresses[0], "--graphite", addresses[1], "--istatd", addresses[2],
		"--tiers", "1s:1d,10s:10d,1h:1y", "--seal-every", "1s", "--agent=false"}
	acked := &acknowledged{samples: make(map[string]map[int64]float64), grew: make(chan struct{}, 1)}

	sending, stop := context.WithCancel(t.Context())
	var senders sync.WaitGroup
	start := time.Now().Add(-2 * time.Hour).Truncate(time.Second).UnixMilli()
	sender := func(kind int, try func(random *rand.Rand, ms int64) (func() error, []sent)) {
		random := rand.New(rand.NewPCG(seed, uint64(kind)))
		senders.Go(func() {
			for ms := start; sending.Err() == nil && ms < start+7_000_000; ms += 1000 {
				attempt, batch := try(random, ms)
				if send(t.Context(), attempt) {
					acked.add(batch)
				}
			}
		})
	}
	for k := range 2 {
		sender(k, func(random *rand.Rand, ms int64) (func() error, []sent) {
			body, batch := remoteWriteBatch(k, ms, random)
			return func() error { return post(base, body) }, batch
		})
	}
	for k, line := range []struct {
		name, address string
		format        func(string, int64, float64) string
	}{{"graphite", addresses[1], graphiteLine}, {"istatd", addresses[2], istatdGauge}, {"event", addresses[2], istatdEvent}} {
		sender(10+k, func(random *rand.Rand, ms int64) (func() error, []sent) {
			lines, batch := lineBatch(line.name, k, ms, random, line.format)
			return func() error { return sendLines(line.address, lines) }, batch
		})
	}
	stopAgent := startAgent(t, base, acked)

	for range kills {
		s := startServer(t, data, args...)
		acked.wait(t, 1+random.IntN(100))
		s.kill()
	}
	s := startServer(t, data, args...)
	acked.wait(t, 50)
	stop()
	senders.Wait()
	stopAgent()

	t.Run("after the kills", func(t *testing.T) { checkExactly(t, s.URL, acked) })
	if err := s.stop(); err != nil {
		t.Fatalf("SIGTERM: %v", err)
	}
	s = startServer(t, data, args...)
	t.Run("after a clean end", func(t *testing.T) { checkExactly(t, s.URL, acked) })
	if err := s.stop(); err != nil {
		t.Fatalf("SIGTERM: %v", err)
	}
	if out, err := carillon("verify", data).CombinedOutput(); err != nil {
		t.Errorf("verify: %v\n%s", err, out)
	}
}

// startAgent runs the agent with its buffer on disk; the returned function ends
// it when it has sent something more.
func startAgent(t *testing.T, base string, acked *acknowledged) (stop func()) {
	t.Helper()
	sender, err := agent.NewHTTP(base)
	if err != nil {
		t.Fatal(err)
	}
	logger := slog.New(slog.DiscardHandler)
	queue, err := agent.OpenQueue(t.TempDir(), 0, logger)
	if err != nil {
		t.Fatal(err)
	}
	registry := prometheus.NewRegistry()
	a, err := agent.New(agent.Config{
		Interval: time.Second, Host: "killed", Gatherer: registry, Registerer: registry, Logger: logger,
		Sender: recorder{sender, acked}, Buffer: queue,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	return func() {
		acked.wait(t, 1)
		cancel()
		if err := errors.Join(<-ended, queue.Close()); err != nil {
			t.Error(err)
		}
	}
}

func checkExactly(t *testing.T, base string, acked *acknowledged) {
	stored := samples(t, base, `{__name__=~"killed.+"}`, time.Now())
	for name, values := range samples(t, base, `{host="killed"}`, time.Now()) {
		stored[name] = values
	}
	if len(stored) != len(acked.samples) {
		t.Errorf("%d series are stored, %d were acknowledged", len(stored), len(acked.samples))
	}
	total := 0
	for name, want := range acked.samples {
		got := make(map[int64]float64, len(want))
		for _, pair := range stored[name] {
			got[int64(pair.Timestamp)] = float64(pair.Value)
		}
		if len(got) != len(stored[name]) || len(got) != len(want) {
			t.Errorf("%s: %d samples at %d times are stored, %d were acknowledged", name, len(stored[name]), len(got), len(want))
		}
		for ms, value := range want {
			if stored, ok := got[ms]; !ok || math.Float64bits(stored) != math.Float64bits(value) {
				t.Fatalf("%s at %d: stored %v (%v), acknowledged %v", name, ms, stored, ok, value)
			}
		}
		total += len(want)
	}
	t.Logf("%d samples of %d series in %d batches", total, len(acked.samples), acked.batches)
	checkCounts(t, base, acked)
}

// checkCounts compares the next coarser tier: as many samples in each 10 s as
// were acknowledged.
func checkCounts(t *testing.T, base string, acked *acknowledged) {
	now := time.Now()
	var result []struct {
		Metric  model.Metric
		Buckets [][]any
	}
	err := get(base, "/api/v1/buckets", url.Values{
		"match[]": {`{__name__=~"killed.+"}`}, "start": {seconds(now.Add(-3 * time.Hour))}, "end": {seconds(now)}, "step": {"10s"},
	}, &result)
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, r := range result {
		want := make(map[int64]float64)
		for ms := range acked.samples[r.Metric.String()] {
			want[ms/10_000*10]++
		}
		for _, b := range r.Buckets {
			if at, count := int64(b[0].(float64)), b[1].(float64); count != want[at] {
				t.Fatalf("%s: the 10 s from %d hold %v samples, %v were acknowledged", r.Metric, at, count, want[at])
			}
			seen++
		}
		if len(r.Buckets) != len(want) {
			t.Fatalf("%s: %d buckets of 10 s, want %d", r.Metric, len(r.Buckets), len(want))
		}
	}
	if seen == 0 {
		t.Error("no buckets of 10 s")
	}
}
