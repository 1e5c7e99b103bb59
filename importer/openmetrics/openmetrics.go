// Package openmetrics reads text files of samples with their times: OpenMetrics, as
// `carillon export` writes it, or the older text format of Prometheus. A file comes in, and
// samples and metadata go out, in the file's order. A File is a Stream of package importer,
// and `carillon import openmetrics` opens it.
package openmetrics

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"

	"carillon/importer"
	"carillon/series"
)

const (
	blockBytes   = 256 << 10 // of whole lines that are parsed together
	maxLineBytes = 1 << 20
	endMark      = "# EOF"
)

// File is a file of text. It satisfies importer.Stream.
type File struct {
	path   string
	file   *os.File
	name   string
	size   int64
	open   bool // it is OpenMetrics, and not the older format
	ledger *importer.Ledger
}

// Open opens a file. It is OpenMetrics if it ends as such a file does.
func Open(path string, ledger *importer.Ledger) (f *File, err error) {
	f = &File{path: path, ledger: ledger}
	if f.file, err = os.Open(path); err != nil {
		return nil, err
	}
	if f.name, f.size, err = importer.NameOf("text", f.file); err == nil {
		f.open, err = f.ends()
	}
	if err == nil && !f.open && filepath.Ext(path) == ".om" {
		err = fmt.Errorf("%s: it does not end with %q, as OpenMetrics does: it is cut short", path, endMark)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// ends tells whether the file ends with the mark of OpenMetrics.
func (f *File) ends() (bool, error) {
	tail := make([]byte, min(f.size, 64))
	if _, err := f.file.ReadAt(tail, f.size-int64(len(tail))); err != nil && !errors.Is(err, io.EOF) {
		return false, err
	}
	return bytes.HasSuffix(bytes.TrimSpace(tail), []byte(endMark)), nil
}

// Close closes the file.
func (f *File) Close() error { return f.file.Close() }

// Name names the file by its contents.
func (f *File) Name() string { return f.name }

// Read reads the file.
func (f *File) Read(ctx context.Context, to importer.Sink) error {
	r := &reader{open: f.open, path: f.path, to: to, ledger: f.ledger, symbols: labels.NewSymbolTable()}
	progress := func(done int64) { to.Progress(done, f.size) }
	return r.read(ctx, io.NewSectionReader(f.file, 0, f.size), progress)
}

// reader reads text.
type reader struct {
	open    bool
	path    string
	to      importer.Sink
	ledger  *importer.Ledger
	symbols *labels.SymbolTable

	line   uint64 // of the last one that was parsed
	last   string // the series of the last sample, as it was written
	key    series.Key
	bad    error           // what is wrong with that series
	family series.Metadata // that the last comments are about
	parsed []sample
}

// sample is one of a block that is not parsed to its end.
type sample struct {
	key   series.Key
	time  int64
	value float64
}

// symbolsBytes is after how much text the table of strings that the parser keeps is begun
// anew.
const symbolsBytes = 64 << 20

func (r *reader) read(ctx context.Context, in io.Reader, progress func(int64)) error {
	lines := bufio.NewReaderSize(in, maxLineBytes)
	var block []byte
	done, symbols := int64(0), int64(0)
	for ended := false; !ended; {
		line, err := lines.ReadSlice('\n')
		done += int64(len(line))
		ended = errors.Is(err, io.EOF)
		long := errors.Is(err, bufio.ErrBufferFull)
		if err != nil && !ended && !long {
			return err
		}
		// The ends of files that were put together are like lines of another format.
		apart := long || r.open && string(bytes.TrimSuffix(line, []byte{'\n'})) == endMark
		if !apart && len(line) > 0 {
			block = append(append(block, bytes.TrimSuffix(line, []byte{'\n'})...), '\n')
		}
		if len(block) >= blockBytes || ended || apart {
			if err := errors.Join(r.block(block), ctx.Err()); err != nil {
				return err
			}
			block = block[:0]
			progress(done)
		}
		if apart {
			r.line++
		}
		if long {
			r.ledger.Refuse(importer.BadLine, 1, r.place(r.line), fmt.Sprintf("it has more than %d bytes", maxLineBytes))
			n, err := skipLine(lines)
			if done += n; err != nil {
				return err
			}
		}
		if done-symbols >= symbolsBytes {
			r.symbols, symbols = labels.NewSymbolTable(), done
		}
	}
	return r.describe(series.Metadata{})
}

func skipLine(in *bufio.Reader) (n int64, err error) {
	for {
		rest, err := in.ReadSlice('\n')
		n += int64(len(rest))
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if errors.Is(err, io.EOF) {
			err = nil // the next call sees it, too
		}
		return n, err
	}
}

func (r *reader) place(line uint64) string { return fmt.Sprintf("%s, line %d", r.path, line) }

// block reads whole lines: all together, or if there is something wrong one by one.
func (r *reader) block(block []byte) error {
	count := uint64(bytes.Count(block, []byte{'\n'}))
	family := r.family
	r.parsed = r.parsed[:0]
	if refused, err := r.parse(block); err == nil {
		r.line += count
		refused.count(r.ledger, r.place(r.line))
		return r.give()
	}
	r.family = family
	for line := range bytes.Lines(block) {
		r.line++
		r.parsed = r.parsed[:0]
		refused, err := r.parse(line)
		if err != nil {
			r.ledger.Refuse(importer.BadLine, 1, r.place(r.line), err.Error())
			continue
		}
		refused.count(r.ledger, r.place(r.line))
		if err := r.give(); err != nil {
			return err
		}
	}
	return nil
}

// give hands out what was parsed.
func (r *reader) give() error {
	for _, s := range r.parsed {
		if err := r.to.Add(s.key, s.time, s.value); err != nil {
			return err
		}
	}
	return nil
}

// refused is what parsing left out.
type refused struct {
	timeless, exemplars, bad uint64
	why                      error
}

func (n *refused) count(ledger *importer.Ledger, place string) {
	ledger.Refuse(importer.NoTime, n.timeless, place, "")
	ledger.Refuse(importer.Exemplar, n.exemplars, place, "")
	if n.bad > 0 {
		ledger.Refuse(importer.BadSeries, n.bad, place, n.why.Error())
	}
}

// parse parses whole lines.
func (r *reader) parse(text []byte) (n refused, err error) {
	var p textparse.Parser
	if r.open {
		p = textparse.NewOpenMetricsParser(append(bytes.Clone(text), endMark+"\n"...), r.symbols)
	} else {
		p = textparse.NewPromParser(bytes.Clone(text), r.symbols, false)
	}
	for {
		entry, err := p.Next()
		switch {
		case errors.Is(err, io.EOF):
			return n, nil
		case err != nil:
			return n, err
		case entry == textparse.EntrySeries:
			r.sample(p, &n)
		case entry == textparse.EntryType:
			name, kind := p.Type()
			err = r.describe(series.Metadata{Family: string(name), Type: string(kind)})
		case entry == textparse.EntryHelp:
			name, help := p.Help()
			err = r.describe(series.Metadata{Family: string(name), Help: string(help)})
		case entry == textparse.EntryUnit:
			name, unit := p.Unit()
			err = r.describe(series.Metadata{Family: string(name), Unit: string(unit)})
		}
		if err != nil {
			return n, err
		}
	}
}

func (r *reader) sample(p textparse.Parser, n *refused) {
	text, time, value := p.Series()
	if string(text) != r.last {
		r.last = string(text)
		var l labels.Labels
		p.Labels(&l)
		pairs := make([]series.Label, 0, l.Len())
		l.Range(func(l labels.Label) {
			pairs = append(pairs, series.Label{Name: strings.Clone(l.Name), Value: strings.Clone(l.Value)})
		})
		r.key, r.bad = series.NewKey(pairs)
	}
	for e := (exemplar.Exemplar{}); p.Exemplar(&e); {
		n.exemplars++
	}
	switch {
	case r.bad != nil:
		n.bad++
		n.why = r.bad
	case time == nil:
		n.timeless++
	default:
		r.parsed = append(r.parsed, sample{r.key, *time, value})
	}
}

// describe gathers what the comments say of a family, and hands it out when the next one
// begins.
func (r *reader) describe(m series.Metadata) error {
	if m.Family == r.family.Family {
		r.family.Type = cmp.Or(m.Type, r.family.Type)
		r.family.Help = cmp.Or(m.Help, r.family.Help)
		r.family.Unit = cmp.Or(m.Unit, r.family.Unit)
		return nil
	}
	last := r.family
	r.family = m
	if last.Type == "" {
		return nil
	}
	return r.to.Describe(last)
}
