package units

import (
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
)

// Starter is an enabled unit of a distribution that starts PostgreSQL on a data directory.
type Starter struct {
	Name    string
	Disable string // the command that disables it
}

// Where units are, in systemd's order (systemd.unit(5)), and where enabled ones are linked.
var (
	unitDirs  = []string{"etc/systemd/system", "run/systemd/system", "usr/local/lib/systemd/system", "usr/lib/systemd/system", "lib/systemd/system"}
	wantsDirs = []string{"etc/systemd/system", "run/systemd/system", "usr/lib/systemd/system", "lib/systemd/system"}
)

// startFile bounds what is read of a unit or of a distribution's settings.
const startFile = 1 << 20

// Starters lists the enabled units of the host whose root is root that would start PostgreSQL on a data
// directory: openSUSE's postgresql.service, Red Hat's postgresql and postgresql-VERSION, Debian's clusters.
func Starters(root, dir string) (all []Starter) {
	for _, name := range enabledUnits(root) {
		if name == "postgresql.service" && isDir(filepath.Join(root, "etc/postgresql")) {
			continue // Debian's, which starts nothing but the clusters below
		}
		if same(root, dataDirOf(root, name), dir) {
			all = append(all, Starter{name, "systemctl disable --now " + name})
		}
	}
	return append(all, debianClusters(root, dir)...)
}

// enabledUnits are the units that a target wants, each once.
func enabledUnits(root string) (names []string) {
	starts := regexp.MustCompile(`^(postgresql|postgres|edb-as|patroni|repmgrd|stolon-keeper|pgautofailover)([-@0-9].*)?\.service$`)
	for _, dir := range wantsDirs {
		found, err := filepath.Glob(filepath.Join(root, dir, "*.wants", "*.service"))
		if err != nil {
			continue
		}
		for _, path := range found {
			name := filepath.Base(path)
			if starts.MatchString(name) && !masked(root, name) && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names
}

func masked(root, name string) bool {
	for _, dir := range unitDirs[:2] {
		if to, err := os.Readlink(filepath.Join(root, dir, name)); err == nil && to == "/dev/null" {
			return true
		}
	}
	return false
}

// dataDirOf is where a unit's PostgreSQL has its data, as the unit, its drop-ins and the files of its
// environment say; "" where they do not.
func dataDirOf(root, name string) (dir string) {
	variables := map[string]string{}
	for _, path := range unitFiles(root, name) {
		for line := range strings.Lines(readStart(path)) {
			readUnitLine(root, strings.TrimSpace(line), variables)
		}
	}
	for _, variable := range []string{"PGDATA", "POSTGRES_DATADIR"} {
		if variables[variable] != "" {
			return variables[variable]
		}
	}
	// openSUSE's postgresql-script reads its settings itself.
	for line := range strings.Lines(readStart(filepath.Join(root, "etc/sysconfig/postgresql"))) {
		assign(strings.TrimSpace(line), variables)
	}
	if dir = variables["POSTGRES_DATADIR"]; dir == "" && name == "postgresql.service" {
		dir = "/var/lib/pgsql/data"
	}
	return strings.Replace(dir, "~postgres", "/var/lib/pgsql", 1)
}

// unitFiles are the unit's file and its drop-ins, in the order in which they count.
func unitFiles(root, name string) (paths []string) {
	names := []string{name}
	if prefix, _, is := strings.Cut(name, "@"); is {
		names = append(names, prefix+"@.service")
	}
	for _, n := range names {
		for _, dir := range unitDirs {
			if path := filepath.Join(root, dir, n); len(paths) == 0 && readStart(path) != "" {
				paths = append(paths, path)
			}
		}
	}
	for _, n := range names {
		for _, dir := range slices.Backward(unitDirs) {
			dropIns, err := filepath.Glob(filepath.Join(root, dir, n+".d", "*.conf"))
			if err == nil {
				paths = append(paths, dropIns...)
			}
		}
	}
	return paths
}

func readUnitLine(root, line string, variables map[string]string) {
	key, value, _ := strings.Cut(line, "=")
	switch key {
	case "Environment":
		for field := range strings.FieldsSeq(value) {
			assign(strings.Trim(field, `"'`), variables)
		}
	case "EnvironmentFile":
		for line := range strings.Lines(readStart(filepath.Join(root, strings.TrimPrefix(value, "-")))) {
			assign(strings.TrimSpace(line), variables)
		}
	case "ExecStart":
		if m := regexp.MustCompile(`\s-D\s*(/[^\s$]+)`).FindStringSubmatch(line); m != nil {
			variables["PGDATA"] = m[1]
		}
	}
}

func assign(text string, variables map[string]string) {
	if name, value, found := strings.Cut(text, "="); found {
		variables[name] = strings.Trim(value, `"'`)
	}
}

// debianClusters are the clusters of Debian's packages that are started at boot (start.conf) on the data
// directory.
func debianClusters(root, dir string) (all []Starter) {
	found, err := filepath.Glob(filepath.Join(root, "etc/postgresql/*/*/postgresql.conf"))
	if err != nil || !slices.Contains(enabledUnits(root), "postgresql.service") {
		return nil
	}
	setting := regexp.MustCompile(`(?m)^\s*data_directory\s*=?\s*'([^']*)'`)
	for _, path := range found {
		conf := filepath.Dir(path)
		m := setting.FindAllStringSubmatch(readStart(path), -1)
		if len(m) == 0 || !same(root, m[len(m)-1][1], dir) || startMode(filepath.Join(conf, "start.conf")) != "auto" {
			continue
		}
		cluster, version := filepath.Base(conf), filepath.Base(filepath.Dir(conf))
		all = append(all, Starter{"postgresql@" + version + "-" + cluster + ".service", "echo manual > /etc/postgresql/" + version + "/" + cluster + "/start.conf"})
	}
	return all
}

// startMode is the first word of start.conf that is no comment; auto where there is none (pg_createcluster(1)).
func startMode(path string) string {
	for line := range strings.Lines(readStart(path)) {
		line, _, _ = strings.Cut(line, "#")
		if fields := strings.Fields(line); len(fields) > 0 {
			return fields[0]
		}
	}
	return "auto"
}

// same says whether a path below root is the directory.
func same(root, path, dir string) bool {
	if path == "" {
		return false
	}
	one, errOne := os.Stat(filepath.Join(root, path))
	other, errOther := os.Stat(filepath.Join(root, dir))
	return errOne == nil && errOther == nil && os.SameFile(one, other)
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// readStart reads a small file, "" where it cannot: what cannot be read starts nothing.
func readStart(path string) string {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return ""
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, startFile))
	if err != nil {
		return ""
	}
	return string(text)
}
