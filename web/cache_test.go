package web

import (
	"context"
	"testing"

	"github.com/chromedp/chromedp"
)

func testCache(t *testing.T, ctx context.Context) {
	f := newFake(t, machine())
	p := open(t, ctx, f, "", 1280, 800)
	p.until(`document.querySelector('.side-link[href="#/cache"]')?.checkVisibility()`)
	p.run(chromedp.Click(chromedp.CSS(`.side-link[href="#/cache"]`)))
	p.until(`carillon.state().page === "cache" && document.querySelectorAll(".tile").length === 8`)
	p.says("hit rate 99.", "answered by the kernel 97.", "eth0, native mode", "512 404", "of 256 MiB", "evictions 20 133 19 004 never read",
		"500 012 series 44 000 000 stored", "12 040 stored all are published", "who answered", "kernel 97.", "user space 2.",
		"anything but one get of one key 1 204 112", "the reply is too large 40 310", "its source is not allowed 17",
		"within 8 µs", "half within 8 µs, 99 % within 64 µs", "9.3", "cpu.idle.host13 about 1.204 m", hostile, "144 b 88.99 %", "waiting 4 096", "bytes_written 2 gib")
	if n := value[int](p, "document.images.length"); n != 0 {
		t.Error("a key's HTML became part of the page")
	}
	if title := value[string](p, "document.title"); title != "Cache · Carillon" {
		t.Errorf("the title is %q", title)
	}
	p.until(`carillon.charts()[0]?.lines.length === 3 && carillon.charts()[0].lines[0].points >= 1 && carillon.charts()[0].lines[0].last > 0`) // it refreshes by itself
	p.until(`!document.querySelector(".tile").innerText.includes("–")`)

	f.setCache(nil)
	p.until(`document.querySelector(".welcome")?.checkVisibility() && document.querySelector("#main").innerText.includes("This server has no cache")`)
	f.setCache(emptyCache())
	p.until(`document.querySelector("#main").innerText.includes("Nobody has asked yet")`)
	p.says("carillon cache get NAME --server 127.0.0.1:11211", "none no --cache-xdp", "no driver answers", "nothing was timed yet", "no items yet", "off not published", "hit rate –")
	f.setDown(true)
	p.until(`document.querySelector(".notice.bad")?.innerText.includes("the server is draining")`)
}

func testNoCache(t *testing.T, ctx context.Context) {
	f := newFake(t, machine())
	f.setCache(nil)
	p := open(t, ctx, f, "#/cache", 1280, 800)
	p.until(`document.querySelector("#main").innerText.includes("carillon serve --cache 127.0.0.1:11211")`)
	p.until(`document.getElementById("pulse-text").innerText.endsWith("points/s")`)
	if value[bool](p, `document.querySelector('.side-link[href="#/cache"]').checkVisibility()`) {
		t.Error("there is a link to a page that shows nothing")
	}
}

func testPhoneCache(t *testing.T, ctx context.Context) {
	p := open(t, ctx, newFake(t, machine()), "#/cache", 375, 720)
	p.until(`document.querySelectorAll(".tile").length === 8`)
	if width := value[int](p, `Math.max(document.documentElement.scrollWidth, document.getElementById("main").scrollWidth)`); width > 375 {
		t.Errorf("the page is %d pixels wide", width)
	}
	p.noTrouble()
}
