package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"carillon/export"
	"carillon/server"
)

// exportLayout names the files of an export after the times that they cover.
const exportLayout = "20060102T150405Z"

// exporting is one export. One goroutine uses it.
type exporting struct {
	url          string
	selectors    []string
	from, to     time.Time
	tier, format string
	dir          string // empty: standard output
	every        time.Duration
	standard     io.Writer
	progress     *progress

	counts         export.Counts
	files, skipped int
}

func (x *exporting) run(ctx context.Context) error {
	if x.dir == "" {
		return x.pour(ctx, x.standard, x.from, x.to)
	}
	if err := os.MkdirAll(x.dir, 0o755); err != nil {
		return err
	}
	// The files of two runs must meet, so they keep to multiples of their length.
	for from := x.from.Truncate(x.every); from.Before(x.to); from = from.Add(x.every) {
		to := from.Add(x.every)
		if to.After(x.to) {
			to = x.to
		}
		if err := x.file(ctx, from, to); err != nil {
			return fmt.Errorf("%w; everything before is written: run it again to go on, or elsewhere with --from %s", err, from.UTC().Format(time.RFC3339))
		}
	}
	return nil
}

// file writes one file, which gets its name when it is complete.
func (x *exporting) file(ctx context.Context, from, to time.Time) error {
	suffix := map[string]string{"openmetrics": ".om", "remote-write": ".rw", "json": ".jsonl"}[x.format]
	path := filepath.Join(x.dir, from.UTC().Format(exportLayout)+"-"+to.UTC().Format(exportLayout)+suffix)
	if _, err := os.Stat(path); err == nil {
		x.skipped++
		return nil
	}
	out, err := os.Create(path + ".part")
	if err != nil {
		return err
	}
	err = x.pour(ctx, out, from, to)
	if err == nil {
		err = out.Sync()
	}
	if err = errors.Join(err, out.Close()); err != nil {
		return err
	}
	x.files++
	return os.Rename(path+".part", path)
}

// pour writes all series from one time to another.
func (x *exporting) pour(ctx context.Context, out io.Writer, from, to time.Time) error {
	encoder, err := export.New(x.format)
	if err != nil {
		return err
	}
	body, err := x.ask(ctx, encoder, from, to)
	if err != nil {
		return err
	}
	defer body.Close()
	stream, err := export.NewReader(body)
	if err != nil {
		return err
	}
	buffered := bufio.NewWriterSize(out, 256<<10)
	stage := "exporting " + from.UTC().Format(time.DateTime)
	var scratch []byte
	for {
		chunk, err := stream.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if scratch, err = encoder.Append(scratch[:0], chunk); err != nil {
			return err
		}
		if _, err := buffered.Write(scratch); err != nil {
			return err
		}
		x.progress.update(stage, min(chunk.Done, stream.Series), stream.Series)
	}
	x.progress.update(stage, stream.Series, stream.Series)
	if _, err := buffered.Write(encoder.Finish(scratch[:0])); err != nil {
		return err
	}
	x.counts.Add(encoder.Counts())
	return buffered.Flush()
}

// ask requests the stream.
func (x *exporting) ask(ctx context.Context, encoder export.Encoder, from, to time.Time) (io.ReadCloser, error) {
	q := url.Values{
		"match[]": x.selectors, "tier": {x.tier},
		"start": {strconv.FormatInt(from.UnixMilli(), 10)}, "end": {strconv.FormatInt(to.UnixMilli(), 10)},
	}
	if encoder.SortByName() {
		q.Set("sort", "name")
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(x.url, "/")+server.ExportPath+"?"+q.Encode(), nil)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, fmt.Errorf("is the server running? %w", err)
	}
	if response.StatusCode != http.StatusOK {
		return nil, errors.Join(refusal(response), response.Body.Close())
	}
	return response.Body, nil
}
