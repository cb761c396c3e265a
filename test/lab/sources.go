package lab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// debianMirror returns the Debian archive that this machine's own packages come from.
func debianMirror() (string, error) {
	files, err := filepath.Glob("/etc/apt/sources.list.d/*")
	if err != nil {
		return "", err
	}
	for _, file := range append([]string{"/etc/apt/sources.list"}, files...) {
		data, err := os.ReadFile(file)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", fmt.Errorf("cannot find a Debian mirror: %w", err)
		}
		if uri := mirrorIn(file, string(data)); uri != "" {
			return uri, nil
		}
	}
	return "", errors.New("cannot find a Debian mirror: the apt sources of this machine name none")
}

// mirrorIn returns the first Debian archive in the text of a sources file, in the format its name
// tells, or "".
func mirrorIn(file, text string) string {
	switch filepath.Ext(file) {
	case ".list":
		return mirrorInLines(text)
	case ".sources":
		return mirrorInStanzas(text)
	}
	return ""
}

// mirrorInLines reads the one-line format: deb [options] uri suite component...
func mirrorInLines(text string) string {
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		if open := strings.Index(line, "["); open >= 0 {
			if end := strings.Index(line, "]"); end > open {
				line = line[:open] + line[end+1:]
			}
		}
		f := strings.Fields(line)
		if len(f) >= 4 && f[0] == "deb" && isDebian(f[1], f[2], f[3:]) {
			return strings.TrimSuffix(f[1], "/")
		}
	}
	return ""
}

// mirrorInStanzas reads the deb822 format: stanzas of fields, apart by empty lines.
func mirrorInStanzas(text string) string {
	for stanza := range strings.SplitSeq(text, "\n\n") {
		fields := map[string][]string{}
		var last string
		for line := range strings.Lines(stanza) {
			name, value, ok := strings.Cut(line, ":")
			switch {
			case strings.HasPrefix(line, "#"):
			case strings.HasPrefix(line, " ") || strings.HasPrefix(line, "\t"):
				fields[last] = append(fields[last], strings.Fields(line)...)
			case ok:
				last = strings.ToLower(name)
				fields[last] = strings.Fields(value)
			}
		}
		if slices.Equal(fields["enabled"], []string{"no"}) || !slices.Contains(fields["types"], "deb") {
			continue
		}
		for _, uri := range fields["uris"] {
			for _, suite := range fields["suites"] {
				if isDebian(uri, suite, fields["components"]) {
					return strings.TrimSuffix(uri, "/")
				}
			}
		}
	}
	return ""
}

// isDebian tells Debian's main archive from its updates, from security and from other people's.
func isDebian(uri, suite string, components []string) bool {
	return !strings.Contains(suite, "-") && !strings.Contains(suite, "/") &&
		slices.Contains(components, "main") &&
		strings.HasSuffix(strings.TrimSuffix(uri, "/"), "/debian")
}
