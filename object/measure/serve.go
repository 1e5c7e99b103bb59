package measure

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"carillon/figure"
	"carillon/object"
	"carillon/peer"
)

// Serve is how many objects are got in a turn, small and large ones.
type Serve struct{ Turns, Small, Large int }

const (
	nginx       = "nginx"
	smallNames  = 200
	largeBytes  = 64 << 20
	smallReader = 16 // connections
	largeReader = 2
)

// contender is one of the two that answer GETs.
type contender struct {
	process *process
	url     func(name string) string
	spent   map[string][]float64 // CPU seconds an object, by what was got
}

// serve gets the same contents from a node of this build and from nginx, in turns, and counts the CPU time of their processes.
func (r *run) serve(ctx context.Context) (figures []figure.Figure, err error) {
	if len(r.Peers) == 0 {
		return nil, nil
	}
	dir, done, err := peer.Scratch(r.Dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, done()) }()
	us, err := r.startOurs(ctx, dir, "none", "a")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, us.end()) }()
	files := filepath.Join(dir, "files")
	web, err := startNginx(ctx, dir, files)
	if err != nil {
		return nil, err
	}
	defer web.Kill()
	contents, err := r.fill(ctx, us, files)
	if err != nil {
		return nil, err
	}
	ourURL := func(name string) string { return "http://" + us.nodes[0].address + "/objects/" + name }
	theirURL := func(name string) string { return "http://" + web.address + "/" + name }
	servers := []*contender{{us.nodes[0], ourURL, map[string][]float64{}}, {web, theirURL, map[string][]float64{}}}
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: smallReader, DisableCompression: true, ReadBufferSize: 256 << 10}}
	defer client.CloseIdleConnections()
	for turn := range r.Scale.Serve.Turns + 1 {
		r.Progress("serve", uint64(turn), uint64(r.Scale.Serve.Turns+1))
		for _, s := range servers {
			if err := s.turn(ctx, client, contents, r.Scale.Serve); err != nil {
				return nil, fmt.Errorf("%s: %w", s.process.name, err)
			}
		}
	}
	mine, their := servers[0].spent, servers[1].spent
	small, large := median(ratios(their["small"], mine["small"])), median(ratios(mine["large"], their["large"]))
	const perGB = float64(1<<30) / largeBytes
	return []figure.Figure{
		{ID: "object.get10k_ratio", Value: small, Unit: "x", Better: figure.Higher, Goal: 0.8, Floor: 0.5,
			Note: fmt.Sprintf("a CPU second: %.0f, nginx %.0f", 1/median(mine["small"]), 1/median(their["small"]))},
		{ID: "object.get64m_ratio", Value: large, Unit: "x", Better: figure.Lower, Goal: 1.2, Floor: 2,
			Note: fmt.Sprintf("CPU ms a GiB: %.0f, nginx %.0f", 1000*perGB*median(mine["large"]), 1000*perGB*median(their["large"]))},
	}, nil
}

// startNginx runs it as one process, so that all it uses is counted.
func startNginx(ctx context.Context, dir, files string) (*process, error) {
	path, err := exec.LookPath(nginx)
	if err != nil {
		return nil, err
	}
	addresses, err := peer.FreeAddresses(peer.Loopback, 1)
	if err != nil {
		return nil, err
	}
	config := fmt.Sprintf(`daemon off; master_process off; pid %[1]s/nginx.pid; error_log stderr error;
events { worker_connections 1024; }
http {
	access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000000;
	client_body_temp_path %[1]s; proxy_temp_path %[1]s; fastcgi_temp_path %[1]s; uwsgi_temp_path %[1]s; scgi_temp_path %[1]s;
	server { listen %[2]s; root %[3]s; }
}
`, dir, addresses[0], files)
	file := filepath.Join(dir, "nginx.conf")
	if err := errors.Join(os.Mkdir(files, 0o755), os.WriteFile(file, []byte(config), 0o600)); err != nil {
		return nil, err
	}
	p := &process{name: nginx, command: []string{path, "-p", dir, "-e", "stderr", "-c", file}, address: addresses[0]}
	return p, p.start(ctx)
}

func smallName(i int) string { return fmt.Sprintf("small-%d", i) }

const largeName = "large"

// fill gives both servers the same contents, and returns their checksums.
func (r *run) fill(ctx context.Context, us *ours, files string) (map[string]object.Sum, error) {
	contents := map[string]object.Sum{}
	put := func(name string, number uint64, size int) error {
		content := r.content(number, size)
		contents[name] = object.SumOf(content)
		return errors.Join(us.put(ctx, name, content), os.WriteFile(filepath.Join(files, name), content, 0o644)) //nolint:gosec // nginx may run as another user
	}
	for i := range smallNames {
		if err := put(smallName(i), uint64(i), objectBytes); err != nil {
			return nil, err
		}
	}
	return contents, put(largeName, smallNames, largeBytes)
}

// turn gets small and large contents. The first one is compared and not counted.
func (s *contender) turn(ctx context.Context, client *http.Client, contents map[string]object.Sum, scale Serve) error {
	compare := len(s.spent["small"]) == 0 && s.spent["begun"] == nil
	s.spent["begun"] = []float64{}
	for _, kind := range []struct {
		name          string
		readers, gets int
		of            func(int) string
	}{
		{"small", smallReader, scale.Small, func(i int) string { return smallName(i % smallNames) }},
		{"large", largeReader, scale.Large, func(int) string { return largeName }},
	} {
		before, err := s.process.CPU()
		if err != nil {
			return err
		}
		gets := kind.gets
		if compare {
			gets = min(gets, smallNames)
		}
		err = each(kind.readers, gets, func() func(int) error {
			return func(i int) error { return get(ctx, client, s.url(kind.of(i)), contents[kind.of(i)], compare) }
		})
		if err != nil {
			return err
		}
		after, err := s.process.CPU()
		if err != nil {
			return err
		}
		if !compare {
			s.spent[kind.name] = append(s.spent[kind.name], (after-before).Seconds()/float64(gets))
		}
	}
	return nil
}

const getWithin = time.Minute

func get(ctx context.Context, client *http.Client, url string, want object.Sum, compare bool) error {
	ctx, cancel := context.WithTimeout(ctx, getWithin)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%w: %s: %s", ErrWrongAnswer, url, response.Status)
	}
	if !compare {
		_, err = io.Copy(io.Discard, response.Body)
		return err
	}
	sum := object.NewSummer()
	if _, err = io.Copy(sum, response.Body); err == nil && sum.Sum() != want {
		err = fmt.Errorf("%w: %s", ErrWrongAnswer, url)
	}
	return err
}
