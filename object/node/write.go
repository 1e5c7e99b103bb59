package node

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"carillon/object"
	"carillon/object/replica"
)

// writeOf reads how a version is to be written on this node.
func (q *request) writeOf() (w replica.Write, err error) {
	h := q.r.Header
	w = replica.Write{Epoch: q.epoch, Size: q.r.ContentLength, Copy: h.Get(headerCopy) == "true", Repair: h.Get(headerRepair) == "true"}
	if w.Version, err = versionOf(h.Get(headerVersion)); err != nil {
		return w, err
	}
	if w.Sum, err = announcedSum(h); err != nil {
		return w, err
	}
	if w.If, err = conditionOf(h); err != nil {
		return w, err
	}
	if to := h.Get(headerCopiesTo); to != "" {
		w.Forward.To = strings.Split(to, ",")
		if w.Forward.Need, err = strconv.Atoi(h.Get(headerNeed)); err != nil || w.Forward.Need < 0 || w.Forward.Need > len(w.Forward.To)+1 {
			return w, fmt.Errorf("%w: %s is %.40q with copies to %d nodes", ErrRequest, headerNeed, h.Get(headerNeed), len(w.Forward.To))
		}
	}
	return w, nil
}

func announcedSum(h http.Header) (*object.Sum, error) {
	text := h.Get(headerSum)
	if text == "" {
		return nil, nil
	}
	sum, err := object.ParseSum(text)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRequest, err)
	}
	return &sum, nil
}

func (q *request) put() error {
	w, err := q.writeOf()
	if err != nil {
		return err
	}
	receipt, err := q.config.Local.Put(q.r.Context(), q.name, q.r.Body, w)
	if err != nil {
		return err
	}
	if w.Repair {
		q.verified.drop(q.name, w.Version)
	}
	q.done(receipt.Info, receipt.Acked)
	return nil
}

// puts makes the puts of a batch, all at once, and answers when all are made or not.
func (q *request) puts() error {
	if q.r.ContentLength < 0 || q.r.ContentLength > maxBatchBytes+maxPutFrame {
		return fmt.Errorf("%w: a batch of %d bytes, want at most %d", ErrRequest, q.r.ContentLength, maxBatchBytes+maxPutFrame)
	}
	buffer := q.buffers.Get().(*[]byte)
	defer q.buffers.Put(buffer)
	*buffer = slices.Grow((*buffer)[:0], int(q.r.ContentLength))[:q.r.ContentLength]
	if _, err := io.ReadFull(q.r.Body, *buffer); err != nil {
		return fmt.Errorf("%w: a batch of %d bytes: %w", ErrRequest, q.r.ContentLength, err)
	}
	puts, err := parsePuts(*buffer)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrRequest, err)
	}
	var text []byte
	for i, result := range q.config.Local.PutBatch(q.r.Context(), puts) {
		if result.Err == nil && puts[i].Write.Repair {
			q.verified.drop(puts[i].Name, puts[i].Write.Version)
		}
		text = appendAnswer(text, answerOf(result))
	}
	h := q.w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Content-Length", strconv.Itoa(len(text)))
	q.pace.write()
	q.pace.begun = true
	_, err = q.w.Write(text)
	return err
}

func (q *request) delete() error {
	w, err := q.writeOf()
	if err != nil {
		return err
	}
	receipt, err := q.config.Local.Delete(q.r.Context(), q.name, w)
	if err != nil {
		return err
	}
	q.done(receipt.Info, receipt.Acked)
	return nil
}

// putEverywhere makes the copies of an object on the client's behalf. The body is taken in as a
// whole first: the write may have to be stamped anew, and a copy may have to be sent again.
func (q *request) putEverywhere() error {
	cluster, err := q.cluster()
	if err != nil {
		return err
	}
	condition, err := conditionOf(q.r.Header)
	if err != nil {
		return err
	}
	announced, err := announcedSum(q.r.Header)
	if err != nil {
		return err
	}
	if err := object.CheckName(q.name); err != nil {
		return err
	}
	spool, err := Take(q.r.Context(), q.config.Spool, q.r.Body, q.r.ContentLength, announced)
	if err != nil {
		return fmt.Errorf("put %q: %w", q.name, err)
	}
	defer spool.Close()
	var info object.Info
	if expected, set := condition.Wants(); set {
		info, err = cluster.CompareAndSet(q.r.Context(), q.name, expected, spool.Source())
	} else {
		info, err = cluster.Put(q.r.Context(), q.name, spool.Source())
	}
	if err != nil {
		return err
	}
	q.done(info, nil)
	return nil
}

func (q *request) deleteEverywhere() error {
	cluster, err := q.cluster()
	if err != nil {
		return err
	}
	condition, err := conditionOf(q.r.Header)
	if err != nil {
		return err
	}
	var info object.Info
	if expected, set := condition.Wants(); set {
		info, err = cluster.CompareAndDelete(q.r.Context(), q.name, expected)
	} else {
		info, err = cluster.Delete(q.r.Context(), q.name)
	}
	if err != nil {
		return err
	}
	q.done(info, nil)
	return nil
}

func (q *request) drop() error {
	v, err := versionOf(q.r.Header.Get(headerVersion))
	if err != nil {
		return err
	}
	if err := q.config.Local.Drop(q.r.Context(), q.name, v, q.epoch); err != nil {
		return err
	}
	q.done(object.Info{}, nil)
	return nil
}

// forgotten is the answer to ?forget.
type forgotten struct {
	Forgotten int `json:"forgotten"`
}

func (q *request) forget() error {
	before, err := versionOf(q.r.Header.Get(headerVersion))
	if err != nil {
		return err
	}
	n, err := q.config.Local.Forget(q.r.Context(), before, q.epoch)
	if err != nil {
		return err
	}
	q.json(http.StatusOK, forgotten{n})
	return nil
}

func (q *request) admit() error {
	if q.config.Admit == nil {
		return fmt.Errorf("%w: this node is in no cluster", ErrRequest)
	}
	if err := q.config.Admit(q.epoch); err != nil {
		return err
	}
	q.done(object.Info{}, nil)
	return nil
}
