package bucket

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"carillon/object"
)

const (
	openKeys  = "o/" // the name is in the key
	longKeys  = "l/" // the hash of the name is in the key, the name in the file's header
	maxEscape = 800  // bytes of an escaped name in a key; services take 1,024 in all

	escapeByte = '='
	unescaped  = "-_ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	hexDigits  = "0123456789abcdef"
)

// escape encodes a name so that any service takes it as a part of a key: segments neither empty nor beginning with a dot.
func escape(name string) string {
	out := make([]byte, 0, len(name))
	for i := range len(name) {
		c := name[i]
		inside := i > 0 && name[i-1] != '/' // not first in a segment
		if c == '/' && inside && i < len(name)-1 || c == '.' && inside || strings.IndexByte(unescaped, c) >= 0 {
			out = append(out, c)
			continue
		}
		out = append(out, escapeByte, hexDigits[c>>4], hexDigits[c&15])
	}
	return string(out)
}

func unescape(escaped string) (string, bool) {
	out := make([]byte, 0, len(escaped))
	for i := 0; i < len(escaped); i++ {
		if escaped[i] != escapeByte {
			out = append(out, escaped[i])
			continue
		}
		if i+2 >= len(escaped) {
			return "", false
		}
		c, err := strconv.ParseUint(escaped[i+1:i+3], 16, 8)
		if err != nil {
			return "", false
		}
		out = append(out, byte(c))
		i += 2
	}
	return string(out), true
}

// key says all there is to know of a version, so that a listing of a bucket's keys is the index.
func key(info object.Info) string {
	folder := openKeys + escape(info.Name)
	if len(folder) > maxEscape {
		sum := object.SumOf([]byte(info.Name))
		folder = longKeys + sum.String()
	}
	if info.Deleted {
		return fmt.Sprintf("%s/%s-d", folder, info.Version)
	}
	return fmt.Sprintf("%s/%s-%d-%s", folder, info.Version, info.Size, info.Sum)
}

var errKey = errors.New("not the key of an object")

// parseKey decodes a key. Of a long one the name is not known yet.
func parseKey(k string) (info object.Info, long bool, err error) {
	at := strings.LastIndexByte(k, '/')
	if at < len(openKeys) {
		return object.Info{}, false, errKey
	}
	fields := strings.Split(k[at+1:], "-")
	if info.Version, err = object.ParseVersion(fields[0]); err != nil {
		return object.Info{}, false, fmt.Errorf("%w: %w", errKey, err)
	}
	switch {
	case len(fields) == 2 && fields[1] == "d":
		info.Deleted = true
	case len(fields) == 3:
		var sizeErr, sumErr error
		info.Size, sizeErr = strconv.ParseInt(fields[1], 10, 64)
		info.Sum, sumErr = object.ParseSum(fields[2])
		if err := errors.Join(sizeErr, sumErr); err != nil || info.Size < 0 {
			return object.Info{}, false, fmt.Errorf("%w: %w", errKey, err)
		}
	default:
		return object.Info{}, false, errKey
	}
	folder := k[:at]
	if hash, isLong := strings.CutPrefix(folder, longKeys); isLong {
		if b, err := hex.DecodeString(hash); err != nil || len(b) != object.SumSize || strings.ToLower(hash) != hash {
			return object.Info{}, false, errKey
		}
		return info, true, nil
	}
	escaped, isOpen := strings.CutPrefix(folder, openKeys)
	name, good := unescape(escaped)
	if info.Name = name; !isOpen || !good || object.CheckName(name) != nil || key(info) != k {
		return object.Info{}, false, errKey
	}
	return info, false, nil
}
