package agent

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

const (
	// DefaultQueueBytes bounds a Queue unless told otherwise: a week of one small host.
	DefaultQueueBytes = 256 << 20

	bodySuffix = ".body"
	tornName   = "put.tmp" // being written; what a start finds under it was torn
	lockName   = "lock"
	blockBytes = 4096 // what a file takes on disk is a multiple of it
)

// Queue is a Buffer on disk: one file a body, its name the body's number in 20
// digits, written under another name and renamed, so that a file with such a name is
// whole unless the disk or a power failure tore it, which its checksum tells. It
// survives the end of the process at any moment. It does not sync: a disk that is
// too busy to sync must not stop the measuring of it, and what a power failure can
// take are the seconds the kernel had not yet written.
//
// The index in memory (entries) is the truth about order and bounds; the directory
// is read once, by OpenQueue.
type Queue struct {
	dir      string
	maxBytes int64
	log      *slog.Logger
	lock     *os.File // holds the directory for this process

	mu      sync.Mutex
	entries []queueEntry // guarded by mu; oldest first
	next    uint64       // guarded by mu; sequence of the next body
	bytes   int64        // guarded by mu; of all entries, on disk
	dropped Dropped      // guarded by mu
}

type queueEntry struct {
	sequence uint64
	bytes    int64 // on disk: the file, rounded up to blocks
}

// OpenQueue opens the queue in dir, which it creates if need be and holds against
// other processes until Close. maxBytes bounds what the files take on disk; 0 is
// DefaultQueueBytes. What an earlier process left is kept, and dropped from its
// oldest end if it is more than maxBytes.
func OpenQueue(dir string, maxBytes int64, logger *slog.Logger) (*Queue, error) {
	if maxBytes == 0 {
		maxBytes = DefaultQueueBytes
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("agent: make the queue's directory: %w", err)
	}
	lock, err := lockFile(filepath.Join(dir, lockName))
	if err != nil {
		return nil, fmt.Errorf("agent: queue %s: %w", dir, err)
	}
	q := &Queue{dir: dir, maxBytes: maxBytes, log: logger, lock: lock, next: 1}
	if err := q.load(); err != nil {
		lock.Close()
		return nil, fmt.Errorf("agent: read the queue %s: %w", dir, err)
	}
	return q, nil
}

// lockFile creates and locks path. The lock ends with the process, however that ends.
func lockFile(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		file.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, errors.New("in use by another agent")
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return file, nil
}

// load makes the index from the files that are there, and drops what is too much.
func (q *Queue) load() error {
	files, err := os.ReadDir(q.dir) // sorted by name, which is by sequence
	if err != nil {
		return err
	}
	for _, file := range files {
		if file.Name() == tornName {
			q.dropped.Corrupt++
			q.log.Warn("agent: the queue's last body was torn by the end of its process; it is dropped")
			if err := os.Remove(filepath.Join(q.dir, tornName)); err != nil {
				return err
			}
			continue
		}
		sequence, ok := parseQueueName(file.Name())
		if !ok {
			continue // not ours
		}
		info, err := file.Info()
		if err != nil {
			return err
		}
		q.append(queueEntry{sequence, onDisk(info.Size())})
	}
	q.makeRoom(0)
	return nil
}

func queueName(sequence uint64) string { return fmt.Sprintf("%020d%s", sequence, bodySuffix) }

// parseQueueName is the reverse of queueName; ok is false for any other name.
func parseQueueName(name string) (sequence uint64, ok bool) {
	digits, ok := strings.CutSuffix(name, bodySuffix)
	if !ok {
		return 0, false
	}
	sequence, err := strconv.ParseUint(digits, 10, 63)
	return sequence, err == nil && name == queueName(sequence)
}

func onDisk(size int64) int64 { return (size + blockBytes - 1) / blockBytes * blockBytes }

// Put writes body as the newest file. It fails when it cannot be written, and with
// ErrTooLarge.
func (q *Queue) Put(body []byte) error {
	size := onDisk(queueHeaderSize + int64(len(body)))
	if size > q.maxBytes || len(body) > maxBodyBytes {
		return fmt.Errorf("queue %d bytes of at most %d: %w", size, min(q.maxBytes, maxBodyBytes), ErrTooLarge)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.makeRoom(size)
	torn := filepath.Join(q.dir, tornName)
	if err := os.WriteFile(torn, encodeQueueFile(body), 0o600); err != nil {
		os.Remove(torn) // a full disk may have taken half of it
		return fmt.Errorf("write the queue: %w", err)
	}
	if err := os.Rename(torn, q.path(q.next)); err != nil {
		return fmt.Errorf("write the queue: %w", err)
	}
	q.append(queueEntry{q.next, size})
	return nil
}

// Oldest reads the oldest file. One that is corrupt is counted, removed and passed
// over; any other failure to read is returned, since it may pass.
func (q *Queue) Oldest() (uint64, []byte, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.entries) > 0 {
		sequence := q.entries[0].sequence
		body, err := readQueueFile(q.path(sequence))
		switch {
		case err == nil:
			return sequence, body, nil
		case errors.Is(err, ErrCorrupt), errors.Is(err, os.ErrNotExist), errors.Is(err, syscall.EIO):
			q.dropped.Corrupt++
			q.log.Warn("agent: a queued body cannot be read back; it is dropped", "error", err)
			q.removeFirst()
		default:
			return 0, nil, fmt.Errorf("read the queue: %w", err)
		}
	}
	return 0, nil, ErrEmpty
}

// readQueueFile returns the body in the file at path; the error wraps ErrCorrupt
// or says why the file could not be read.
func readQueueFile(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, queueHeaderSize+maxBodyBytes+1))
	if err != nil {
		return nil, err
	}
	body, err := decodeQueueFile(content)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return body, nil
}

// Remove deletes the oldest file if sequence is still its number. When that fails
// the body is forgotten all the same, until the next start.
func (q *Queue) Remove(sequence uint64) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.entries) == 0 || q.entries[0].sequence != sequence {
		return nil
	}
	if err := q.removeFirst(); err != nil {
		return fmt.Errorf("remove from the queue: %w", err)
	}
	return nil
}

// Size is how many bodies wait, and what their files take on disk.
func (q *Queue) Size() (bodies int, bytes int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.entries), q.bytes
}

// Dropped counts what was lost since OpenQueue.
func (q *Queue) Dropped() Dropped {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.dropped
}

// Close lets go of the directory. Everything put is in it already.
func (q *Queue) Close() error { return q.lock.Close() }

func (q *Queue) path(sequence uint64) string { return filepath.Join(q.dir, queueName(sequence)) }

// append adds the newest entry.
func (q *Queue) append(e queueEntry) {
	q.entries = append(q.entries, e)
	q.bytes += e.bytes
	q.next = e.sequence + 1
}

// makeRoom drops the oldest bodies until size more bytes are within the bound.
func (q *Queue) makeRoom(size int64) {
	for q.bytes+size > q.maxBytes && len(q.entries) > 0 {
		q.dropped.Full++
		if err := q.removeFirst(); err != nil {
			q.log.Warn("agent: cannot remove an old body from the queue", "error", err)
		}
	}
}

func (q *Queue) removeFirst() error {
	first := q.entries[0]
	q.entries = q.entries[1:]
	q.bytes -= first.bytes
	if err := os.Remove(q.path(first.sequence)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// IsQueue tells whether a directory is, or was, an agent's queue.
func IsQueue(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, lockName))
	return err == nil
}

// VerifyQueue reads every body in the queue directory dir, oldest first, and calls
// report with each file's path and with why it is corrupt, or nil. It neither locks
// nor changes anything, so an agent at work may remove a file meanwhile: that one is
// left out.
func VerifyQueue(dir string, report func(path string, err error)) error {
	files, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("agent: read the queue: %w", err)
	}
	for _, file := range files {
		if _, ok := parseQueueName(file.Name()); !ok {
			continue
		}
		path := filepath.Join(dir, file.Name())
		if _, err := readQueueFile(path); !errors.Is(err, os.ErrNotExist) {
			report(path, err)
		}
	}
	return nil
}
