package receive

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"

	"carillon/journal"
)

const (
	maxIdempotencyKeyBytes = 256

	firstReadBytes = 64 << 10 // how a body's buffer starts; it doubles as the body comes

	retryBusySeconds        = "1" // Retry-After of a full queue
	retryUnavailableSeconds = "5" // Retry-After of a journal that is away
)

func malformed(text string) error { return &RefusedError{http.StatusBadRequest, text} }
func tooLarge(text string) error  { return &RefusedError{http.StatusRequestEntityTooLarge, text} }

// reasonOf names the refusal of a whole request in metrics.
func reasonOf(status int) string {
	switch status {
	case http.StatusRequestEntityTooLarge:
		return "too_large"
	case http.StatusUnsupportedMediaType:
		return "unsupported"
	case http.StatusRequestTimeout:
		return "too_slow"
	}
	return "malformed"
}

// ServeHTTP takes POST /api/v1/write. It answers 204 once all is in the journal;
// 400 if some of it was wrong, with everything else in the journal; 400, 413 or
// 415 if nothing could be taken; 429 or 503 with Retry-After if it should come
// again. How slowly a body may come is for the http.Server's ReadTimeout to say.
func (rw *RemoteWrite) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		http.Error(w, "remote write is sent by POST", http.StatusMethodNotAllowed)
		return
	}
	if err := rw.serve(w, r); err != nil {
		rw.answer(w, r, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (rw *RemoteWrite) serve(w http.ResponseWriter, r *http.Request) error {
	from := delivery{
		protocol: ProtocolRemoteWrite,
		from:     r.RemoteAddr,
		key:      r.Header.Get("Idempotency-Key"),
	}
	if err := checkHeader(r.Header); err != nil {
		return rw.refuse(from, err)
	}
	reserve := r.ContentLength
	if reserve < 0 {
		reserve = maxCompressedBytes // chunked: it may become as much
	}
	if reserve > maxCompressedBytes {
		w.Header().Set("Connection", "close") // rather than read it all to reach the next request
		return rw.refuse(from, tooLarge(fmt.Sprintf("the body is %d bytes, the limit is %d MiB", reserve, maxCompressedBytes>>20)))
	}
	if !rw.inFlight.TryAcquire(reserve) {
		return errTooMuchInFlight
	}
	defer rw.inFlight.Release(reserve)

	s := rw.scratch.Get().(*scratch)
	defer rw.release(s)
	var err error
	if s.compressed, err = readBody(s.compressed, http.MaxBytesReader(w, r.Body, maxCompressedBytes)); err != nil {
		return rw.refuse(from, err)
	}
	_, err = rw.write(r.Context(), s, from, s.compressed)
	return err
}

// readBody reads all of body into buffer and returns it, grown as far as needed.
func readBody(buffer []byte, body io.Reader) ([]byte, error) {
	buffer = buffer[:0]
	for {
		if len(buffer) == cap(buffer) {
			larger := make([]byte, len(buffer), min(max(firstReadBytes, 2*cap(buffer)), maxCompressedBytes+1))
			copy(larger, buffer)
			buffer = larger
		}
		n, err := body.Read(buffer[len(buffer):cap(buffer)])
		buffer = buffer[:len(buffer)+n]
		var large *http.MaxBytesError
		switch {
		case err == io.EOF:
			return buffer, nil
		case errors.As(err, &large):
			return buffer, tooLarge(fmt.Sprintf("the body is larger than %d MiB", maxCompressedBytes>>20))
		case errors.Is(err, os.ErrDeadlineExceeded):
			return buffer, &RefusedError{http.StatusRequestTimeout, "the body came too slowly"}
		case err != nil:
			return buffer, malformed("the body broke off: " + err.Error())
		}
	}
}

// checkHeader refuses what is certainly not remote write 1.0 in snappy. Both
// headers may be missing, as old senders leave them out.
func checkHeader(h http.Header) error {
	if len(h.Get("Idempotency-Key")) > maxIdempotencyKeyBytes {
		return malformed(fmt.Sprintf("the Idempotency-Key is longer than %d bytes", maxIdempotencyKeyBytes))
	}
	if encoding := h.Get("Content-Encoding"); encoding != "" && encoding != "snappy" {
		return unsupported(fmt.Sprintf("Content-Encoding is %q, want snappy", encoding))
	}
	contentType := h.Get("Content-Type")
	if contentType == "" {
		return nil
	}
	media, parameters, err := mime.ParseMediaType(contentType)
	if err != nil || media != "application/x-protobuf" {
		return unsupported(fmt.Sprintf("Content-Type is %q, want application/x-protobuf", contentType))
	}
	switch message := parameters["proto"]; message {
	case "", "prometheus.WriteRequest":
		return nil
	case "io.prometheus.write.v2.Request":
		return unsupported("this is remote write 2.0, only 1.0 is supported: set protobuf_message: prometheus.WriteRequest in remote_write")
	default:
		return unsupported(fmt.Sprintf("Content-Type has proto=%q, want prometheus.WriteRequest", message))
	}
}

func unsupported(text string) error {
	return &RefusedError{http.StatusUnsupportedMediaType, text}
}

// answer says in HTTP what an error of write means for the sender.
func (rw *RemoteWrite) answer(w http.ResponseWriter, r *http.Request, err error) {
	var refused *RefusedError
	switch {
	case errors.As(err, &refused):
		http.Error(w, refused.Text, refused.Status)
	case errors.Is(err, journal.ErrBusy):
		w.Header().Set("Retry-After", retryBusySeconds)
		http.Error(w, err.Error(), http.StatusTooManyRequests)
	case errors.Is(err, journal.ErrUnavailable), errors.Is(err, journal.ErrClosed), r.Context().Err() != nil:
		w.Header().Set("Retry-After", retryUnavailableSeconds)
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
	default:
		rw.writer.logger.Error("remote write failed", "from", r.RemoteAddr, "error", err)
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}
