// Command cuckoo measures Carillon's cuckoo table against a Go map with a RWMutex,
// xsync's Map and otter, on the workload of docs/cuckoo.md: time and bytes an entry.
// The peers run in this process, ours by `go test` in the main module's folder, in
// turns; of each the best of the rounds counts. Run it in the folder bench:
//
//	go run ./cuckoo          a table
//	go run ./cuckoo --json   a JSON line a figure
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime/debug"
	"strconv"
	"strings"
	"text/tabwriter"
)

// result is what one table did: wall nanoseconds an operation, all goroutines
// together, and heap bytes an entry, the names themselves not counted.
type result struct {
	name         string
	nanos, bytes float64
}

func main() {
	asJSON := flag.Bool("json", false, "print a JSON line a figure")
	rounds := flag.Int("rounds", 3, "rounds, of which the best counts")
	module := flag.String("module", "..", "folder of the main module")
	flag.Parse()
	ours, others, err := compare(*module, *rounds)
	if err == nil {
		err = report(os.Stdout, ours, others, *asJSON)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "cuckoo:", err)
		os.Exit(1)
	}
}

func compare(module string, rounds int) (ours result, others []result, err error) {
	names := nameList(keys)
	for round := range max(rounds, 1) {
		r, err := measureOurs(module)
		if err != nil {
			return result{}, nil, err
		}
		ours = better(ours, r, round)
		for i, p := range peers() {
			debug.FreeOSMemory()
			r, err := measure(p, names, operations)
			if err != nil {
				return result{}, nil, err
			}
			if round == 0 {
				others = append(others, r)
			}
			others[i] = better(others[i], r, round)
		}
	}
	return ours, others, nil
}

func better(a, b result, round int) result {
	if round == 0 {
		return b
	}
	return result{a.name, min(a.nanos, b.nanos), min(a.bytes, b.bytes)}
}

// measureOurs runs BenchmarkWorkload where the table is.
func measureOurs(module string) (result, error) {
	command := exec.Command("go", "test", "-run", "^$", "-bench", "^BenchmarkWorkload$",
		"-benchtime", strconv.Itoa(operations)+"x", "./cuckoo")
	command.Dir = module
	out, err := command.CombinedOutput()
	if err != nil {
		return result{}, fmt.Errorf("running our benchmark in %s: %w\n%s", module, err, out)
	}
	return parseBenchmark(string(out))
}

// parseBenchmark finds the benchmark's line: name, count, then pairs of value and unit.
func parseBenchmark(out string) (result, error) {
	for line := range strings.Lines(out) {
		fields := strings.Fields(line)
		if len(fields) < 4 || !strings.HasPrefix(fields[0], "BenchmarkWorkload") {
			continue
		}
		r := result{name: "carillon"}
		for i := 2; i+1 < len(fields); i += 2 {
			value, err := strconv.ParseFloat(fields[i], 64)
			if err != nil {
				return result{}, fmt.Errorf("reading our benchmark's output: %w", err)
			}
			switch fields[i+1] {
			case "ns/op":
				r.nanos = value
			case "B/entry":
				r.bytes = value
			}
		}
		if r.nanos > 0 && r.bytes > 0 {
			return r, nil
		}
	}
	return result{}, fmt.Errorf("our benchmark printed no figures:\n%s", out)
}

type figure struct {
	Figure string  `json:"figure"`
	Value  float64 `json:"value"`
	Unit   string  `json:"unit"`
}

func figures(ours result, others []result) []figure {
	fastest, smallest := others[0].nanos, others[0].bytes
	for _, o := range others {
		fastest, smallest = min(fastest, o.nanos), min(smallest, o.bytes)
	}
	all := []figure{
		{"cuckoo.time_vs_fastest", ours.nanos / fastest, "ratio"},
		{"cuckoo.bytes_vs_smallest", ours.bytes / smallest, "ratio"},
	}
	for _, r := range append([]result{ours}, others...) {
		all = append(all,
			figure{"cuckoo.time." + r.name, r.nanos, "ns/op"},
			figure{"cuckoo.bytes." + r.name, r.bytes, "B/entry"})
	}
	return all
}

func report(w io.Writer, ours result, others []result, asJSON bool) error {
	if asJSON {
		encoder := json.NewEncoder(w)
		for _, f := range figures(ours, others) {
			if err := encoder.Encode(f); err != nil {
				return fmt.Errorf("writing figures: %w", err)
			}
		}
		return nil
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	for _, f := range figures(ours, others) {
		fmt.Fprintf(table, "%s\t%.2f\t%s\t\n", f.Figure, f.Value, f.Unit)
	}
	return table.Flush()
}
