package agent

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func openQueue(t *testing.T, dir string, maxBytes int64) *Queue {
	t.Helper()
	q, err := OpenQueue(dir, maxBytes, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { q.Close() })
	return q
}

func mustPut(t *testing.T, b Buffer, bodies ...string) {
	t.Helper()
	for _, body := range bodies {
		if err := b.Put([]byte(body)); err != nil {
			t.Fatal(err)
		}
	}
}

// drain takes everything out of b, oldest first.
func drain(t *testing.T, b Buffer) []string {
	t.Helper()
	var bodies []string
	for {
		sequence, body, err := b.Oldest()
		if errors.Is(err, ErrEmpty) {
			return bodies
		}
		if err != nil {
			t.Fatal(err)
		}
		bodies = append(bodies, string(body))
		if err := b.Remove(sequence); err != nil {
			t.Fatal(err)
		}
	}
}

func bodyFiles(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*"+bodySuffix))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestQueueSurvivesRestart(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "if need be")
	q := openQueue(t, dir, 0)
	mustPut(t, q, "a", "b", "c")
	sequence, _, _ := q.Oldest()
	if err := q.Remove(sequence); err != nil {
		t.Fatal(err)
	}
	q.Close() // all that Close does is let go of the lock, as the end of a process does

	q = openQueue(t, dir, 0)
	mustPut(t, q, "d")
	if got := drain(t, q); !slices.Equal(got, []string{"b", "c", "d"}) {
		t.Fatalf("after the restart: %q", got)
	}
	if files := bodyFiles(t, dir); len(files) != 0 {
		t.Fatalf("left behind: %v", files)
	}
}

// TestQueueSurvivesKill runs itself as a process that puts bodies and says so, kills
// it with SIGKILL in the midst of that, and finds everything it had said.
func TestQueueSurvivesKill(t *testing.T) {
	if dir := os.Getenv("AGENT_TEST_PUT_INTO"); dir != "" {
		q := openQueue(t, dir, 0)
		for i := 0; ; i++ {
			mustPut(t, q, fmt.Sprint(i))
			fmt.Printf("put %d\n", i)
		}
	}
	dir := t.TempDir()
	put := 0
	for round := range 5 {
		child := exec.Command(os.Args[0], "-test.run=^TestQueueSurvivesKill$")
		child.Env = append(os.Environ(), "AGENT_TEST_PUT_INTO="+dir)
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		said := 0
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if !strings.HasPrefix(lines.Text(), "put ") {
				continue
			}
			if said++; said == 20+7*round {
				child.Process.Kill() // what is in the pipe is still read, and still counts
			}
		}
		child.Wait()
		put += said
	}
	q := openQueue(t, dir, 0)
	kept := drain(t, q)
	// One more a round may be there: put, but not yet said.
	if len(kept) < put || len(kept) > put+5 || q.Dropped().Corrupt > 1 {
		t.Fatalf("%d bodies were put, %d are kept; dropped %+v", put, len(kept), q.Dropped())
	}
	next := 0
	for i, body := range kept {
		if body == "0" {
			next = 0 // of the next process
		}
		if body != strconv.Itoa(next) {
			t.Fatalf("body %d is %s, want %d", i, body, next)
		}
		next++
	}
}

func TestQueueIsCutToASmallerBound(t *testing.T) {
	dir := t.TempDir()
	q := openQueue(t, dir, 0)
	mustPut(t, q, "a", "b", "c", "d")
	q.Close()
	q = openQueue(t, dir, 2*blockBytes)
	if got := drain(t, q); !slices.Equal(got, []string{"c", "d"}) {
		t.Fatalf("kept %q", got)
	}
	if d := q.Dropped(); d != (Dropped{Full: 2}) {
		t.Fatalf("dropped %+v", d)
	}
}

func TestCorruptFilesArePassedOver(t *testing.T) {
	dir := t.TempDir()
	q := openQueue(t, dir, 0)
	mustPut(t, q, "whole 1", "torn", "flipped", "empty", "gone", "whole 2")
	files := bodyFiles(t, dir)
	torn, _ := os.ReadFile(files[1])
	flipped, _ := os.ReadFile(files[2])
	flipped[len(flipped)-1] ^= 1
	for file, content := range map[string][]byte{files[1]: torn[:len(torn)-1], files[2]: flipped, files[3]: nil} {
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Remove(files[4]); err != nil {
		t.Fatal(err)
	}
	if got := drain(t, q); !slices.Equal(got, []string{"whole 1", "whole 2"}) {
		t.Fatalf("kept %q", got)
	}
	if d := q.Dropped(); d != (Dropped{Corrupt: 4}) {
		t.Fatalf("dropped %+v", d)
	}
	if files := bodyFiles(t, dir); len(files) != 0 {
		t.Fatalf("left behind: %v", files)
	}
}

func TestStartFindsTheRestOfAKilledProcess(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{
		tornName:                     "CARAG",
		"notes.txt":                  "not ours",
		"7.body":                     "not ours either",
		queueName(41):                string(encodeQueueFile([]byte("old"))),
		"99999999999999999999.body":  "more than a number",
		"0000000000000000000x.body":  "no number",
		"000000000000000000041.body": "21 digits",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	q := openQueue(t, dir, 0)
	mustPut(t, q, "new")
	if d := q.Dropped(); d != (Dropped{Corrupt: 1}) {
		t.Errorf("dropped %+v", d)
	}
	if _, err := os.Stat(filepath.Join(dir, queueName(42))); err != nil {
		t.Errorf("numbers do not go on: %v", err)
	}
	if got := drain(t, q); !slices.Equal(got, []string{"old", "new"}) {
		t.Errorf("kept %q", got)
	}
	if _, err := os.Stat(filepath.Join(dir, "notes.txt")); err != nil {
		t.Errorf("a file that is not ours: %v", err)
	}
}

func TestQueueInUseIsRefused(t *testing.T) {
	dir := t.TempDir()
	q := openQueue(t, dir, 0)
	if _, err := OpenQueue(dir, 0, slog.New(slog.DiscardHandler)); err == nil {
		t.Fatal("opened twice")
	}
	q.Close()
	openQueue(t, dir, 0)
}

func TestUnwritableQueueKeepsWhatItHas(t *testing.T) {
	dir := t.TempDir()
	q := openQueue(t, dir, 0)
	mustPut(t, q, "a")
	// A folder in the way fails the write even for root.
	if err := os.Mkdir(filepath.Join(dir, tornName), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, tornName, "x"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := q.Put([]byte("b")); err == nil {
		t.Fatal("no error")
	}
	if got := drain(t, q); !slices.Equal(got, []string{"a"}) {
		t.Fatalf("kept %q", got)
	}
}

func TestVerifyQueue(t *testing.T) {
	dir := t.TempDir()
	q := openQueue(t, dir, 0)
	mustPut(t, q, "a", "b")
	files := bodyFiles(t, dir)
	if err := os.WriteFile(files[1], []byte("CARAGENQ"), 0o600); err != nil {
		t.Fatal(err)
	}
	var got []string
	err := VerifyQueue(dir, func(path string, err error) {
		got = append(got, fmt.Sprintf("%s %v", filepath.Base(path), errors.Is(err, ErrCorrupt)))
	})
	if want := []string{queueName(1) + " false", queueName(2) + " true"}; err != nil || !slices.Equal(got, want) {
		t.Fatalf("%v, %v; want %v", got, err, want)
	}
	if err := VerifyQueue(filepath.Join(dir, "none"), nil); err == nil {
		t.Fatal("no error for no directory")
	}
}

// TestQueueFileIsAsDocumented pins the bytes of docs/format/agent-queue.md.
func TestQueueFileIsAsDocumented(t *testing.T) {
	want := []byte("CARAGENQ" + "\x01\x00\x00\x00" + "\x03\x00\x00\x00" + "\x28\x53\x23\xd7" + "abc")
	if got := encodeQueueFile([]byte("abc")); !bytes.Equal(got, want) {
		t.Fatalf("got  %q\nwant %q", got, want)
	}
}

func FuzzDecodeQueueFile(f *testing.F) {
	whole := encodeQueueFile([]byte("a body"))
	f.Add(whole)
	f.Add(whole[:len(whole)-1])
	f.Add(whole[:queueHeaderSize-1])
	f.Add(encodeQueueFile(nil))
	f.Add([]byte{})
	f.Add(append([]byte("CARAGENQ\x02\x00\x00\x00"), whole[12:]...))
	f.Fuzz(func(t *testing.T, file []byte) {
		body, err := decodeQueueFile(file)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Fatalf("error without ErrCorrupt: %v", err)
			}
			return
		}
		if !bytes.Equal(encodeQueueFile(body), file) {
			t.Fatal("a file that decodes is not what its body encodes to")
		}
	})
}
