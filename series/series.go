// Package series says who a measurement belongs to: the labels of a series, the
// canonical bytes that stand for them (Key), the number the journal gives them
// (ID) and what kind of values they carry (Kind). Parsers make keys, the
// directory turns keys into ids, queries turn keys back into labels. It holds no
// state and does no I/O.
package series

import (
	"encoding/binary"
	"errors"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/zeebo/xxh3"
)

// MetricName is the label that carries the name of a metric.
const MetricName = "__name__"

// Limits on one series, so that no sender can make a key of any length.
const (
	MaxLabels     = 128   // labels a series
	MaxNameBytes  = 512   // bytes a label name
	MaxValueBytes = 8192  // bytes a label value
	MaxKeyBytes   = 32768 // bytes of the whole key
)

// Label is one name and its value, both UTF-8.
type Label struct{ Name, Value string }

// Key is the canonical form of a set of labels: sorted by name, no empty value,
// no name twice; each name and each value is written as its length (uvarint)
// and its bytes. Equal sets of labels have equal keys. It is a string so that it
// can be a map key; it is not meant to be printed (see Labels and Format).
type Key string

// ID names a series inside one data directory or cluster: the partition in the
// upper 32 bits, the number the partition's journal gave it in the lower 32.
type ID uint64

// NewID puts a partition and a number inside it together.
func NewID(partition int, number uint32) ID { return ID(partition)<<32 | ID(number) }

// Partition is the partition that owns the series.
func (id ID) Partition() int { return int(id >> 32) }

// Number is the dense number of the series inside its partition, from 0.
func (id ID) Number() uint32 { return uint32(id) }

// Errors of NewKey; each is wrapped with the label it concerns.
var (
	ErrNoLabels       = errors.New("series has no labels")
	ErrTooManyLabels  = errors.New("series has more than " + strconv.Itoa(MaxLabels) + " labels")
	ErrDuplicateLabel = errors.New("label name stands twice")
	ErrNotUTF8        = errors.New("label is not valid UTF-8")
	ErrLabelTooLong   = errors.New("label is too long")
	ErrNoLabelName    = errors.New("label has an empty name")
	ErrKeyTooLong     = errors.New("labels are longer than " + strconv.Itoa(MaxKeyBytes) + " bytes together")
	ErrBadKey         = errors.New("series key is malformed")
)

// LabelError says which label of a series was refused and why.
type LabelError struct {
	Name string // the label's name, at most 64 bytes of it, quoted where printed
	Err  error
}

func (e *LabelError) Error() string { return e.Err.Error() + ": " + strconv.Quote(e.Name) }
func (e *LabelError) Unwrap() error { return e.Err }

// NewKey makes the canonical key of labels. It sorts labels in place and leaves
// out those with an empty value. The error is one of this package's.
func NewKey(labels []Label) (Key, error) {
	size := 0
	for _, l := range labels[:min(len(labels), MaxLabels)] {
		size += len(l.Name) + len(l.Value) + 2*binary.MaxVarintLen16
	}
	key, err := AppendKey(make([]byte, 0, min(size, MaxKeyBytes)), labels)
	if err != nil {
		return "", err
	}
	return Key(key), nil
}

// AppendKey is NewKey for callers that look a key up before they keep it: it
// appends the key's bytes to key, and allocates nothing if there is room. On an
// error the bytes behind the original length of key are undefined.
func AppendKey(key []byte, labels []Label) ([]byte, error) {
	if len(labels) > MaxLabels {
		return key, ErrTooManyLabels
	}
	slices.SortFunc(labels, func(a, b Label) int { return strings.Compare(a.Name, b.Name) })
	start := len(key)
	for i, l := range labels {
		if err := check(l); err != nil {
			return key, labelError(l, err)
		}
		if i > 0 && labels[i-1].Name == l.Name {
			return key, labelError(l, ErrDuplicateLabel)
		}
		if l.Value == "" {
			continue
		}
		key = binary.AppendUvarint(key, uint64(len(l.Name)))
		key = append(key, l.Name...)
		key = binary.AppendUvarint(key, uint64(len(l.Value)))
		key = append(key, l.Value...)
		if len(key)-start > MaxKeyBytes {
			return key, ErrKeyTooLong
		}
	}
	if len(key) == start {
		return key, ErrNoLabels
	}
	return key, nil
}

// labelError copies the name: it may stand in a buffer that is used again.
func labelError(l Label, err error) error {
	return &LabelError{Name: strings.Clone(l.Name[:min(len(l.Name), 64)]), Err: err}
}

func check(l Label) error {
	switch {
	case l.Name == "":
		return ErrNoLabelName
	case len(l.Name) > MaxNameBytes || len(l.Value) > MaxValueBytes:
		return ErrLabelTooLong
	case !utf8.ValidString(l.Name) || !utf8.ValidString(l.Value):
		return ErrNotUTF8
	}
	return nil
}

// Named is the key of a series that has a name and no other label, as Graphite
// and istatd send them.
func Named(name string) (Key, error) {
	return NewKey([]Label{{MetricName, name}})
}

// Labels takes a key apart again. It returns ErrBadKey for bytes that NewKey
// cannot have made, and never trusts a length.
func (k Key) Labels() ([]Label, error) {
	var labels []Label
	rest := string(k)
	for rest != "" {
		var l Label
		var ok bool
		if l.Name, rest, ok = cutString(rest); !ok {
			return nil, ErrBadKey
		}
		if l.Value, rest, ok = cutString(rest); !ok {
			return nil, ErrBadKey
		}
		if check(l) != nil || l.Value == "" || len(labels) == MaxLabels ||
			(len(labels) > 0 && labels[len(labels)-1].Name >= l.Name) {
			return nil, ErrBadKey
		}
		labels = append(labels, l)
	}
	if len(labels) == 0 || len(k) > MaxKeyBytes {
		return nil, ErrBadKey
	}
	return labels, nil
}

func cutString(s string) (head, rest string, ok bool) {
	var length uint64
	for i := 0; i < len(s) && i < binary.MaxVarintLen16; i++ {
		length |= uint64(s[i]&0x7f) << (7 * i)
		if s[i] < 0x80 {
			minimal := i == 0 || s[i] != 0
			s = s[i+1:]
			if !minimal || length > uint64(len(s)) {
				return "", "", false
			}
			return s[:length], s[length:], true
		}
	}
	return "", "", false
}

// Get is the value of one label, or "" if the series does not have it.
func (k Key) Get(name string) string {
	rest := string(k)
	for rest != "" {
		var n, v string
		var ok bool
		if n, rest, ok = cutString(rest); !ok {
			return ""
		}
		if v, rest, ok = cutString(rest); !ok {
			return ""
		}
		if n == name {
			return v
		}
	}
	return ""
}

// Partition is the partition of the key among n: its 64-bit xxh3 hash modulo n.
// Every node and every start must agree on it, so it never changes.
func (k Key) Partition(n int) int { return int(xxh3.HashString(string(k)) % uint64(n)) }

// Format writes the key as people and PromQL read it: name{a="b",c="d"}.
func (k Key) Format() string {
	labels, err := k.Labels()
	if err != nil {
		return strconv.Quote(string(k))
	}
	var b strings.Builder
	b.WriteString(k.Get(MetricName))
	separator := byte('{')
	for _, l := range labels {
		if l.Name == MetricName {
			continue
		}
		b.WriteByte(separator)
		b.WriteString(l.Name)
		b.WriteByte('=')
		b.WriteString(strconv.Quote(l.Value))
		separator = ','
	}
	if separator == ',' {
		b.WriteByte('}')
	}
	return b.String()
}
