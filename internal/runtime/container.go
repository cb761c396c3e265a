package runtime

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// label marks our containers with the instance they belong to.
const label = "pgtwin.instance"

// journalSocket is where journald takes syslog messages (systemd-journald.service(8)).
const journalSocket = "/run/systemd/journal/dev-log"

// surroundings is what the host adds to a Spec. It is gathered in one place so
// that the conversions into the engines' own terms are pure functions.
type surroundings struct {
	Instance    string
	Path        string // PATH in the container
	Mounts      []Mount
	Limits      []limit
	OOMScoreAdj int
}

// limit is a resource limit (getrlimit(2)) under the engines' name for it.
type limit struct {
	Name       string // nofile, memlock, ...
	Soft, Hard uint64
}

// surround gathers what a container of s needs from this host.
func surround(opts Options, s Spec, imageEnv []string) (surroundings, error) {
	accounts, err := accountFiles(opts.StateDir, s)
	if err != nil {
		return surroundings{}, fmt.Errorf("cannot write the container's passwd and group: %w", err)
	}
	limits, err := inheritedLimits()
	if err != nil {
		return surroundings{}, fmt.Errorf("cannot read our own resource limits: %w", err)
	}
	oom, err := inheritedOOMScoreAdj()
	if err != nil {
		return surroundings{}, fmt.Errorf("cannot read our own OOM score adjustment: %w", err)
	}
	return surroundings{
		Instance:    opts.Instance,
		Path:        programPath(imageEnv),
		Mounts:      accounts,
		Limits:      limits,
		OOMScoreAdj: oom,
	}, nil
}

// programPath is the PATH that finds PostgreSQL's programs in any image we
// know: the image's own, then where Debian (postgresql/17/bin) and SUSE
// (postgresql17/bin) put them, newest first.
func programPath(imageEnv []string) string {
	own := variable(imageEnv, "PATH")
	if own == "" {
		own = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	}
	dirs := []string{own}
	for major := 18; major >= 14; major-- {
		dirs = append(dirs, fmt.Sprintf("/usr/lib/postgresql/%d/bin:/usr/lib/postgresql%d/bin", major, major))
	}
	return strings.Join(dirs, ":")
}

// journalMount makes log_destination=syslog work in a container: libc's
// syslog() writes to /dev/log, and journald then records the true process and
// the message's own priority, which lines on stderr do not have.
func journalMount(socket string) []Mount {
	if _, err := os.Stat(socket); err != nil {
		return nil // no journald: stderr is all there is
	}
	return []Mount{{Source: socket, Target: "/dev/log"}}
}

// accountFiles gives the container the host's users and groups. A client on the
// socket has a user id of the host, and the server's peer authentication looks
// its name up in its own passwd file; initdb refuses to run as a user id
// without a name. With the host's names all three runtimes answer alike.
func accountFiles(stateDir string, s Spec) ([]Mount, error) {
	files := []struct{ name, id, entry string }{
		{"passwd", strconv.Itoa(int(s.UID)), fmt.Sprintf("postgres:x:%d:%d::/:/bin/sh\n", s.UID, s.GID)},
		{"group", strconv.Itoa(int(s.GID)), fmt.Sprintf("postgres:x:%d:\n", s.GID)},
	}
	var mounts []Mount
	for _, f := range files {
		text, err := os.ReadFile("/etc/" + f.name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		path := filepath.Join(stateDir, f.name)
		if err := replaceFile(path, withEntry(string(text), f.id, f.entry)); err != nil {
			return nil, err
		}
		mounts = append(mounts, Mount{Source: path, Target: "/etc/" + f.name, ReadOnly: true})
	}
	return mounts, nil
}

// withEntry adds entry to the text of passwd(5) or group(5) if none has this id.
func withEntry(text, id, entry string) string {
	for line := range strings.Lines(text) {
		if field := strings.Split(strings.TrimSpace(line), ":"); len(field) > 2 && field[2] == id {
			return text
		}
	}
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	return text + entry
}

// replaceFile writes a world-readable file in one step: a container that is
// being started beside us sees the old one or the new one.
func replaceFile(path, text string) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	err = errors.Join(err, f.Chmod(0o644), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}

// inheritedLimits reads our own limits, which are those of the unit: what the
// administrator writes as Limit*= (systemd.exec(5)) holds for the host's
// programs by inheritance and for containers because we repeat it.
func inheritedLimits() ([]limit, error) {
	limits := []limit{{Name: "core"}, {Name: "memlock"}, {Name: "nofile"}, {Name: "nproc"}}
	for i, resource := range []int{unix.RLIMIT_CORE, unix.RLIMIT_MEMLOCK, unix.RLIMIT_NOFILE, unix.RLIMIT_NPROC} {
		var r unix.Rlimit
		if err := unix.Getrlimit(resource, &r); err != nil {
			return nil, err
		}
		limits[i].Soft, limits[i].Hard = r.Cur, r.Max
	}
	return limits, nil
}

func inheritedOOMScoreAdj() (int, error) {
	text, err := os.ReadFile("/proc/self/oom_score_adj")
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(text)))
}

// concerns reports whether a running container is the instance's, by its label
// or by the host directories it mounts.
func (o Options) concerns(labels map[string]string, sources []string) bool {
	if o.Instance != "" && labels[label] == o.Instance {
		return true
	}
	return slices.ContainsFunc(sources, func(source string) bool { return within(source, o.DataDir) })
}

// numericUser names the owner of the data directory as no image can misread it.
func numericUser(s Spec) string { return fmt.Sprintf("%d:%d", s.UID, s.GID) }

// numericGroups are the supplementary groups, which no image can misread either.
func numericGroups(s Spec) (groups []string) {
	for _, gid := range s.Groups {
		groups = append(groups, strconv.FormatUint(uint64(gid), 10))
	}
	return groups
}

// within reports whether path is dir or lies in it.
func within(path, dir string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && filepath.IsLocal(rel)
}
