package agent

import (
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/shirou/gopsutil/v4/disk"
)

// TestEveryGroupOfThisHost collects from the real host.
func TestEveryGroupOfThisHost(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the sources are complete on Linux only")
	}
	m, err := newMetrics(prometheus.NewRegistry(), NewMemory(0))
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	families := newCollector(hostSources(true), time.Minute, slog.New(slog.DiscardHandler), m).collect(t.Context())
	t.Logf("%d families, %d points in %s", len(families), countPoints(families), time.Since(start))

	documented := documentedFamilies(t)
	found := make(map[string]family)
	for _, f := range families {
		found[f.Family] = f
		if len(f.points) == 0 || f.Help == "" {
			t.Errorf("%s: %d points, help %q", f.Family, len(f.points), f.Help)
		}
		if want := documented[f.Family]; want != f.Type {
			t.Errorf("%s is a %s; docs/agent.md says %q", f.Family, f.Type, want)
		}
	}
	for _, name := range []string{
		"host_cpu_seconds_total", "host_cpu_core_seconds_total", "host_load1", "host_load15", "host_memory_used_bytes",
		"host_memory_cached_bytes", "host_swap_total_bytes", "host_filesystem_used_bytes", "host_filesystem_inodes_free",
		"host_network_receive_bytes_total", "host_processes", "host_forks_total", "host_file_descriptors_allocated",
		"host_file_descriptors_max", "host_uptime_seconds", "host_boot_time_seconds",
	} {
		if _, ok := found[name]; !ok {
			t.Errorf("%s is missing", name)
		}
	}
	if _, err := os.Stat("/sys/block/vda"); err == nil && len(found["host_disk_read_bytes_total"].points) == 0 {
		t.Error("host_disk_read_bytes_total is missing")
	}
	running := 0.0
	for _, p := range found["host_processes"].points {
		running += p.value
	}
	if running < 1 || found["host_memory_total_bytes"].points[0].value < 1<<20 {
		t.Errorf("%v processes, %v bytes of memory", running, found["host_memory_total_bytes"].points[0].value)
	}
}

// documentedFamilies reads the table in docs/agent.md: name to type.
func documentedFamilies(t *testing.T) map[string]string {
	t.Helper()
	page, err := os.ReadFile("../docs/agent.md")
	if err != nil {
		t.Fatal(err)
	}
	families := make(map[string]string)
	for _, row := range regexp.MustCompile("(?m)^\\| `((?:host|carillon)_\\w+)` \\| (\\w+) \\|").FindAllStringSubmatch(string(page), -1) {
		families[row[1]] = row[2]
	}
	return families
}

// TestTableIsComplete compares the names in the source code with the table.
func TestTableIsComplete(t *testing.T) {
	documented := documentedFamilies(t)
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	var inCode []string
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		code, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`"((?:host|carillon_agent)_\w+)"`).FindAllStringSubmatch(string(code), -1) {
			inCode = append(inCode, m[1])
		}
	}
	for _, name := range inCode {
		if documented[name] == "" {
			t.Errorf("%s is not in docs/agent.md", name)
		}
	}
	for name := range documented {
		if !slices.Contains(inCode, name) {
			t.Errorf("docs/agent.md lists %s, which does not exist", name)
		}
	}
}

func TestProcessState(t *testing.T) {
	for stat, want := range map[string]string{
		"1 (init) S 0 1":           "sleeping",
		"12 (a) R (b) c) Z 0 1":    "zombie",
		"7 (kworker/0:1) I 2 0":    "idle",
		"8 (x) D 1":                "blocked",
		"9 (x) t 1":                "stopped",
		"9 (x) R 1":                "running",
		"9 (x) X 1":                "other",
		"":                         "",
		"9 (no end":                "",
		"9 (cut)":                  "",
		"9 (cut) ":                 "",
		"no parenthesis at all S ": "",
	} {
		letter, ok := processState(stat)
		got := ""
		if ok {
			got = stateName(letter)
		}
		if got != want {
			t.Errorf("%q: %q, want %q", stat, got, want)
		}
	}
}

func TestDescriptors(t *testing.T) {
	root := t.TempDir()
	file := filepath.Join(root, "sys/fs/file-nr")
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := procfs(root).collectDescriptors(t.Context()); err == nil {
		t.Error("no error without the file")
	}
	for content, want := range map[string]string{
		"1344\t0\t9223372036854775807\n": "host_file_descriptors_allocated 1344\nhost_file_descriptors_max 9.223372036854776e+18\n",
		"1 2\n":                          "",
		"x 0 3\n":                        "",
		"1 0 x\n":                        "",
	} {
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		families, err := procfs(root).collectDescriptors(t.Context())
		if (err == nil) != (want != "") {
			t.Errorf("%q: error %v", content, err)
		}
		got := ""
		for line := range strings.Lines(transcript(families)) {
			if value, ok := strings.CutPrefix(line, "  "); ok {
				got += value
			}
		}
		if got != want {
			t.Errorf("%q: %q, want %q", content, got, want)
		}
	}
}

func TestWhichMountsAreMeasured(t *testing.T) {
	for _, c := range []struct {
		mountpoint, fstype, option string
		want                       bool
	}{
		{"/", "ext4", "rw", true},
		{"/", "overlay", "rw", true},
		{"/home", "xfs", "rw", true},
		{"/etc/hosts", "ext4", "bind", false},
		{"/proc", "proc", "rw", false},
		{"/run", "tmpfs", "rw", false},
		{"/mnt", "nfs4", "rw", false},
		{"/snap/x", "squashfs", "ro", false},
		{"/odd", "", "rw", false},
		{"/odd", "ext", "rw", false},
	} {
		m := disk.PartitionStat{Mountpoint: c.mountpoint, Fstype: c.fstype, Opts: []string{c.option}}
		if got := keepsData(m); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}
