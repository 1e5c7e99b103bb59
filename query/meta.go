package query

import (
	"fmt"
	"maps"
	"net/http"
	"runtime"
	"slices"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"carillon/series"
)

// selectAll is the ids that any of the sets of matchers accepts, sorted. More
// than the limit of series is an error, unless the caller wants fewer anyway.
func (a *API) selectAll(sets [][]*labels.Matcher) ([]series.ID, error) {
	var all []series.ID
	for _, set := range sets {
		ids, err := a.config.Catalogue.Select(set...)
		if err != nil {
			return nil, &failure{internal, fmt.Errorf("select series: %w", err)}
		}
		all = append(all, ids...)
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}

// series answers /api/v1/series: the labels of the series that match. The times
// of the request are checked, and do not matter.
func (a *API) series(r *http.Request) (answer, error) {
	sets, limit, err := a.metaParameters(r)
	if err != nil {
		return answer{}, err
	}
	if len(sets) == 0 {
		return answer{}, errNoSelector
	}
	ids, err := a.selectAll(sets)
	if err != nil {
		return answer{}, err
	}
	ids, warnings := truncate(ids, limit)
	if err := a.limits.checkSeries(len(ids)); err != nil {
		return answer{}, err
	}
	found := make([]labels.Labels, 0, len(ids))
	var scratch labels.ScratchBuilder
	for _, id := range ids {
		key, ok := a.config.Catalogue.Key(id)
		if !ok {
			continue
		}
		set, err := labelsOf(key, &scratch)
		if err != nil {
			return answer{}, &failure{internal, fmt.Errorf("labels of series %d: %w", id, err)}
		}
		found = append(found, set)
	}
	write := func(e *encoder) {
		e.array(len(found), func(i int) {
			e.labels(found[i])
			e.maybeFlush()
		})
	}
	return answer{data: write, warnings: warnings}, nil
}

// metaParameters reads match[], limit, start and end. Nothing is done with the
// times: the catalogue does not know when a series had samples.
func (a *API) metaParameters(r *http.Request) (sets [][]*labels.Matcher, limit int, err error) {
	if limit, err = limitParameter(r, "limit"); err != nil {
		return nil, 0, err
	}
	sets, err = a.selectors(r)
	return sets, limit, err
}

// labelNames answers /api/v1/labels.
func (a *API) labelNames(r *http.Request) (answer, error) {
	return a.union(r, a.config.Catalogue.LabelNames)
}

// labelValues answers /api/v1/label/{name}/values. A name that starts with U__ is
// escaped as Prometheus escapes UTF-8 names in URLs.
func (a *API) labelValues(r *http.Request) (answer, error) {
	name := r.PathValue("name")
	if strings.HasPrefix(name, "U__") {
		name = model.UnescapeName(name, model.ValueEncodingEscaping)
	}
	if !model.UTF8Validation.IsValidLabelName(name) {
		return answer{}, &failure{badData, fmt.Errorf("invalid label name: %q", name)}
	}
	return a.union(r, func(set ...*labels.Matcher) ([]string, error) {
		return a.config.Catalogue.LabelValues(name, set...)
	})
}

// union answers with what look finds for any of the request's selectors, or for
// all series if it has none, sorted.
func (a *API) union(r *http.Request, look func(...*labels.Matcher) ([]string, error)) (answer, error) {
	sets, limit, err := a.metaParameters(r)
	if err != nil {
		return answer{}, err
	}
	if len(sets) == 0 {
		sets = [][]*labels.Matcher{nil}
	}
	all := []string{}
	for _, set := range sets {
		found, err := look(set...)
		if err != nil {
			return answer{}, &failure{internal, fmt.Errorf("look up labels: %w", err)}
		}
		all = append(all, found...)
	}
	slices.Sort(all)
	all, warnings := truncate(slices.Compact(all), limit)
	return value(all, warnings...), nil
}

// description is one entry of /api/v1/metadata.
type description struct {
	Type string `json:"type"`
	Help string `json:"help"`
	Unit string `json:"unit"`
}

// metadata answers /api/v1/metadata. There is one entry a family, so
// limit_per_metric has nothing to limit.
func (a *API) metadata(r *http.Request) (answer, error) {
	limit, err := limitParameter(r, "limit")
	if err != nil {
		return answer{}, err
	}
	if _, err := limitParameter(r, "limit_per_metric"); err != nil {
		return answer{}, err
	}
	families := map[string][]description{}
	for _, m := range a.config.Catalogue.Metadata() {
		if wanted := r.FormValue("metric"); wanted == "" || wanted == m.Family {
			families[m.Family] = []description{{Type: m.Type, Help: m.Help, Unit: m.Unit}}
		}
	}
	if limit > 0 && len(families) > limit {
		names := slices.Sorted(maps.Keys(families))
		for _, name := range names[limit:] {
			delete(families, name)
		}
	}
	return value(families), nil
}

// likePrometheus is the version of Prometheus whose API this one has. Grafana
// decides by it what it may ask for.
const likePrometheus = "2.55.0"

// buildInfo answers /api/v1/status/buildinfo.
func (a *API) buildInfo(*http.Request) (answer, error) {
	return value(struct {
		Version     string `json:"version"`
		Revision    string `json:"revision"`
		Branch      string `json:"branch"`
		BuildUser   string `json:"buildUser"`
		BuildDate   string `json:"buildDate"`
		GoVersion   string `json:"goVersion"`
		Application string `json:"application"`
		Carillon    string `json:"carillonVersion"`
	}{
		Version:     likePrometheus,
		GoVersion:   runtime.Version(),
		Application: "Carillon",
		Carillon:    a.config.Version,
	}), nil
}
