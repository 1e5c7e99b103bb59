package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"sort"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/prometheus/common/model"
	"github.com/spf13/cobra"
)

const (
	answerMaxBytes = 256 << 20 // longest answer that is read
	sparkWidth     = 40        // columns of a sparkline
	rangePoints    = 120       // points of a range without --step
)

func queryCommand() *cobra.Command {
	var server, span, step string
	cmd := &cobra.Command{
		Use:   "query EXPR",
		Short: "Ask a running server a PromQL question",
		Long: `Ask a running server a PromQL question. Without --range it prints the values of
now; with it, a table of each series' smallest, average, largest and newest value
and a sparkline of the range up to now.`,
		Example: `  carillon query 'host_load1'
  carillon query 'rate(host_network_receive_bytes_total[1m])' --range 1h --step 10s
  carillon query 'sum by (job) (up)' --url http://metrics:9480`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			q := url.Values{"query": {args[0]}}
			if span == "" {
				if step != "" {
					return errors.New("--step needs --range")
				}
				return printInstant(cmd.Context(), cmd.OutOrStdout(), server, q)
			}
			length, err := model.ParseDuration(span)
			if err != nil {
				return fmt.Errorf("--range: %w", err)
			}
			width := model.Duration(max(time.Duration(length)/rangePoints, time.Second).Truncate(time.Second))
			if step != "" {
				if width, err = model.ParseDuration(step); err != nil {
					return fmt.Errorf("--step: %w", err)
				}
			}
			end := time.Now()
			q.Set("start", seconds(end.Add(-time.Duration(length))))
			q.Set("end", seconds(end))
			q.Set("step", width.String())
			return printRange(cmd.Context(), cmd.OutOrStdout(), server, q)
		},
	}
	cmd.Flags().StringVar(&server, "url", "http://127.0.0.1:9480", "the server")
	cmd.Flags().StringVar(&span, "range", "", "how far back from now, like 1h or 7d")
	cmd.Flags().StringVar(&step, "step", "", "distance of the points of a range, like 10s")
	return cmd
}

func seconds(t time.Time) string { return strconv.FormatFloat(float64(t.UnixMilli())/1000, 'f', 3, 64) }

// answer is the Prometheus API's answer to a query.
type answer struct {
	Status string `json:"status"`
	Error  string `json:"error"`
	Data   struct {
		ResultType string          `json:"resultType"`
		Result     json.RawMessage `json:"result"`
	} `json:"data"`
	Warnings []string `json:"warnings"`
}

func ask(ctx context.Context, server, path string, q url.Values) (*answer, error) {
	address := strings.TrimSuffix(server, "/") + path
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, address, strings.NewReader(q.Encode()))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, fmt.Errorf("is the server running? %w", err)
	}
	defer response.Body.Close()
	var a answer
	if err := json.NewDecoder(io.LimitReader(response.Body, answerMaxBytes)).Decode(&a); err != nil {
		return nil, fmt.Errorf("%s: %s: not an answer of the query API: %w", address, response.Status, err)
	}
	if a.Status != "success" {
		return nil, errors.New(a.Error)
	}
	return &a, nil
}

func printInstant(ctx context.Context, w io.Writer, server string, q url.Values) error {
	a, err := ask(ctx, server, "/api/v1/query", q)
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	switch a.Data.ResultType {
	case "vector":
		var vector model.Vector
		if err := json.Unmarshal(a.Data.Result, &vector); err != nil {
			return fmt.Errorf("answer: %w", err)
		}
		sort.Slice(vector, func(i, j int) bool { return vector[i].Metric.Before(vector[j].Metric) })
		for _, s := range vector {
			fmt.Fprintf(table, "%s\t%s\n", s.Metric, s.Value)
		}
		if len(vector) == 0 {
			fmt.Fprintln(table, "no series")
		}
	case "matrix":
		return printMatrix(w, a)
	default:
		var pair model.SamplePair
		if err := json.Unmarshal(a.Data.Result, &pair); err != nil {
			fmt.Fprintf(table, "%s\n", a.Data.Result)
			break
		}
		fmt.Fprintf(table, "%s\n", pair.Value)
	}
	return table.Flush()
}

func printRange(ctx context.Context, w io.Writer, server string, q url.Values) error {
	a, err := ask(ctx, server, "/api/v1/query_range", q)
	if err != nil {
		return err
	}
	return printMatrix(w, a)
}

func printMatrix(w io.Writer, a *answer) error {
	var matrix model.Matrix
	if err := json.Unmarshal(a.Data.Result, &matrix); err != nil {
		return fmt.Errorf("answer: %w", err)
	}
	if len(matrix) == 0 {
		_, err := fmt.Fprintln(w, "no series")
		return err
	}
	first, last := extent(matrix)
	sort.Sort(matrix)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "series\tmin\tavg\tmax\tnewest\t")
	for _, s := range matrix {
		low, high, sum := math.Inf(1), math.Inf(-1), 0.0
		for _, v := range s.Values {
			low, high, sum = min(low, float64(v.Value)), max(high, float64(v.Value)), sum+float64(v.Value)
		}
		newest := float64(s.Values[len(s.Values)-1].Value)
		fmt.Fprintf(table, "%s\t%.6g\t%.6g\t%.6g\t%.6g\t%s\n", s.Metric, low, sum/float64(len(s.Values)), high, newest,
			sparkline(s.Values, first, last, low, high))
	}
	fmt.Fprintf(table, "%s to %s\t\t\t\t\t\n", first.Time().Format(time.DateTime), last.Time().Format(time.DateTime))
	return table.Flush()
}

func extent(matrix model.Matrix) (first, last model.Time) {
	first, last = math.MaxInt64, math.MinInt64
	for _, s := range matrix {
		first = min(first, s.Values[0].Timestamp)
		last = max(last, s.Values[len(s.Values)-1].Timestamp)
	}
	return first, last
}

// sparkline draws values between low and high, the average of each column's
// points; a column without points is blank.
func sparkline(values []model.SamplePair, first, last model.Time, low, high float64) string {
	const bars = "▁▂▃▄▅▆▇█"
	var sums, counts [sparkWidth]float64
	for _, v := range values {
		column := 0
		if last > first {
			column = int(int64(v.Timestamp-first) * (sparkWidth - 1) / int64(last-first))
		}
		sums[column] += float64(v.Value)
		counts[column]++
	}
	var b strings.Builder
	levels := []rune(bars)
	for i := range sums {
		level := (sums[i]/counts[i] - low) / (high - low) * float64(len(levels)-1)
		switch {
		case counts[i] == 0:
			b.WriteByte(' ')
		case math.IsNaN(level): // all values equal, or one is NaN
			b.WriteRune(levels[0])
		default:
			b.WriteRune(levels[min(max(int(math.Round(level)), 0), len(levels)-1)])
		}
	}
	return b.String()
}
