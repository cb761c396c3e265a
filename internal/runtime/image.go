package runtime

import (
	"strconv"
	"strings"
)

// majorOf reads PostgreSQL's major version from what an image says of itself:
// PG_MAJOR or PG_VERSION of the official and the SUSE images, else the version
// label of an image that is titled PostgreSQL (a derived image inherits the
// label of its base, which may be a distribution's version). 0: it does not say.
func majorOf(env []string, labels map[string]string) int {
	candidates := []string{variable(env, "PG_MAJOR"), variable(env, "PG_VERSION")}
	if strings.Contains(strings.ToLower(labels["org.opencontainers.image.title"]), "postgres") {
		candidates = append(candidates, labels["org.opencontainers.image.version"])
	}
	for _, text := range candidates {
		digits := strings.IndexFunc(text+".", func(r rune) bool { return r < '0' || r > '9' })
		if n, err := strconv.Atoi(text[:digits]); err == nil && n >= 10 && n < 100 {
			return n
		}
	}
	return 0
}

// variable returns the value of an environment variable in a list of KEY=VALUE.
func variable(env []string, key string) string {
	for _, entry := range env {
		if k, v, _ := strings.Cut(entry, "="); k == key {
			return v
		}
	}
	return ""
}

// digestOf returns the manifest digest from a list of NAME@DIGEST, preferring
// the one of the repository that was asked for.
func digestOf(repoDigests []string, name string) string {
	digest := ""
	for _, entry := range repoDigests {
		repository, d, _ := strings.Cut(entry, "@")
		if digest == "" || strings.HasPrefix(name, repository) {
			digest = d
		}
	}
	return digest
}
