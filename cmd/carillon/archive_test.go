package main

import (
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// TestArchiveAndRestore archives a server's data, into a store and into a cluster, loses the machine, and goes on with
// what comes back.
func TestArchiveAndRestore(t *testing.T) {
	nodes := objectCluster(t, t.TempDir())
	for name, url := range map[string]string{"store": "file://" + t.TempDir(), "cluster": nodes[1].url} {
		t.Run(name, func(t *testing.T) {
			data, restored := tempData(t), tempData(t)
			s := startServer(t, data, "--agent=false", "--partitions", "2", "--archive", url, "--archive-every", "1s", "--archive-keep", "2")
			now := time.Now()
			sendBeats(t, s.Graphite, "kept", 10, 20, now)
			shell(t, "directory", "servers", "add", "alpha", "--url", s.URL)
			want := samples(t, s.URL, "kept", now)
			archived := strings.Count(s.log.String(), "msg=archived") + 2 // one of them began behind the points
			eventually(t, "archiving", func() error {
				if strings.Count(s.log.String(), "msg=archived") < archived {
					return errNotThere
				}
				return nil
			})
			s.kill()
			shell(t, "restore", "--archive", url, restored)
			shell(t, "verify", restored)
			r := startServer(t, restored, "--agent=false")
			if have := samples(t, r.URL, "kept", now); len(have) != 10 || !reflect.DeepEqual(have, want) {
				t.Errorf("have\n%v\nwant\n%v", have, want)
			}
			if out := shell(t, "directory", "servers", "--url", r.URL); out != "alpha\n" {
				t.Error(out)
			}
		})
	}
	out, err := carillon("restore", "--archive", "file://"+filepath.Join(t.TempDir(), "empty"), tempData(t)).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "no catalogue") {
		t.Errorf("%v: %s", err, out)
	}
	out, err = carillon("serve", "--archive", "ftp://nowhere").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "--archive") {
		t.Errorf("%v: %s", err, out)
	}
}
