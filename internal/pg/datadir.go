package pg

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// versionFile is in every data directory.
const versionFile = "PG_VERSION"

// MajorVersion reads PG_VERSION of a data directory. An error that is fs.ErrNotExist means that the
// directory holds no database.
func MajorVersion(pgdata string) (int, error) {
	content, err := os.ReadFile(filepath.Join(pgdata, versionFile))
	if err != nil {
		return 0, fmt.Errorf("cannot read the version of %s: %w", pgdata, err)
	}
	major, err := strconv.Atoi(strings.TrimSpace(string(content)))
	if err != nil {
		return 0, fmt.Errorf("cannot read the version of %s: PG_VERSION is %q", pgdata, content)
	}
	return major, nil
}

// IsEmpty says whether dir holds nothing or is not there. What a mount point has of its own, lost+found
// and pgtwin for copies that were replaced, counts as nothing.
func IsEmpty(dir string) (bool, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("cannot look into %s: %w", dir, err)
	}
	return !slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return e.Name() != "lost+found" && e.Name() != "pgtwin" }), nil
}

// Owner is the owner of the data directory, as whom PostgreSQL runs.
func Owner(pgdata string) (uid, gid uint32, err error) {
	info, err := os.Stat(pgdata)
	if err != nil {
		return 0, 0, fmt.Errorf("cannot tell the owner of the data directory: %w", err)
	}
	stat := info.Sys().(*syscall.Stat_t)
	return stat.Uid, stat.Gid, nil
}

// RemoveRecoverySettings takes the settings of these names out of postgresql.auto.conf, which
// PostgreSQL reads last and which would therefore win over managed.conf. What ALTER SYSTEM wrote
// under other names stays.
func RemoveRecoverySettings(pgdata string, names []string) (removed []string, err error) {
	return rewriteAuto(pgdata, names, "")
}

// rewriteAuto takes settings out of postgresql.auto.conf; where it has had one of them, the lines in added take their place.
func rewriteAuto(pgdata string, names []string, added string) (removed []string, err error) {
	path := filepath.Join(pgdata, "postgresql.auto.conf")
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot look for managed settings: %w", err)
	}
	var kept strings.Builder
	for line := range strings.Lines(string(content)) { // ALTER SYSTEM writes one setting a line
		name := settingName(line)
		if slices.Contains(names, name) {
			removed = append(removed, name)
		} else {
			kept.WriteString(line)
		}
	}
	if removed == nil {
		return nil, nil
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	owner := info.Sys().(*syscall.Stat_t)
	return removed, replaceFile(path, []byte(kept.String()+added), info.Mode().Perm(), owner.Uid, owner.Gid)
}

// SystemOverrides are the settings in postgresql.auto.conf that pgtwin takes back: managed ones, and,
// where commits wait for standbys, a synchronous_commit that does not. A file to include is one, too:
// ALTER SYSTEM writes none, and what it sets would win over ours.
func SystemOverrides(pgdata string, wait bool) ([]string, error) {
	content, err := readConfFile(filepath.Join(pgdata, autoConf))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot look for managed settings in %s: %w", filepath.Join(pgdata, autoConf), err)
	}
	taken := append(ManagedNames(), "include", "include_if_exists", "include_dir")
	var found []string
	for line := range strings.Lines(string(content)) {
		name := settingName(line)
		_, value, _ := strings.Cut(line, "=")
		lowers := wait && name == synchronousCommit && LowersCommit(strings.Trim(strings.TrimSpace(value), "'"))
		if slices.Contains(taken, name) || lowers {
			found = append(found, name)
		}
	}
	slices.Sort(found)
	return slices.Compact(found), nil
}

// RemoveRecoverySignal takes out recovery.signal, which survives a promotion beside standby.signal, and
// then keeps any other start of this directory from working.
func RemoveRecoverySignal(pgdata string) (removed bool, err error) {
	err = os.Remove(filepath.Join(pgdata, "recovery.signal"))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("cannot remove recovery.signal: %w", err)
	}
	return true, syncDir(pgdata)
}

// RemoveStandbySignal lets the next server on the data directory be none: single-user mode refuses it.
func RemoveStandbySignal(pgdata string) error {
	if err := removeIfThere(filepath.Join(pgdata, "standby.signal")); err != nil {
		return fmt.Errorf("cannot remove standby.signal: %w", err)
	}
	return syncDir(pgdata)
}

// settingName is the name that a line of a configuration file sets, in lower case; "" for none. The
// equals sign is optional (manual, "Parameter Interaction via the Configuration File").
func settingName(line string) string {
	line = strings.TrimSpace(line)
	end := strings.IndexAny(line, " \t=#'")
	if end < 0 {
		end = len(line)
	}
	return strings.ToLower(line[:end])
}

// Accepts says whether the server on the data directory has written into its
// pid file that it takes connections, as pg_ctl looks for it (pidfile.h: the
// status is on the eighth line). Asking there instead of connecting keeps
// "the database system is starting up" out of the log.
func Accepts(pgdata string) (bool, error) {
	text, err := os.ReadFile(filepath.Join(pgdata, "postmaster.pid"))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("cannot see whether the server takes connections: %w", err)
	}
	const statusLine = 8
	lines := strings.SplitN(string(text), "\n", statusLine+1)
	if len(lines) < statusLine {
		return false, nil
	}
	status := strings.TrimSpace(lines[statusLine-1])
	return status == "ready" || status == "standby", nil
}

// ParseVersion reads the major version from what `postgres --version` prints,
// for example "postgres (PostgreSQL) 17.11 (Debian 17.11-0+deb13u1)".
func ParseVersion(text string) (int, error) {
	_, version, _ := strings.Cut(text, "(PostgreSQL) ")
	end := strings.IndexFunc(version, func(c rune) bool { return c < '0' || c > '9' })
	major, err := strconv.Atoi(version[:max(end, 0)])
	if err != nil {
		return 0, fmt.Errorf("cannot read PostgreSQL's version from %q", strings.TrimSpace(text))
	}
	return major, nil
}
