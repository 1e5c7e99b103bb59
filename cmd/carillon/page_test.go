package main

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"carillon/require"
)

const chromium = "/usr/bin/chromium"

// TestPageDrawsWhatWasSent sends a series to a real server and looks at it in a
// real browser.
func TestPageDrawsWhatWasSent(t *testing.T) {
	_, err := os.Stat(chromium)
	require.Feature(t, "chromium", err == nil, chromium+" is not installed")
	s := startServer(t, tempData(t), "--agent=false")
	var lines strings.Builder
	const points = 60
	now := time.Now().Unix()
	for i := range int64(points) {
		fmt.Fprintf(&lines, "page.test.wave %d %d\n", i%7, now-10*(points-i))
	}
	if err := sendLines(s.Graphite, lines.String()); err != nil {
		t.Fatal(err)
	}

	allocator, stop := chromedp.NewExecAllocator(t.Context(),
		chromedp.ExecPath(chromium), chromedp.UserDataDir(t.TempDir()), chromedp.Headless, chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.NoFirstRun, chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true))
	defer stop()
	tab, quit := chromedp.NewContext(allocator)
	defer quit()
	ctx, cancel := context.WithTimeout(tab, time.Minute)
	defer cancel()
	address := s.URL + "/#/name?name=" + url.QueryEscape("page.test.wave") + "&range=15m"
	if err := chromedp.Do(ctx, chromedp.EmulateViewport(1200, 800), chromedp.Navigate(address)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the page draws the series", func() error {
		const drawn = `window.carillon?.charts()[0]?.lines[0]?.points ?? 0`
		n, err := chromedp.Run(ctx, chromedp.Evaluate[int](drawn))
		if err == nil && n < points {
			err = fmt.Errorf("%d points are drawn", n)
		}
		return err
	})
}
