package runtime

import (
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// DefaultBinDir is where PostgreSQL's programs are looked for first, unless a directory is given.
const DefaultBinDir = "/usr/bin"

// HostPrograms finds the directory of PostgreSQL's programs on this host, and which of names are not in it.
// A directory other than the default is taken as it is. In place of /usr/bin, where there is no PostgreSQL or
// another major version's, a directory is taken where a distribution puts them: of this major version, or for
// 0 of the newest.
func HostPrograms(bindir string, major int, names ...string) (dir string, missing []string) {
	return findPrograms("/usr", bindir, major, names)
}

func findPrograms(usr, bindir string, major int, names []string) (dir string, missing []string) {
	if bindir != "" && bindir != DefaultBinDir {
		return bindir, missingFrom(bindir, names)
	}
	for _, candidate := range candidates(usr, major) {
		found := missingFrom(candidate, names)
		switch {
		case dir == "", len(found) < len(missing):
			dir, missing = candidate, found
		}
		if len(missing) == 0 {
			break
		}
	}
	return dir, missing
}

// candidates are /usr/bin, unless its programs are links to those of another major version, and then the
// directories of hostDirs.
func candidates(usr string, major int) []string {
	bin := filepath.Join(usr, "bin")
	dirs := hostDirs(usr, major)
	target, err := filepath.EvalSymlinks(filepath.Join(bin, "postgres"))
	if of := majorOfDir(filepath.Dir(target)); err != nil || major != 0 && of != 0 && of != major {
		return append(dirs, bin)
	}
	return append([]string{bin}, dirs...)
}

// hostDirs lists the directories that distributions have for one major version, or for every installed one
// with the newest first: Debian /usr/lib/postgresql/15/bin, SUSE /usr/lib/postgresql15/bin, PostgreSQL's own
// packages for RHEL /usr/pgsql-15/bin.
func hostDirs(usr string, major int) []string {
	version := "*"
	if major != 0 {
		version = strconv.Itoa(major)
	}
	var dirs []string
	for _, layout := range []string{"lib/postgresql/" + version + "/bin", "lib/postgresql" + version + "/bin", "pgsql-" + version + "/bin"} {
		found, _ := filepath.Glob(filepath.Join(usr, layout)) // the only error is a bad pattern
		dirs = append(dirs, found...)
	}
	slices.SortStableFunc(dirs, func(a, b string) int { return majorOfDir(b) - majorOfDir(a) })
	return dirs
}

// majorOfDir reads 17 from .../postgresql/17/bin, .../postgresql17/bin and .../pgsql-17/bin, else 0.
func majorOfDir(dir string) int {
	name := filepath.Base(filepath.Dir(dir))
	n, _ := strconv.Atoi(strings.TrimPrefix(strings.TrimPrefix(name, "postgresql"), "pgsql-"))
	return n
}

// missingFrom says which programs are not in a directory. Debian's wrappers are none: they choose a
// version and a cluster by files of their own (pg_wrapper(1)).
func missingFrom(dir string, names []string) (missing []string) {
	for _, name := range names {
		path, err := exec.LookPath(filepath.Join(dir, name))
		if err == nil {
			path, err = filepath.EvalSymlinks(path)
		}
		if err != nil || filepath.Base(path) == "pg_wrapper" {
			missing = append(missing, name)
		}
	}
	return missing
}
