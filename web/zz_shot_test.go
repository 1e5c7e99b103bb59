package web

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"
)

func TestShots(t *testing.T) {
	dir := os.Getenv("SHOTS")
	if dir == "" {
		t.Skip()
	}
	ctx := browser(t)
	dark := chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: "dark"}},
		})
		return err
	})
	for _, s := range []struct {
		name, hash string
		w, h       int64
		dark       bool
		do         func(p *tab)
	}{
		{"overview", "", 1280, 820, false, nil},
		{"overview-dark", "", 1280, 820, true, nil},
		{"name", nameHash("host_load1", "&range=6h"), 1280, 820, false, hover},
		{"name-dark", nameHash("http_requests_total", ""), 1280, 900, true, hover},
		{"year", nameHash("plant.line1.temperature", "&range=1y"), 1280, 820, false, hover},
		{"gaps", nameHash("plant.line1.temperature", "&range=6h"), 1280, 820, true, hover},
		{"query", "#/query?expr=sum+by+(mode)+(rate(host_cpu_seconds_total%5B1m%5D))", 1280, 820, false, hover},
		{"query-error", "#/query?expr=rate(host_load1", 1280, 600, true, nil},
		{"health", "#/health", 1280, 1300, false, func(p *tab) { p.run(chromedp.Click(chromedp.CSS(".reject summary"))) }},
		{"health-dark", "#/health", 1280, 900, true, nil},
		{"phone", "", 375, 760, false, nil},
		{"phone-name", nameHash("host_network_receive_bytes_total", ""), 375, 760, true, hover},
		{"phone-drawer", nameHash("host_load1", ""), 375, 760, false, func(p *tab) { p.run(chromedp.Click(chromedp.CSS("#menu"))) }},
		{"phone-health", "#/health", 375, 1000, false, nil},
		{"search", nameHash("host_load1", ""), 1280, 700, false, func(p *tab) { p.run(chromedp.SendKeys(chromedp.CSS("#search"), "host byte")) }},
		{"zoomed", nameHash("host_load1", "&from=1700000000&to=1700009000"), 1000, 700, false, nil},
		{"empty", "", 1280, 700, false, nil},
	} {
		t.Run(s.name, func(t *testing.T) {
			names := machine()
			if s.name == "empty" {
				names = nil
			}
			setup := []chromedp.Action[chromedp.Void]{}
			if s.dark {
				setup = append(setup, dark)
			}
			p := open(t, ctx, newFake(t, names), s.hash, s.w, s.h, setup...)
			time.Sleep(1200 * time.Millisecond)
			if s.do != nil {
				s.do(p)
				time.Sleep(400 * time.Millisecond)
			}
			png, err := chromedp.Run(p.ctx, chromedp.CaptureScreenshot())
			if err != nil {
				t.Fatal(err)
			}
			os.WriteFile(dir+"/"+s.name+".png", png, 0o644)
			p.noTrouble()
		})
	}
}

func hover(p *tab) {
	box := value[struct{ X, Y float64 }](p, `(() => {
		const { left, top, width, height } = document.querySelector(".u-over").getBoundingClientRect();
		return { x: left + width * 0.6, y: top + height / 2 };
	})()`)
	p.run(chromedp.MouseEvent(input.DispatchMouseEventTypeMouseMoved, box.X-20, box.Y), chromedp.MouseEvent(input.DispatchMouseEventTypeMouseMoved, box.X, box.Y))
}
