// Package peer runs servers as processes, to be measured or compared: it is given the
// command that starts this build, or the name of another server that is installed, and an
// empty folder, and hands out a Process that listens on free ports of loopback and can be
// asked, waited for and ended. Who knows the command line of a server, and when it answers, gets a Child
// of it. What measures whole servers calls it.
package peer

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Peer is a server that can be started.
type Peer struct {
	Name    string
	Journal string // folder below its data of what is not in its final place yet; "" if it has none

	http  bool               // takes remote write and answers PromQL
	line  func(Ports) string // where it takes connections once it answers, if it has no http
	host  netip.Addr         // that it listens on, if it is not loopback
	holds time.Duration      // it may do nothing for that long though it has something to write

	// command is its command line for a data directory that exists and is its own.
	command func(data string, p Ports) ([]string, error)
}

// Names of peers.
const (
	Ours        = "carillon"
	Victoria    = "victoria-metrics"
	Prometheus  = "prometheus"
	CarbonCache = "carbon-cache"
)

// Own is this build, started by a command to which a verb and its flags are added.
func Own(command []string, more ...string) *Peer {
	return &Peer{Name: Ours, http: true, Journal: "journal", command: func(data string, p Ports) ([]string, error) {
		serve := []string{"serve", "--data", data, "--listen", p.HTTP, "--graphite", p.Graphite, "--istatd", p.Istatd, "--agent=false", "--log-level", "warn"}
		return append(append(append([]string(nil), command...), serve...), more...), nil
	}}
}

// others are the servers that there are adapters for.
func others() []*Peer { return []*Peer{victoria(), prometheus(), carbonCache()} }

// Others are their names.
func Others() (names []string) {
	for _, p := range others() {
		names = append(names, p.Name)
	}
	return names
}

// Other is the server of a name, nil if there is no adapter for it.
func Other(name string) *Peer {
	for _, p := range others() {
		if p.Name == name {
			return p
		}
	}
	return nil
}

// Installed tells whether a peer can be started.
func Installed(name string) bool {
	_, err := exec.LookPath(name)
	return err == nil
}

// Choose refuses names that no adapter has, and leaves out peers that are not
// installed, of which missing is told.
func Choose(names []string, missing func(name string)) (there []string, err error) {
	for _, name := range names {
		switch {
		case Other(name) == nil:
			return nil, fmt.Errorf("no peer %q: want some of %q", name, Others())
		case Installed(name):
			there = append(there, name)
		default:
			missing(name)
		}
	}
	return there, nil
}

// victoria keeps 100 years, so that it refuses nothing that is sent; and it may not
// hold back the newest half minute when it is asked whether everything is there.
func victoria() *Peer {
	return &Peer{Name: Victoria, http: true, command: func(data string, p Ports) ([]string, error) {
		return []string{Victoria, "-storageDataPath=" + data, "-httpListenAddr=" + p.HTTP, "-graphiteListenAddr=" + p.Graphite,
			"-retentionPeriod=1200", "-selfScrapeInterval=0", "-search.latencyOffset=0", "-loggerLevel=WARN"}, nil
	}}
}

func prometheus() *Peer {
	return &Peer{Name: Prometheus, http: true, command: func(data string, p Ports) ([]string, error) {
		config := filepath.Join(data, "prometheus.yml")
		if err := os.WriteFile(config, []byte("global: {}\n"), 0o600); err != nil {
			return nil, err
		}
		return []string{Prometheus, "--config.file=" + config, "--storage.tsdb.path=" + data + "/tsdb", "--web.listen-address=" + p.HTTP,
			"--web.enable-remote-write-receiver", "--log.level=warn"}, nil
	}}
}

// carbonCache writes without its usual limits a minute and second, into files that
// span an hour.
func carbonCache() *Peer {
	return &Peer{Name: CarbonCache, line: func(p Ports) string { return p.Graphite }, holds: 2 * time.Second, command: func(data string, p Ports) ([]string, error) {
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
`, data, port(p.Graphite))
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
