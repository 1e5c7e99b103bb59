package object

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// MaxName bounds the length of a name in bytes.
const MaxName = 1024

// CheckName returns an ErrName that says what is wrong with a name. A name is 1 to MaxName bytes of
// UTF-8 without NUL; of the segments between its slashes none is "..".
func CheckName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("%w: it is empty", ErrName)
	case len(name) > MaxName:
		return fmt.Errorf("%w: %.40q… has %d bytes, at most %d are allowed", ErrName, name, len(name), MaxName)
	case !utf8.ValidString(name):
		return fmt.Errorf("%w: %.80q is not UTF-8", ErrName, name)
	case strings.IndexByte(name, 0) >= 0:
		return fmt.Errorf("%w: %.80q has a NUL", ErrName, name)
	}
	for segment := range strings.SplitSeq(name, "/") {
		if segment == ".." {
			return fmt.Errorf("%w: %.80q has a segment \"..\"", ErrName, name)
		}
	}
	return nil
}
