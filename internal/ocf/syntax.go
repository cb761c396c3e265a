package ocf

import (
	"errors"
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"
)

// The functions of this file check one kind of value each and return it in its
// one spelling. What they let through needs no quoting in systemd's files, in
// PostgreSQL's settings and on command lines: such values are refused at the
// door instead of being escaped in many places.

// maxName is the longest name PostgreSQL keeps (NAMEDATALEN - 1); longer ones it
// cuts without an error.
const maxName = 63

func integer(s string, low, high int64) (string, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	switch {
	case errors.Is(err, strconv.ErrSyntax):
		return "", fmt.Errorf("%q is not a whole number", s)
	case err != nil || n < low || n > high:
		return "", fmt.Errorf("%s is not between %d and %d", s, low, high)
	}
	return strconv.FormatInt(n, 10), nil
}

// boolean accepts what Pacemaker does (crm_str_to_boolean).
func boolean(s string) (string, error) {
	switch strings.ToLower(s) {
	case "true", "on", "yes", "y", "1":
		return "true", nil
	case "false", "off", "no", "n", "0":
		return "false", nil
	}
	return "", fmt.Errorf("%q is neither true nor false", s)
}

// Path is the clean form of an absolute path below the root directory.
func Path(s string) (string, error) {
	switch {
	case !strings.HasPrefix(s, "/"):
		return "", fmt.Errorf("%q is not an absolute path", s)
	case slices.Contains(strings.Split(s, "/"), ".."):
		return "", fmt.Errorf("%q contains \"..\"", s)
	case path.Clean(s) == "/":
		return "", errors.New("the root directory is not for this")
	case !consistsOf(s, letterOrDigit, "/._-+@=~"):
		return "", fmt.Errorf("%q has a character other than letters, digits and / . _ - + @ = ~", s)
	}
	return path.Clean(s), nil
}

// Word is what needs no quoting anywhere, for example the name of a node.
func Word(s string) (string, error) {
	switch {
	case s == "":
		return "", errors.New("is empty")
	case len(s) > maxName:
		return "", fmt.Errorf("%q is longer than %d characters", s, maxName)
	case !consistsOf(s, letterOrDigit, "_.-"):
		return "", fmt.Errorf("%q has a character other than letters, digits and _ . -", s)
	}
	return s, nil
}

func userName(s string) (string, error) {
	if s, err := Word(s); err != nil || (s[0] != '-' && s[0] != '.') {
		return s, err
	}
	return "", fmt.Errorf("%q begins with %q", s, s[0])
}

// InstanceName is the name of an instance. It is part of a unit's name (systemd.unit(5)), of a file's and the
// name of a container, which has to begin with a letter or a digit in podman
// and docker.
func InstanceName(s string) (string, error) {
	switch {
	case s == "" || !letterOrDigit(s[0]):
		return "", fmt.Errorf("%q does not begin with a letter or a digit", s)
	case len(s) > 64:
		return "", fmt.Errorf("%q is longer than 64 characters", s)
	case !consistsOf(s, letterOrDigit, "_.-"):
		return "", fmt.Errorf("%q has a character other than letters, digits and _ . -", s)
	}
	return s, nil
}

// slotName is what PostgreSQL's ReplicationSlotValidateName accepts.
func slotName(s string) (string, error) {
	switch {
	case s == "" || len(s) > maxName:
		return "", fmt.Errorf("%q is not of 1 to %d characters", s, maxName)
	case !consistsOf(s, lowerOrDigit, "_"):
		return "", fmt.Errorf("%q has a character other than a-z, 0-9 and _", s)
	}
	return s, nil
}

func nodeList(s string) (string, error) {
	nodes := strings.Fields(s)
	for i, node := range nodes {
		if _, err := Word(node); err != nil {
			return "", err
		}
		if slices.Contains(nodes[:i], node) {
			return "", fmt.Errorf("%s is listed twice", node)
		}
	}
	return strings.Join(nodes, " "), nil
}

// Address is an IP address or the name of a host.
func Address(s string) (string, error) {
	if ip, err := netip.ParseAddr(s); err == nil && ip.Zone() == "" {
		return ip.String(), nil
	}
	if len(s) > 253 || s == "" || !letterOrDigit(s[0]) || !consistsOf(s, letterOrDigit, ".-_") {
		return "", fmt.Errorf("%q is neither an IP address nor the name of a host", s)
	}
	return s, nil
}

func majorVersion(s string) (string, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < 14 || n > 99 {
		return "", fmt.Errorf("%q is not a major version of PostgreSQL, 14 or later", s)
	}
	return strconv.Itoa(n), nil
}

func imageName(s string) (string, error) {
	if s == "" || len(s) > 512 || !letterOrDigit(s[0]) || !consistsOf(s, letterOrDigit, "/.:_-@+") {
		return "", fmt.Errorf("%q is not the name of an image such as registry/name:tag", s)
	}
	return s, nil
}

// optional lets an empty value through, which pgtwin.toml can contain.
func optional(parse func(string) (string, error)) func(string) (string, error) {
	return func(s string) (string, error) {
		if s == "" {
			return "", nil
		}
		return parse(s)
	}
}

func consistsOf(s string, class func(byte) bool, others string) bool {
	for i := range len(s) {
		if !class(s[i]) && strings.IndexByte(others, s[i]) < 0 {
			return false
		}
	}
	return true
}

func lowerOrDigit(c byte) bool  { return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' }
func letterOrDigit(c byte) bool { return lowerOrDigit(c) || 'A' <= c && c <= 'Z' }
