package server

import (
	"net/http"
	"time"

	"carillon/query"
	"carillon/retention"
	"carillon/series"
)

// openBook enters all series in the book of retention rules. Without rules there is
// no book, and nobody asks.
func (p *parts) openBook(rules retention.Rules) {
	if len(rules) > 0 {
		p.book = retention.NewBook(rules, p.directory, time.Now)
	}
}

// keep is store.Config.Keep of a partition.
func (p *parts) keep(partition int) func(number uint32) []time.Duration {
	if p.book == nil {
		return nil
	}
	return func(number uint32) []time.Duration { return p.book.Keep(series.NewID(partition, number)) }
}

// maxPoints is quantize.Config.MaxPoints of a partition.
func (p *parts) maxPoints(partition int) func(number uint32) uint64 {
	if p.book == nil {
		return nil
	}
	return func(number uint32) uint64 { return p.book.MaxPoints(series.NewID(partition, number)) }
}

// admit is receive.Config.Admit.
func (p *parts) admit() func(series.Key) error {
	if p.book == nil {
		return nil
	}
	return p.book.Admit
}

// retention is query.Config.Retention.
func (p *parts) retention() query.Retention {
	if p.book == nil || p.book.Shortest() == nil {
		return nil
	}
	return p.book
}

// serveRetention answers GET /api/v1/status/retention: the rules in their order, with
// what each does.
func serveRetention(book *retention.Book) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		rules := []retention.Status{}
		if book != nil {
			rules = book.Status()
		}
		writeJSON(w, struct {
			Status string             `json:"status"`
			Data   []retention.Status `json:"data"`
		}{"success", rules})
	}
}
