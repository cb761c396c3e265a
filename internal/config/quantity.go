package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Duration is a time.Duration that has to be written with its unit, for example
// "10s" or "1m30s".
type Duration time.Duration

// UnmarshalText reads a duration as time.ParseDuration does.
func (d *Duration) UnmarshalText(text []byte) error {
	parsed, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("%q is not a duration such as \"10s\" or \"1m30s\"", text)
	}
	*d = Duration(parsed)
	return nil
}

// Size is a number of bytes that has to be written with its unit: B, kB, MB, GB
// or TB as PostgreSQL means them, in powers of 1024, or K, M, G, T, KiB, MiB,
// GiB, TiB, which are the same.
type Size int64

// UnmarshalText reads a size such as "1GiB" or "256 MB".
func (s *Size) UnmarshalText(text []byte) error {
	digits := strings.TrimRight(string(text), "bBiIkKmMgGtT ")
	n, err := strconv.ParseInt(digits, 10, 64)
	shift, known := unitShift(strings.TrimSpace(string(text[len(digits):])))
	if err != nil || n < 0 || !known {
		return fmt.Errorf("%q is not a size such as \"1GiB\" or \"256MB\"", text)
	}
	if n > math.MaxInt64>>shift {
		return fmt.Errorf("%q is too large", text)
	}
	*s = Size(n << shift)
	return nil
}

// unitShift is the power of two of a unit.
func unitShift(unit string) (shift uint, known bool) {
	switch strings.ToLower(unit) {
	case "b":
		return 0, true
	case "k", "kb", "kib":
		return 10, true
	case "m", "mb", "mib":
		return 20, true
	case "g", "gb", "gib":
		return 30, true
	case "t", "tb", "tib":
		return 40, true
	}
	return 0, false
}
