//go:build linux && (amd64 || arm64 || riscv64)

package measure

import (
	"os"
	"os/exec"
	"testing"
	"time"
)

// TestMachine: work in this process is counted, and work in another one is not, by the account
// that is exact.
func TestMachine(t *testing.T) {
	m, err := newMachine()
	if err != nil {
		t.Fatal(err)
	}
	const work = 100 * time.Millisecond
	begin, err := m.spent()
	if err != nil {
		t.Fatal(err)
	}
	for from, _ := cpu(os.Getpid()); ; {
		if now, err := cpu(os.Getpid()); err != nil || now-from > work {
			break
		}
	}
	worked, err := m.spent()
	if err != nil {
		t.Fatal(err)
	}
	if got := worked.less(begin).parts; got < work {
		t.Errorf("%v of work are %v", work, got)
	}
	before, err := m.others()
	if err != nil {
		t.Fatal(err)
	}
	if err := exec.Command("sh", "-c", "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done").Run(); err != nil {
		t.Fatal(err)
	}
	if after, err := m.others(); err != nil || after < before {
		t.Errorf("others have used %v, then %v: %v", before, after, err)
	}
}
