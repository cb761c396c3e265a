package pg

import (
	"errors"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// ConfSize is how many bytes of one configuration file are read; PostgreSQL's own have some ten thousand.
const ConfSize = 4 << 20

const (
	confFiles = 500 // that are read of an administrator's configuration
	confDepth = 10  // CONF_FILE_MAX_DEPTH of conffiles.h
)

// Files are the configuration files of a server as somebody sees them: a user of this host, or a session.
// An error that is fs.ErrNotExist says that there is no such file.
type Files interface {
	Read(path string) ([]byte, error)
	List(dir string) ([]string, error) // names in a directory, sorted
}

// Lack is a configuration file, or directory, that is missing or cannot be read.
type Lack struct {
	Path, By string // By: the file that takes it in, "" for those of the data directory
	Err      error
	Optional bool // PostgreSQL does without, where it is missing (include_if_exists)
}

// Configuration is what an administrator's configuration consists of.
type Configuration struct {
	Files []string // absolute paths as they are named, each once; those of the data directory come first
	Dirs  []string // of include_dir
	Lacks []Lack   // what a server would not start without

	DataDirectory, HBAFile, IdentFile string // as postgresql.conf sets them; "" where it does not
}

// FollowConfiguration reads postgresql.conf, pg_hba.conf and pg_ident.conf of a data directory and what
// they take in, as a server of a major version would.
func FollowConfiguration(files Files, pgdata string, major int) Configuration {
	w := walk{files: files, pgdata: pgdata}
	w.file(filepath.Join(pgdata, "postgresql.conf"), "", false, true, 0)
	for _, name := range []string{"pg_hba.conf", "pg_ident.conf"} {
		w.file(filepath.Join(pgdata, name), "", false, major >= includesVersion, 0)
	}
	return w.found
}

type walk struct {
	files  Files
	pgdata string
	found  Configuration
}

func (w *walk) file(path, by string, optional, follow bool, depth int) {
	if depth > confDepth || len(w.found.Files) >= confFiles || slices.Contains(w.found.Files, path) {
		return
	}
	text, err := w.files.Read(path)
	if errors.Is(err, fs.ErrNotExist) && optional {
		return
	}
	if err != nil {
		w.found.Lacks = append(w.found.Lacks, Lack{path, by, err, optional})
		return
	}
	w.found.Files = append(w.found.Files, path)
	if !follow {
		return
	}
	for line := range strings.Lines(string(text)) {
		w.line(line, path, depth)
	}
}

func (w *walk) line(line, path string, depth int) {
	name, value := fileSetting(line)
	switch name {
	case "include", "include_if_exists":
		w.file(beside(path, value), path, name != "include", true, depth+1)
	case "include_dir":
		w.dir(beside(path, value), path, depth)
	case "data_directory":
		w.found.DataDirectory = value
	case "hba_file":
		w.found.HBAFile = value
	case "ident_file":
		w.found.IdentFile = value
	}
}

// dir reads the files that an include_dir takes in.
func (w *walk) dir(dir, by string, depth int) {
	names, err := w.files.List(dir)
	if err != nil {
		w.found.Lacks = append(w.found.Lacks, Lack{dir, by, err, false})
		return
	}
	w.found.Dirs = append(w.found.Dirs, dir)
	for _, name := range names {
		if isIncluded(name) {
			w.file(filepath.Join(dir, name), dir, true, true, depth+1)
		}
	}
}

// beside is the path of a name that a file includes: a relative one begins where that file lies
// (AbsoluteConfigLocation of conffiles.c).
func beside(file, name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(filepath.Dir(file), name)
}

// isIncluded says whether include_dir takes a file of this name in (GetConfFilesInDir of conffiles.c).
func isIncluded(name string) bool {
	return len(name) > len(".conf") && strings.HasSuffix(name, ".conf") && !strings.HasPrefix(name, ".")
}

// fileSetting reads a line of postgresql.conf, or an include of pg_hba.conf; "" for a line that is neither.
func fileSetting(line string) (name, value string) {
	assignment := regexp.MustCompile(`^\s*([A-Za-z_][A-Za-z0-9_.]*)(?:\s*=\s*|\s+)(?:'((?:[^'\\]|''|\\.)*)'|"([^"]*)"|([^\s#'"]+))`)
	m := assignment.FindStringSubmatch(line)
	if m == nil {
		return "", ""
	}
	return strings.ToLower(m[1]), strings.NewReplacer("''", "'", `\'`, "'", `\\`, `\`).Replace(m[2]) + m[3] + m[4]
}
