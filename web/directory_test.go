package web

import (
	"context"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// mainText is what the page says, in lower case with single spaces.
func (p *tab) mainText() string {
	p.t.Helper()
	text := value[string](p, `document.getElementById("main").innerText`)
	return strings.ToLower(strings.Join(strings.Fields(text), " "))
}

func (p *tab) says(wants ...string) {
	p.t.Helper()
	text := p.mainText()
	for _, want := range wants {
		if !strings.Contains(text, strings.ToLower(want)) {
			p.t.Errorf("the page does not say %q:\n%s", want, text)
		}
	}
}

func testDirectory(t *testing.T, ctx context.Context) {
	f := newFake(t, machine())
	p := open(t, ctx, f, "#/health", 1280, 800)
	p.until(`document.querySelector(".heading a")?.innerText === "Directory"`)
	p.run(chromedp.Click(chromedp.CSS(".heading a")))
	p.until(`carillon.state().page === "directory" && document.querySelectorAll(".tile").length === 8`)
	p.says("1 999 007", "187 MiB on disk", "12 registered", "2 000 412 feed is live",
		"hit rate by name 99.5 %", "hit rate by id 80 %", "hit rate of the absent 99.5 %", "names 99.5 %, ids –", "295 060", "290 000 found, 5 060 absent",
		"5 caches", "names present 239 511 262 144 91 % 37 MiB 99.5 %", "41 790 000 210 000", "ids present", "absent off", "series present", "create 2 000 100 41", "list 31")
	if bar := value[float64](p, `(([bar]) => bar.getBoundingClientRect().width / bar.parentElement.getBoundingClientRect().width)(document.querySelectorAll(".caches .bar"))`); bar < 0.9 || bar > 0.93 {
		t.Errorf("a load of 91.4 %% is a bar of %.3f", bar)
	}
	if title := value[string](p, "document.title"); title != "Directory · Carillon" {
		t.Errorf("the title is %q", title)
	}

	stats := fakeDirectory(1)
	stats.Feed.Live, stats.Feed.Reason, stats.Location.NegativesOff = false, "the stream has no leader", true
	stats.Location.Names.Failed, stats.Location.Stopped = 2, "no space left on device"
	f.setDirectory(stats) // the page refreshes by itself
	p.until(`document.querySelector(".tile.attention")?.innerText.includes("feed is not live")`)
	p.says("not live: the stream has no leader", "absences are not answered from cache", "changes have stopped: no space", "2 look-ups failed")
	f.setDirectory(map[string]any{"series": stats.Series, "location": nil})
	p.until(`document.querySelector(".tiles").hidden && document.querySelectorAll(".caches tbody").length === 1`)
	p.says("keeps no directory of locations", "series present")
	p.noTrouble()
}

func testEntry(t *testing.T, ctx context.Context) {
	p := open(t, ctx, newFake(t, machine()), "", 1280, 800)
	p.run(chromedp.Click(chromedp.CSS(".side-link")))
	p.until(`document.querySelector("#entry")?.checkVisibility() && document.querySelector(".side-link").ariaCurrent === "page"`)
	p.run(chromedp.SendKeys(chromedp.CSS("#entry"), "volume.home.anna\r"))
	p.until(`document.querySelector(".entry h3")?.innerText === "volume.home.anna"`)
	p.says("read-write id 536870915", "read-only id 9223372036854775809", "backup id –", "flags 0x21", "by "+hostile+", kind 2, for", "version 2000398", "modified 5 min", "anvil 0 0x4", "tenor-2 3 none")
	if hash := value[string](p, "location.hash"); hash != "#/directory?entry=volume.home.anna" {
		t.Errorf("the address is %s", hash)
	}
	if n := value[int](p, "document.images.length"); n != 0 {
		t.Error("an owner's HTML became part of the page")
	}
	p.run(eval(`location.hash = "#/directory?entry=9223372036854775809"`))
	p.until(`document.querySelector(".entry mark")?.innerText === "9223372036854775809"`)
	p.run(chromedp.Reload())
	p.until(`document.querySelector(".entry mark")?.innerText === "9223372036854775809"`)
	p.noTrouble()

	p.run(eval(`location.hash = "#/directory?entry=1234"`))
	p.until(`document.querySelector("#main").innerText.includes("No entry has the id 1234.")`)
	p.run(eval(`location.hash = "#/directory?entry=nobody"`))
	p.until(`document.querySelector("#main").innerText.includes("No entry has the name nobody.")`)
	p.run(eval(`location.hash = "#/directory?entry=a%2Fb"`))
	p.until(`document.querySelector(".failure-text")?.innerText.includes("has '/' at byte 1")`)
	p.run(eval(`location.hash = "#/directory"`))
	p.until(`!document.querySelector(".failure-text") && document.querySelector("#entry").value === ""`)
}

func testEmptyDirectory(t *testing.T, ctx context.Context) {
	f := newFake(t, nil)
	p := open(t, ctx, f, "#/directory", 1280, 800)
	p.until(`document.querySelector(".welcome")?.checkVisibility() && !document.querySelector("#entry").checkVisibility()`)
	p.says("no entries yet", "carillon directory put NAME --rw 1 --site server:0", "hit rate by name –")
	p.noTrouble()
	f.setDown(true)
	p.until(`document.querySelector(".notice.bad")?.innerText.includes("the server is draining")`)
	p.run(chromedp.Reload())
	p.until(`document.querySelector(".failure")?.innerText.includes("the server is draining")`)
	f.setDown(false)
	p.until(`!document.querySelector(".failure") && document.querySelector(".welcome").checkVisibility()`)
}

func testPhoneDirectory(t *testing.T, ctx context.Context) {
	p := open(t, ctx, newFake(t, machine()), "#/health", 375, 720)
	p.run(chromedp.Click(chromedp.CSS("#menu")))
	p.until(`document.getElementById("side").getBoundingClientRect().left === 0`)
	p.run(chromedp.Click(chromedp.CSS(".side-link")))
	p.until(`carillon.state().page === "directory" && document.getElementById("side").getBoundingClientRect().right <= 0`)
	p.until(`document.querySelectorAll(".caches tbody").length === 3`)
	p.run(eval(`location.hash = "#/directory?entry=volume.home.anna"`))
	p.until(`document.querySelector(".entry")`)
	if width := value[int](p, `Math.max(document.documentElement.scrollWidth, document.getElementById("main").scrollWidth)`); width > 375 {
		t.Errorf("the page is %d pixels wide", width)
	}
	p.run(eval(`window.drawn = document.querySelector(".caches"); drawn.parentElement.scrollLeft = 120`))
	p.until(`document.querySelector(".caches") !== drawn`) // it was drawn anew
	if left := value[int](p, `document.querySelector(".caches").parentElement.scrollLeft`); left != 120 {
		t.Errorf("the refresh scrolled the table from 120 to %d", left)
	}
	p.noTrouble()
}
