package measure

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"carillon/traffic"
)

// peer is a server that can be measured, and how to start it.
type peer struct {
	name    string
	http    bool   // takes remote write and answers PromQL
	journal string // folder below its data of what is not in its final place yet; "" if it has none

	holds time.Duration // it may do nothing for that long though it has something to write

	// command is its command line for a data directory that exists and is its own.
	command func(data string, p ports) ([]string, error)

	// check fails unless the server, started again, has what it acknowledged.
	check func(ctx context.Context, s *process, l *load, want traffic.Sum) error
}

// Names of peers, as Config.Peers has them.
const (
	Ours        = "carillon"
	Victoria    = "victoria-metrics"
	Prometheus  = "prometheus"
	CarbonCache = "carbon-cache"
)

// Peers are the names of all that there are adapters for.
func Peers() []string { return []string{Victoria, Prometheus, CarbonCache} }

// ours is this build.
func ours(command []string, more ...string) *peer {
	return &peer{name: Ours, http: true, check: expect, journal: "journal", command: func(data string, p ports) ([]string, error) {
		serve := []string{"serve", "--data", data, "--listen", p.http, "--graphite", p.graphite, "--istatd", p.istatd, "--agent=false", "--log-level", "warn"}
		return append(append(append([]string(nil), command...), serve...), more...), nil
	}}
}

// victoria keeps 100 years, so that it refuses nothing that is sent; and it may not
// hold back the newest half minute when it is asked whether everything is there.
func victoria() *peer {
	return &peer{name: Victoria, http: true, check: expect, command: func(data string, p ports) ([]string, error) {
		return []string{Victoria, "-storageDataPath=" + data, "-httpListenAddr=" + p.http, "-graphiteListenAddr=" + p.graphite,
			"-retentionPeriod=1200", "-selfScrapeInterval=0", "-search.latencyOffset=0", "-loggerLevel=WARN"}, nil
	}}
}

func prometheus() *peer {
	return &peer{name: Prometheus, http: true, check: expect, command: func(data string, p ports) ([]string, error) {
		config := filepath.Join(data, "prometheus.yml")
		if err := os.WriteFile(config, []byte("global: {}\n"), 0o600); err != nil {
			return nil, err
		}
		return []string{Prometheus, "--config.file=" + config, "--storage.tsdb.path=" + data + "/tsdb", "--web.listen-address=" + p.http,
			"--web.enable-remote-write-receiver", "--log.level=warn"}, nil
	}}
}

// carbonCache writes without its usual limits a minute and second, into files that
// span an hour.
func carbonCache() *peer {
	return &peer{name: CarbonCache, holds: 2 * time.Second, check: expectFiles, command: func(data string, p ports) ([]string, error) {
		port := func(address string) string { return address[strings.LastIndexByte(address, ':')+1:] }
		config := fmt.Sprintf(`[cache]
STORAGE_DIR = %[1]s
CONF_DIR = %[1]s
LOG_DIR = %[1]s
PID_DIR = %[1]s
LOCAL_DATA_DIR = %[1]s/whisper
MAX_CACHE_SIZE = inf
MAX_UPDATES_PER_SECOND = inf
MAX_CREATES_PER_MINUTE = inf
WHISPER_SPARSE_CREATE = True
ENABLE_LOGROTATION = False
LOG_UPDATES = False
LOG_CREATES = False
LOG_CACHE_HITS = False
ENABLE_TAGS = False
CARBON_METRIC_INTERVAL = 0
LINE_RECEIVER_INTERFACE = 127.0.0.1
LINE_RECEIVER_PORT = %[2]s
PICKLE_RECEIVER_PORT = 0
CACHE_QUERY_PORT = 0
`, data, port(p.graphite))
		for name, text := range map[string]string{
			"carbon.conf":          config,
			"storage-schemas.conf": "[all]\npattern = .*\nretentions = 10s:1h\n",
		} {
			if err := os.WriteFile(filepath.Join(data, name), []byte(text), 0o600); err != nil {
				return nil, err
			}
		}
		return []string{CarbonCache, "--config=" + data + "/carbon.conf", "--nodaemon", "start"}, nil
	}}
}

// Installed tells whether a peer can be started.
func Installed(name string) bool {
	_, err := exec.LookPath(name)
	return err == nil
}
