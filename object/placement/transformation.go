// Package placement says which nodes hold an object: its name is hashed by every
// configured transformation, and the ids that come out rank the nodes of a map. In come
// names, transformations and maps of nodes with zones and weights; out go the nodes of each
// copy, and plans of what moves from one map to another. Package replica asks it for every
// object, and whoever changes a cluster for the plan.
package placement

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"
	"strings"

	"github.com/zeebo/blake3"
)

// ErrConfig is wrapped by errors about transformations and maps that make no sense.
var ErrConfig = errors.New("bad placement")

const (
	// MaxCopies bounds the transformations, and so the copies of an object.
	MaxCopies = 16
	// MaxSalt bounds a salt, in bytes.
	MaxSalt = 64
)

// ID is what a transformation makes of a name or a content, 256 bits.
type ID [32]byte

// String is the id in 64 hexadecimal digits.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// Transformation is a named hash, as users configure it: "sha256", "sha512" (SHA-512/256
// of FIPS 180-4, whose result has 256 bits) or "blake3"; with a salt it is "sha256+SALT", the HMAC
// (RFC 2104) of that hash under the salt, so that one hash serves for any number of ids.
type Transformation struct {
	name string
	new  func() hash.Hash
}

// ParseTransformation reads one name.
func ParseTransformation(name string) (Transformation, error) {
	base, salt, salted := strings.Cut(name, "+")
	var plain func() hash.Hash
	switch base {
	case "sha256":
		plain = sha256.New
	case "sha512":
		plain = sha512.New512_256
	case "blake3":
		plain = func() hash.Hash { return blake3.New() }
	default:
		return Transformation{}, fmt.Errorf("transformation %.80q: want sha256, sha512 or blake3, and +SALT to salt it: %w", name, ErrConfig)
	}
	if !salted {
		return Transformation{name, plain}, nil
	}
	if salt == "" || len(salt) > MaxSalt || strings.ContainsAny(salt, ", \t\n") {
		return Transformation{}, fmt.Errorf("transformation %.80q: a salt has 1 to %d bytes without commas and blanks: %w", name, MaxSalt, ErrConfig)
	}
	return Transformation{name, func() hash.Hash { return hmac.New(plain, []byte(salt)) }}, nil
}

// ParseTransformations reads names separated by commas, one a copy, each different.
func ParseTransformations(list string) ([]Transformation, error) {
	var all []Transformation
	for name := range strings.SplitSeq(list, ",") {
		t, err := ParseTransformation(strings.TrimSpace(name))
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(all, func(o Transformation) bool { return o.name == t.name }) {
			return nil, fmt.Errorf("transformation %q is listed twice: salt one, as %s+2: %w", t.name, t.name, ErrConfig)
		}
		all = append(all, t)
	}
	if len(all) > MaxCopies {
		return nil, fmt.Errorf("%d transformations, at most %d copies are allowed: %w", len(all), MaxCopies, ErrConfig)
	}
	return all, nil
}

// String is the name that ParseTransformation reads.
func (t Transformation) String() string { return t.name }

// Name is the id of a name.
func (t Transformation) Name(name string) ID {
	h := t.new()
	h.Write([]byte(name))
	return ID(h.Sum(nil))
}

// Content is the id of a content.
func (t Transformation) Content(content io.Reader) (ID, error) {
	h := t.new()
	if _, err := io.Copy(h, content); err != nil {
		return ID{}, fmt.Errorf("hashing a content with %s: %w", t, err)
	}
	return ID(h.Sum(nil)), nil
}

// ContentName is the name of an object that is called after its content, as
// "sha256/9f86…": whoever stores the same content twice stores one object.
func (t Transformation) ContentName(content io.Reader) (string, error) {
	id, err := t.Content(content)
	if err != nil {
		return "", err
	}
	return t.name + "/" + id.String(), nil
}
