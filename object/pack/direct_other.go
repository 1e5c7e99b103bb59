//go:build !linux

package pack

import "errors"

// openDirect is not available: the page cache is used.
func openDirect(string) (tail, error) { return nil, errors.ErrUnsupported }
