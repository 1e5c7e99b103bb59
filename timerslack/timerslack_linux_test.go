package timerslack

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

const child = "CARILLON_TIMERSLACK_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(child) == "" {
		os.Exit(m.Run())
	}
	Widen()
	has := make(chan int64)
	go func() { // on another thread than main's, as a rule
		ns, _ := ofThread()
		has <- ns
	}()
	fmt.Println(os.Getpid(), <-has, strings.Join(os.Args[1:], " "))
}

// TestWiden: the process begins again as the same one, with its arguments, and all its threads have the slack.
func TestWiden(t *testing.T) {
	cmd := exec.Command(os.Args[0], "an argument", "--flag")
	cmd.Env = append(os.Environ(), child+"=1")
	var out strings.Builder
	cmd.Stdout = &out
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintln(cmd.Process.Pid, Wide.Nanoseconds(), "an argument --flag")
	if out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}
