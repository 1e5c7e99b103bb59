package web

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"carillon/require"
)

const (
	chromium = "/usr/bin/chromium"
	patience = 20 * time.Second // for one condition of the page
)

// browser starts Chromium and returns the context that tabs are made from.
func browser(t *testing.T) context.Context {
	t.Helper()
	_, err := os.Stat(chromium)
	require.Feature(t, "chromium", err == nil, chromium+" is not installed")
	allocator, stop := chromedp.NewExecAllocator(context.Background(),
		chromedp.ExecPath(chromium), chromedp.UserDataDir(t.TempDir()), chromedp.Headless, chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.NoFirstRun, chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true))
	t.Cleanup(stop)
	ctx, quit := chromedp.NewContext(allocator)
	t.Cleanup(quit)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("start %s: %v", chromium, err)
	}
	return ctx
}

// tab is one page in the browser.
type tab struct {
	t   *testing.T
	ctx context.Context

	mu       sync.Mutex
	troubles []string // guarded by mu; console errors, exceptions, violations of the policy
}

// open shows a server's page at a hash, in a window of that size.
func open(t *testing.T, browser context.Context, f *fake, hash string, width, height int64, setup ...chromedp.Action[chromedp.Void]) *tab {
	t.Helper()
	ctx, stop := chromedp.NewContext(browser)
	t.Cleanup(stop)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatal(err)
	}
	p := &tab{t: t, ctx: ctx}
	console := chromedp.Console(ctx)
	go func() {
		for message, err := range console {
			if err != nil {
				return // the tab was closed
			}
			if message.IsException() || message.Type == chromedp.ConsoleError || message.Type == chromedp.ConsoleWarning {
				p.trouble(message.String())
			}
		}
	}()
	p.run(chromedp.EmulateViewport(width, height))
	p.run(setup...)
	p.run(chromedp.Navigate(f.URL + "/" + hash))
	return p
}

func (p *tab) trouble(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.troubles = append(p.troubles, text)
}

func (p *tab) noTrouble() {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.troubles) > 0 {
		p.t.Errorf("the browser complains:\n%s", strings.Join(p.troubles, "\n"))
	}
}

func (p *tab) run(actions ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	ctx, stop := context.WithTimeout(p.ctx, patience)
	defer stop()
	if err := chromedp.Do(ctx, actions...); err != nil {
		p.t.Fatal(err)
	}
}

// value evaluates JavaScript.
func value[T any](p *tab, script string) T {
	p.t.Helper()
	ctx, stop := context.WithTimeout(p.ctx, patience)
	defer stop()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](script))
	if err != nil {
		p.t.Fatalf("%s: %v", script, err)
	}
	return v
}

// until polls a condition, in JavaScript, until it holds.
func (p *tab) until(condition string) {
	p.t.Helper()
	deadline := time.Now().Add(patience)
	for !value[bool](p, "Boolean("+condition+")") {
		if time.Now().After(deadline) {
			p.t.Fatalf("%s: never came true; the page says:\n%s", condition, value[string](p, "document.body.innerText"))
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// eval runs JavaScript for its effect.
func eval(script string) chromedp.Action[chromedp.Void] {
	return chromedp.Evaluate[chromedp.Void](script)
}

// chart is what the debug hook window.carillon tells of a chart.
type chart struct {
	Lines []struct {
		Name   string
		Points int
		Banded bool
		Last   *float64
	}
	From, To, Step float64
}

func (p *tab) chart() chart {
	p.t.Helper()
	p.until("carillon.charts().length && carillon.charts()[0].lines.length && carillon.charts()[0].lines[0].points")
	return value[[]chart](p, "carillon.charts()")[0]
}

// inked counts the pixels of the first chart's canvas that are not transparent
// and have colour, which grid and labels do not.
const inked = `(() => {
	const canvas = document.querySelector(".uplot canvas");
	const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
	let n = 0;
	for (let i = 0; i < data.length; i += 4)
		if (data[i + 3] > 100 && Math.max(data[i], data[i + 1], data[i + 2]) - Math.min(data[i], data[i + 1], data[i + 2]) > 60) n++;
	return n;
})()`

func nameHash(name, more string) string { return "#/name?name=" + url.QueryEscape(name) + more }

func TestPage(t *testing.T) {
	ctx := browser(t)
	for name, test := range map[string]func(*testing.T, context.Context){
		"overview": testOverview, "series": testSeries, "many series": testManySeries, "hostile labels": testHostile, "odd values": testOddValues,
		"search": testSearch, "100,000 names": testManyNames, "zoom": testZoom, "live": testLive, "query": testQuery, "health": testHealth,
		"dark": testDark, "phone": testPhone, "empty": testEmpty, "server away": testAway, "hover": testHover,
		"directory": testDirectory, "directory entry": testEntry, "empty directory": testEmptyDirectory, "directory on a phone": testPhoneDirectory,
		"cache": testCache, "no cache": testNoCache, "cache on a phone": testPhoneCache,
	} {
		t.Run(name, func(t *testing.T) { test(t, ctx) })
	}
}

func testOverview(t *testing.T, ctx context.Context) {
	p := open(t, ctx, newFake(t, machine()), "", 1280, 800)
	p.until(`carillon.charts().length === 6 && carillon.charts().every((one) => one.lines.length && one.lines[0].points > 50)`)
	titles := value[[]string](p, `[...document.querySelectorAll(".panel h2")].map((one) => one.innerText)`)
	if got, want := strings.Join(titles, ", "), "CPU, Load, Memory, Network, Disk I/O, Disk space used"; got != want {
		t.Errorf("panels are %s, want %s", got, want)
	}
	if lines := p.chart().Lines; lines[0].Name != "user" {
		t.Errorf("the CPU's heaviest mode is %q, want user", lines[0].Name)
	}
	p.until(`document.getElementById("pulse-text").innerText.endsWith("points/s")`)
	if n := value[int](p, inked); n < 500 {
		t.Errorf("the canvas has %d coloured pixels", n)
	}
	p.noTrouble()
}

func testSeries(t *testing.T, ctx context.Context) {
	p := open(t, ctx, newFake(t, machine()), "", 1280, 800)
	p.until(`carillon.names() > 20`)
	p.run(chromedp.Click(`//div[@role="treeitem"][@title="host_load1"]`))
	p.until(`document.querySelector("h1").innerText === "host_load1"`)
	c := p.chart()
	if len(c.Lines) != 1 || c.Lines[0].Points < 300 || !c.Lines[0].Banded || c.Step != 10 {
		t.Errorf("the chart is %+v, want one line with its band, in steps of 10 s", c)
	}
	if hash := value[string](p, "location.hash"); hash != "#/name?name=host_load1" {
		t.Errorf("the address is %s", hash)
	}
	if n := value[int](p, inked); n < 500 {
		t.Errorf("the canvas has %d coloured pixels", n)
	}
	p.run(chromedp.Click(chromedp.CSS(`[data-range="1y"]`)))
	p.until(`carillon.state().range.span === 365 * 86400 && carillon.charts()[0].step >= 3600`)
	p.run(eval("history.back()"))
	p.until(`carillon.state().range.span === 3600 && carillon.charts()[0].step === 10`)
	p.noTrouble()
}

func testManySeries(t *testing.T, ctx context.Context) {
	p := open(t, ctx, newFake(t, machine()), nameHash("http_requests_total", ""), 1280, 800)
	if c := p.chart(); len(c.Lines) != 20 || c.Lines[0].Name != "path=/page/00" {
		t.Errorf("%d lines are drawn, the first is %q", len(c.Lines), c.Lines[0].Name)
	}
	if note := value[string](p, `document.querySelector(".note").innerText`); !strings.Contains(note, "The first 20 of 34 series") {
		t.Errorf("the note says %q", note)
	}
	p.run(chromedp.SendKeys(chromedp.CSS(".filter"), "page/3"))
	p.until(`carillon.charts()[0].lines.length === 4`)
	p.run(chromedp.Reload())
	p.until(`carillon.charts()[0]?.lines.length === 4`)
	p.noTrouble()
}

func testHostile(t *testing.T, ctx context.Context) {
	p := open(t, ctx, newFake(t, machine()), nameHash("hostile", ""), 1280, 800)
	p.chart()
	p.until(`document.querySelector(".legend").innerText.includes("<img src=x")`)
	p.run(eval(`location.hash = "#/health"`))
	p.until(`document.querySelectorAll(".reject").length === 2`)
	p.until(`document.querySelector(".reject").textContent.includes("<img src=x")`)
	if value[int](p, "document.images.length") != 0 || value[string](p, "document.title") != "Health · Carillon" {
		t.Error("a label's HTML became part of the page")
	}
	p.noTrouble()
}

func testOddValues(t *testing.T, ctx context.Context) {
	p := open(t, ctx, newFake(t, machine()), nameHash("plant.line1.pressure", ""), 1280, 800)
	if c := p.chart(); c.Lines[0].Points < 300 {
		t.Errorf("%d points", c.Lines[0].Points)
	}
	summary := value[string](p, `document.querySelector(".legend tbody").innerText`)
	if strings.Contains(summary, "Infinity") || strings.Contains(summary, "–\t") {
		t.Errorf("the numbers under the chart are %q", summary)
	}
	p.noTrouble()
}

func testSearch(t *testing.T, ctx context.Context) {
	p := open(t, ctx, newFake(t, machine()), "", 1280, 800)
	p.until(`carillon.names() > 20`)
	if groups := value[[]string](p, `[...document.querySelectorAll(".row[aria-level='1']")].map((row) => row.title)`); strings.Join(groups, " ") !=
		"go_… host_… hostile http_requests_total plant.line1.… shop.…" {
		t.Errorf("the tree's first level is %q", groups)
	}
	p.run(eval(`document.body.dispatchEvent(new KeyboardEvent("keydown", { key: "/", bubbles: true }))`))
	p.until(`document.activeElement.id === "search"`)
	p.run(chromedp.SendKeys(chromedp.CSS("#search"), "Bytes net"))
	p.until(`document.querySelector(".side-foot").innerText.startsWith("2 of")`)
	if marks := value[int](p, `document.querySelectorAll(".row mark").length`); marks != 4 {
		t.Errorf("%d marks, want two in each of two rows", marks)
	}
	p.run(chromedp.KeyEvent(kb.ArrowDown), chromedp.KeyEvent(kb.Enter))
	p.until(`carillon.state().name === "host_network_transmit_bytes_total"`)
	p.run(chromedp.SendKeys(chromedp.CSS("#search"), " nothing"))
	p.until(`document.querySelector(".side-foot").innerText === "No name holds all these words"`)
	p.run(chromedp.KeyEvent(kb.Escape))
	p.until(`document.querySelector("#search").value === "" && document.querySelector(".row.selected")`)
	p.noTrouble()
}

func testManyNames(t *testing.T, ctx context.Context) {
	names := map[string][]fakeSeries{}
	for i := range 100_000 {
		name := fmt.Sprintf("rack%02d.host%03d.cpu%d.idle", i/5000, i/10%500, i%10)
		names[name] = []fakeSeries{one(name, "gauge", wave(1, 5, 1, 1, 1))}
	}
	p := open(t, ctx, newFake(t, names), "", 1280, 800)
	p.until(`carillon.names() === 100000`)
	type timing struct {
		Milliseconds float64
		Rows         int
	}
	// Typing and drawing happen in the event's handler, so its time is all there is.
	got := value[timing](p, `(() => {
		const input = document.querySelector("#search");
		input.value = "host3 cpu7";
		const start = performance.now();
		input.dispatchEvent(new Event("input"));
		return { milliseconds: performance.now() - start, rows: document.querySelectorAll(".row").length };
	})()`)
	if got.Rows > 60 {
		t.Errorf("%d rows are elements; only those in sight should be", got.Rows)
	}
	if got.Milliseconds > 1000 {
		t.Errorf("a search of 100,000 names took %.0f ms", got.Milliseconds)
	}
	t.Logf("a search of 100,000 names took %.1f ms", got.Milliseconds)
	if foot := value[string](p, `document.querySelector(".side-foot").innerText`); !strings.HasPrefix(foot, "2\u202f000 of 100\u202f000") {
		t.Errorf("found %q", foot)
	}
	p.noTrouble()
}

// drag moves the mouse over the first chart's plotting area, in parts of its width.
func (p *tab) drag(from, to float64) {
	p.t.Helper()
	box := value[struct{ Left, Top, Width, Height float64 }](p, `(() => {
		const { left, top, width, height } = document.querySelector(".u-over").getBoundingClientRect();
		return { left, top, width, height };
	})()`)
	y := box.Top + box.Height/2
	x := func(part float64) float64 { return box.Left + part*box.Width }
	p.run(
		chromedp.MouseEvent(input.DispatchMouseEventTypeMouseMoved, x(from), y),
		chromedp.MouseEvent(input.DispatchMouseEventTypeMousePressed, x(from), y, chromedp.ButtonLeft),
		chromedp.MouseEvent(input.DispatchMouseEventTypeMouseMoved, x((from+to)/2), y, chromedp.ButtonLeft),
		chromedp.MouseEvent(input.DispatchMouseEventTypeMouseMoved, x(to), y, chromedp.ButtonLeft),
		chromedp.MouseEvent(input.DispatchMouseEventTypeMouseReleased, x(to), y, chromedp.ButtonLeft))
}

func testZoom(t *testing.T, ctx context.Context) {
	p := open(t, ctx, newFake(t, machine()), nameHash("host_load1", "&range=6h"), 1280, 800)
	before := p.chart()
	p.drag(0.25, 0.75)
	p.until(`carillon.state().range.from && carillon.charts()[0].to - carillon.charts()[0].from < 12000`)
	after := p.chart()
	if width := after.To - after.From; width < 10500 || width > 11100 || after.From < before.From+5000 {
		t.Errorf("half of %.0f..%.0f was dragged over, the range is %.0f..%.0f", before.From, before.To, after.From, after.To)
	}
	p.drag(0.4, 0.6)
	p.until(`carillon.charts()[0].to - carillon.charts()[0].from < 3000`)
	p.run(chromedp.Reload())
	p.until(`carillon.charts()[0]?.lines[0]?.points > 100 && carillon.charts()[0].to - carillon.charts()[0].from < 3000`)
	p.run(eval("history.back()"))
	p.until(`carillon.charts()[0].to - carillon.charts()[0].from > 10000`)
	p.drag(0.4, 0.6)
	p.until(`carillon.charts()[0].to - carillon.charts()[0].from < 3000`)
	p.run(chromedp.DoubleClick(chromedp.CSS(".u-over")))
	p.until(`carillon.charts()[0].to - carillon.charts()[0].from > 10000`)
	p.run(chromedp.Click(chromedp.CSS("#back")))
	p.until(`carillon.state().range.span === 3600`)
	p.noTrouble()
}

func testLive(t *testing.T, ctx context.Context) {
	f := newFake(t, machine())
	p := open(t, ctx, f, nameHash("host_load1", "&range=5m"), 1280, 800)
	p.chart()
	p.until(`carillon.state() && document.getElementById("pulse").dataset.state`)
	at := time.Now().Unix() / 10 * 10
	event := fmt.Sprintf("event: bucket\ndata: {\"metric\":{\"__name__\":\"host_load1\",\"host\":\"anvil\"},\"kind\":\"gauge\","+
		"\"bucket\":[%d,2,77.5,0.5,77,78,77,78,155,null]}\n\n", at)
	select {
	case f.live <- event:
	case <-time.After(patience):
		t.Fatal("the page never opened the stream")
	}
	p.until(`carillon.charts()[0].lines[0].last === 77.5`)
	asked := f.asked("/api/v1/buckets")
	select {
	case f.live <- "event: lost\ndata: {\"buckets\":3}\n\n":
	case <-time.After(patience):
		t.Fatal("the page closed the stream")
	}
	p.until(`carillon.charts()[0].lines[0].last !== 77.5`) // what was lost is read again
	if f.asked("/api/v1/buckets") <= asked {
		t.Error("lost buckets were not asked for")
	}
	p.noTrouble()
}

func testQuery(t *testing.T, ctx context.Context) {
	p := open(t, ctx, newFake(t, machine()), "", 1280, 800)
	p.run(chromedp.SendKeys(chromedp.CSS("#expr"), "sum by (mode) (rate(host_cpu_seconds_total[1m]))\r"))
	p.until(`carillon.state().page === "query"`)
	if c := p.chart(); len(c.Lines) != 7 {
		t.Errorf("%d lines, want one a mode", len(c.Lines))
	}
	legend := value[string](p, `document.querySelector(".legend").innerText`)
	if !strings.Contains(legend, "mode=user") {
		t.Errorf("the legend is %q", legend)
	}
	p.run(chromedp.Click(chromedp.CSS(".legend-name")))
	p.until(`document.querySelector(".legend tbody tr").classList.contains("off")`)
	p.noTrouble()

	p.run(eval(`document.querySelector("#expr").value = ""`), chromedp.SendKeys(chromedp.CSS("#expr"), "rate(host_load1[1m]\r"))
	p.until(`document.querySelector("#expr-error").innerText.includes("unclosed left parenthesis")`)
	p.run(eval(`document.querySelector("#expr").value = ""`), chromedp.SendKeys(chromedp.CSS("#expr"), "host_load1\r"))
	p.until(`document.querySelector("#expr-error").hidden && carillon.charts()[0].lines.length === 1`)
}

func testHealth(t *testing.T, ctx context.Context) {
	p := open(t, ctx, newFake(t, machine()), "#/health", 1280, 800)
	p.until(`document.querySelectorAll(".tile").length === 9 && document.querySelectorAll(".reject").length === 2`)
	text := value[string](p, `document.getElementById("main").innerText`)
	for _, want := range []string{"Port 2003 is taken", "points a second", "412 MiB", "remote_write", "malformed line", "1\u202f204", "Partitions", "version 0.1.0",
		"of 1 GiB; 29 MiB dropped early", "each byte is written 2.3 times", "merging for 12", "roll-up lag"} {
		if !strings.Contains(strings.ToLower(text), strings.ToLower(want)) {
			t.Errorf("the page does not say %q:\n%s", want, text)
		}
	}
	p.run(chromedp.Click(chromedp.CSS(".reject summary")))
	p.until(`document.querySelector(".reject").open && document.querySelector(".reject").innerText.includes("want 2, 3 or 7 fields, not 4")`)
	first := value[string](p, `document.querySelector(".tile-value").innerText`)
	p.until(fmt.Sprintf(`document.querySelector(".tile-value").innerText !== %q`, first)) // it refreshes by itself
	if !value[bool](p, `document.querySelector(".reject").open`) {
		t.Error("the refresh closed what was open")
	}
	p.noTrouble()
}

func testDark(t *testing.T, ctx context.Context) {
	background := `getComputedStyle(document.body).backgroundColor`
	f := newFake(t, machine())
	p := open(t, ctx, f, nameHash("host_load1", ""), 1280, 800,
		chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
			_, err := cdp.Call(ctx, t, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
				Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: "dark"}},
			})
			return err
		}))
	p.chart()
	dark := value[string](p, background)
	if !value[bool](p, "carillon.dark()") || dark != "rgb(20, 22, 26)" {
		t.Errorf("the system prefers dark, the background is %s", dark)
	}
	p.run(chromedp.Click(chromedp.CSS("#theme")))
	p.until(`!carillon.dark() && ` + background + ` === "rgb(246, 245, 242)"`)
	p.run(chromedp.Reload())
	p.chart()
	if value[bool](p, "carillon.dark()") {
		t.Error("the choice of light was forgotten")
	}
	p.run(chromedp.Click(chromedp.CSS("#theme")))
	p.until(`carillon.dark() && localStorage.length === 0`)
	if n := value[int](p, inked); n < 500 {
		t.Errorf("the canvas has %d coloured pixels", n)
	}
	p.noTrouble()
}

func testPhone(t *testing.T, ctx context.Context) {
	p := open(t, ctx, newFake(t, machine()), "", 375, 720)
	p.until(`carillon.names() > 20 && carillon.charts().length === 6`)
	for _, hash := range []string{"#/", nameHash("host_network_receive_bytes_total", ""), "#/query?expr=host_cpu_seconds_total", "#/health"} {
		p.run(eval(fmt.Sprintf("location.hash = %q", hash)))
		p.until(`carillon.charts().length && carillon.charts()[0].lines.length`)
		if width := value[int](p, `Math.max(document.documentElement.scrollWidth, document.getElementById("main").scrollWidth)`); width > 375 {
			t.Errorf("%s is %d pixels wide", hash, width)
		}
	}
	p.run(chromedp.Click(chromedp.CSS("#menu")))
	p.until(`document.getElementById("side").getBoundingClientRect().left === 0`)
	p.run(chromedp.SendKeys(chromedp.CSS("#search"), "load15"), chromedp.Click(chromedp.CSS(".row")))
	p.until(`carillon.state().name === "host_load15" && document.getElementById("side").getBoundingClientRect().right <= 0`)
	p.noTrouble()
}

func testEmpty(t *testing.T, ctx context.Context) {
	p := open(t, ctx, newFake(t, nil), "", 1280, 800)
	p.until(`document.querySelector(".welcome")?.innerText.includes("Nothing has arrived yet")`)
	p.run(eval(fmt.Sprintf("location.hash = %q", nameHash("missing", ""))))
	p.until(`document.querySelector(".empty-title")?.innerText === "No data in this range"`)
	p.noTrouble()
}

func testAway(t *testing.T, ctx context.Context) {
	f := newFake(t, machine())
	p := open(t, ctx, f, nameHash("host_load1", ""), 1280, 800)
	p.chart()
	f.setDown(true)
	p.run(chromedp.Click(chromedp.CSS(`[data-range="6h"]`)))
	p.until(`document.querySelector(".failure")?.innerText.includes("the server is draining")`)
	p.until(`document.getElementById("pulse").dataset.state === "bad"`)
	f.setDown(false)
	p.run(chromedp.Click(chromedp.CSS(".failure .button")))
	p.until(`!document.querySelector(".failure") && carillon.charts()[0].lines.length === 1`)
	p.until(`document.getElementById("pulse").dataset.state === "warn"`)
}

func testHover(t *testing.T, ctx context.Context) {
	p := open(t, ctx, newFake(t, machine()), nameHash("host_load1", "&range=1d"), 1280, 800)
	p.chart()
	box := value[struct{ X, Y float64 }](p, `(() => {
		const { left, top, width, height } = document.querySelector(".u-over").getBoundingClientRect();
		return { x: left + width / 2, y: top + height / 2 };
	})()`)
	p.run(chromedp.MouseEvent(input.DispatchMouseEventTypeMouseMoved, box.X-20, box.Y), chromedp.MouseEvent(input.DispatchMouseEventTypeMouseMoved, box.X, box.Y))
	p.until(`!document.querySelector(".tip").hidden`)
	tip := value[string](p, `document.querySelector(".tip").innerText`)
	for _, want := range []string{"avg", "min", "max", "sdev", "samples"} {
		if !strings.Contains(tip, want) {
			t.Errorf("the tooltip does not tell %s:\n%s", want, tip)
		}
	}
	p.run(chromedp.MouseEvent(input.DispatchMouseEventTypeMouseMoved, 5, 5))
	p.until(`document.querySelector(".tip").hidden`)
	p.run(chromedp.Focus(chromedp.CSS(".chart")), chromedp.KeyEvent(kb.ArrowLeft)) // the left arrow moves the crosshair too
	p.until(`!document.querySelector(".tip").hidden`)
	p.noTrouble()
}
