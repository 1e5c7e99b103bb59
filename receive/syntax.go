package receive

import (
	"bytes"
	"errors"

	"carillon/receive/graphite"
	"carillon/receive/istatd"
	"carillon/receive/text"
	"carillon/series"
)

// graphiteLines is the syntax of Graphite plaintext.
type graphiteLines struct{ line graphite.Line }

func (*graphiteLines) dialect() dialect { return graphiteName }

func (g *graphiteLines) split(_ *lines, line []byte, s *split) bool {
	p := &g.line
	if !p.Split(line) || !validTime(p.Time) {
		return false
	}
	s.name, s.form, s.value, s.time = p.Name, timed, p.Value, p.Time
	if p.Now {
		s.form = untimed
	}
	return true
}

func (g *graphiteLines) parse(l *lines, line []byte, i int) {
	p := &g.line
	if reason := p.Parse(line); reason != "" {
		l.refuse(string(reason), line, "")
		return
	}
	if len(p.Labels) == 0 {
		return
	}
	if !validTime(p.Time) {
		l.refuse(string(graphite.BadTime), line, badTimeDetail)
		return
	}
	name := p.Labels[0].Value // Series sorts them
	handle, err := l.request.Series(p.Labels)
	if err != nil {
		l.refuseSeries(string(graphiteReason(err)), line, err)
		return
	}
	l.learn(i, p.Name, handle)
	if p.Now {
		l.request.Arrived(handle, func() series.Kind { return l.writer.directory.KindOf(name) }, p.Value)
	} else {
		l.request.Point(handle, p.Time, p.Value)
	}
}

func (*graphiteLines) kind(l *lines, s *split) series.Kind {
	name, _, _ := bytes.Cut(s.name, []byte{';'})
	return l.writer.directory.KindOf(text.String(name))
}

// graphiteReason sorts the limits of package series into name and tags.
func graphiteReason(err error) graphite.Reason {
	var label *series.LabelError
	if errors.As(err, &label) && label.Name == series.MetricName {
		return graphite.BadName
	}
	return graphite.BadTag
}

// istatdLines is the syntax of istatd.
type istatdLines struct {
	line istatd.Line
	name [1]series.Label // scratch
}

func (*istatdLines) dialect() dialect { return istatdName }

func (t *istatdLines) split(l *lines, line []byte, s *split) bool {
	p := &t.line
	if !p.Split(line) || !validTime(p.Time) {
		return false
	}
	s.name, s.form, s.value, s.time = p.Name, timed, p.Value, p.Time
	switch {
	case p.Form == istatd.Aggregate:
		s.form, s.bucket = aggregate, int32(len(l.batch.buckets))
		l.batch.buckets = append(l.batch.buckets, p.Bucket)
	case p.Now:
		s.form = untimed
	}
	return true
}

func (t *istatdLines) parse(l *lines, line []byte, i int) {
	p := &t.line
	if reason := p.Parse(line); reason != "" {
		l.refuse(string(reason), line, "")
		return
	}
	switch p.Form {
	case istatd.Nothing:
		return
	case istatd.Remark:
		l.from.remark(p.Key, p.Text)
		return
	}
	if !validTime(p.Time) {
		l.refuse(string(istatd.BadTime), line, badTimeDetail)
		return
	}
	for _, name := range p.Names {
		t.name[0] = series.Label{Name: series.MetricName, Value: name}
		handle, err := l.request.SeriesOf(p.Kind(), t.name[:])
		if err != nil {
			l.refuseSeries(string(istatd.BadName), line, err)
			continue
		}
		if len(p.Names) == 1 {
			l.learn(i, p.Name, handle)
		}
		switch {
		case p.Form == istatd.Aggregate:
			l.request.Aggregate(handle, &p.Bucket)
		case p.Now:
			l.request.Arrived(handle, p.Kind, p.Value)
		default:
			l.request.Point(handle, p.Time, p.Value)
		}
	}
}

func (*istatdLines) kind(_ *lines, s *split) series.Kind {
	if s.name[0] == '*' {
		return series.Event
	}
	return series.Gauge
}
