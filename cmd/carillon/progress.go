package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"

	"carillon/server"
)

// logEvery spaces the lines that stand for a progress bar where there is no
// terminal.
const logEvery = 2 * time.Second

// progress shows how far the start has come: a bar a stage on a terminal, a log
// line now and then elsewhere. One goroutine uses it.
type progress struct {
	logger *slog.Logger
	bars   *mpb.Progress // nil without a terminal
	bar    *mpb.Bar
	stage  string
	logged time.Time
}

func newProgress(w io.Writer, logger *slog.Logger) *progress {
	p := &progress{logger: logger}
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		p.bars = mpb.New(mpb.WithOutput(w), mpb.WithWidth(48))
	}
	return p
}

func (p *progress) update(stage string, done, total uint64) {
	started := stage != p.stage
	p.stage = stage
	if p.bars == nil {
		if started || done == total || time.Since(p.logged) >= logEvery {
			p.logged = time.Now()
			p.logger.Info(stage, "done", done, "of", total)
		}
		return
	}
	if started {
		p.bar = p.bars.AddBar(int64(total),
			mpb.PrependDecorators(decor.Name(stage, decor.WCSyncSpaceR)),
			mpb.AppendDecorators(decor.CountersNoUnit("%d / %d"), decor.Name(" "), decor.AverageETA(decor.ET_STYLE_GO)))
	}
	p.bar.SetTotal(int64(total), false)
	p.bar.SetCurrent(int64(done))
	if done == total {
		p.bar.SetTotal(int64(total), true)
	}
}

func (p *progress) close() {
	if p.bars != nil {
		if p.bar != nil {
			p.bar.SetTotal(-1, true)
		}
		p.bars.Wait()
	}
}

// announce says where to look, and how to send.
func announce(w io.Writer, bound server.Bound, c server.Config) {
	fmt.Fprintf(w, "\nCarillon %s is ready.\n\n", c.Version)
	fmt.Fprintf(w, "  page and API              %s\n", bound.URL)
	fmt.Fprintf(w, "  Prometheus remote write   %s/api/v1/write\n", bound.URL)
	if bound.Graphite != "" {
		fmt.Fprintf(w, "  Graphite plaintext        %s\n", bound.Graphite)
	}
	if bound.Istatd != "" {
		fmt.Fprintf(w, "  istatd lines              %s\n", bound.Istatd)
	}
	if bound.Cache != "" {
		fmt.Fprintf(w, "  memcached                 %s\n", bound.Cache)
	}
	if bound.CacheUDP != "" {
		fmt.Fprintf(w, "  memcached by UDP          %s\n", bound.CacheUDP)
	}
	fmt.Fprintf(w, "  data                      %s\n\n", c.Data)
}
