package pg

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// Password prints as "***", whatever prints it. Convert it to string to use it.
type Password string

const masked = "***"

// String hides the password.
func (Password) String() string { return masked }

// GoString hides the password from %#v.
func (Password) GoString() string { return masked }

// Format hides the password from every other verb.
func (Password) Format(s fmt.State, _ rune) { fmt.Fprint(s, masked) }

// LogValue hides the password from log/slog.
func (Password) LogValue() slog.Value { return slog.StringValue(masked) }

// MarshalText hides the password from encoders.
func (Password) MarshalText() ([]byte, error) { return []byte(masked), nil }

// Credential is the role that replicates.
type Credential struct {
	User     string
	Password Password
	// Managed says that the role is pgtwin's to create and to prepare, because the password file names it
	// in a line whose database is literally "replication". pgtwin connects as any other role, and neither
	// creates, alters nor grants.
	Managed bool
}

// FindPassFile is the password file of the server's user: the configured one, else the first that is
// there of .pgpass in /var/lib/USER, in the user's home and in /var/lib/pgsql. Where none is, the answer
// is the first of them.
func FindPassFile(configured, username string) string {
	if configured != "" {
		return configured
	}
	candidates := []string{filepath.Join("/var/lib", username, ".pgpass")}
	if account, err := user.Lookup(username); err == nil {
		candidates = append(candidates, filepath.Join(account.HomeDir, ".pgpass"))
	}
	return firstThere(append(candidates, "/var/lib/pgsql/.pgpass"))
}

func firstThere(candidates []string) string {
	for _, path := range candidates {
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	return candidates[0]
}

// ReadPassFile finds the replication role in a password file (manual, "The Password File"). A line counts
// whose host is *, a node or one of the addresses, which map nodes to replication addresses, and whose port
// is * or this one. The first of them whose database is replication names the role that is pgtwin's to
// prepare. Without one, the role of lines whose database is * connects: that of pguser, the superuser, never
// does, and several roles are an error, because none of these lines says which of them replicates.
func ReadPassFile(path string, port int, nodes []string, addresses map[string]string, pguser string) (Credential, error) {
	content, err := readSecret(path)
	if err != nil {
		return Credential{}, err
	}
	hosts := slices.Concat(slices.Collect(maps.Values(addresses)), nodes, []string{"*"})
	var replicates, anything []passLine
	for _, line := range passLines(string(content)) {
		switch {
		case !slices.Contains(hosts, line.host) || line.port != "*" && line.port != strconv.Itoa(port) || line.user == "*":
		case line.database == "replication":
			replicates = append(replicates, line)
		case line.database == "*" && line.user != pguser:
			anything = append(anything, line)
		}
	}
	if len(replicates) > 0 {
		return replicates[0].credential(path, true)
	}
	want := fmt.Sprintf("add the line *:%d:replication:ROLE:PASSWORD with the role that replicates", port)
	if len(anything) == 0 {
		return Credential{}, fmt.Errorf("cannot find the replication role in %s: it needs a line HOST:%d:replication:USER:PASSWORD with HOST * or one of %s;"+
			" a line for every database (*) does, too, but not that of %s, the superuser", path, port, strings.Join(nodes, ", "), pguser)
	}
	for _, line := range anything {
		if line.user != anything[0].user {
			return Credential{}, fmt.Errorf("cannot tell the replication role in %s: its lines %d and %d are for every database (*) and have different roles; %s",
				path, anything[0].number, line.number, want)
		}
	}
	return anything[0].credential(path, false)
}

// maxPassFile is more than any password file that people write, in bytes.
const maxPassFile = 1 << 20

// readSecret refuses what libpq would ignore: a file that others may read, and what is no regular file.
func readSecret(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a FIFO would block
	if err != nil {
		return nil, fmt.Errorf("cannot read password file: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("cannot read password file: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("cannot use password file %s: it is not a regular file", path)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("cannot use password file %s: group or others may access it (mode %04o); chmod 0600 it", path, info.Mode().Perm())
	}
	content, err := io.ReadAll(io.LimitReader(f, maxPassFile+1))
	if err != nil {
		return nil, fmt.Errorf("cannot read password file %s: %w", path, err)
	}
	if len(content) > maxPassFile {
		return nil, fmt.Errorf("cannot use password file %s: it is larger than 1 MB", path)
	}
	return content, nil
}

// passLine is one line host:port:database:user:password of a password file, unescaped.
type passLine struct {
	number                           int // from 1
	host, port, database, user, word string
	more                             bool // an unescaped colon follows the password
}

// passLines are the complete lines, as libpq reads them (passwordFromFile in fe-connect.c): a line feed
// ends a line, and a carriage return before it does not belong to the line. Blanks belong to the fields.
func passLines(text string) (all []passLine) {
	number := 0
	for line := range strings.Lines(text) {
		number++
		line = strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r")
		if f, more, ok := passFields(line); ok {
			all = append(all, passLine{number, f[0], f[1], f[2], f[3], f[4], more})
		}
	}
	return all
}

// passFields splits a line, in which \: and \\ stand for : and \. A comment or an incomplete line is not ok.
func passFields(line string) (fields [5]string, more, ok bool) {
	if strings.HasPrefix(line, "#") {
		return fields, false, false
	}
	field, value := 0, make([]byte, 0, len(line))
	for i := 0; i < len(line); i++ {
		switch {
		case line[i] == '\\' && i+1 < len(line):
			i++
			value = append(value, line[i])
		case line[i] == ':':
			if fields[field] = string(value); field == 4 {
				return fields, true, fields[3] != ""
			}
			field, value = field+1, value[:0]
		default:
			value = append(value, line[i])
		}
	}
	fields[field] = string(value)
	return fields, false, field == 4 && fields[3] != "" && fields[4] != ""
}

// credential refuses what libpq and the driver of pgtwin's own sessions would not read alike. libpq takes
// an unescaped colon for the end of the password, and whoever wrote it meant something else.
func (l passLine) credential(path string, managed bool) (Credential, error) {
	c := Credential{User: l.user, Password: Password(l.word), Managed: managed}
	err := c.check()
	if l.more {
		err = errors.New(`the password has a colon, at which PostgreSQL's programs end it: write \: for a colon and \\ for a backslash`)
	}
	if err != nil {
		return Credential{}, fmt.Errorf("cannot use line %d of password file %s: %w", l.number, path, err)
	}
	return c, nil
}

// CopyPassFile copies a password file to where the server can read it, in a container too: mode 0600,
// owned by uid, replaced in one step.
func CopyPassFile(src, dst string, uid, gid uint32) error {
	content, err := readSecret(src)
	if err != nil {
		return err
	}
	_, err = replaceIfChanged(dst, content, 0o600, uid, gid)
	return err
}

// WritePassFile writes a password file with one line that holds for every host and database. A copy of
// the administrator's file serves replication, but pg_rewind connects to a database for which it may have
// no line. A file that is there already is overwritten, not replaced: a container in which it is mounted
// goes on to see this one (mount(2), MS_BIND). Who reads it at that moment may read a password that is cut
// off, is refused, and tries again.
func WritePassFile(dst string, c Credential, uid, gid uint32) error {
	if err := c.check(); err != nil {
		return fmt.Errorf("cannot write password file %s: %w", dst, err)
	}
	escape := strings.NewReplacer(`\`, `\\`, `:`, `\:`)
	line := []byte("*:*:*:" + escape.Replace(c.User) + ":" + escape.Replace(string(c.Password)) + "\n")
	if overwritten, err := overwrite(dst, line, uid, gid); overwritten || err != nil {
		return err
	}
	_, err := replaceIfChanged(dst, line, fs.FileMode(0o600), uid, gid)
	return err
}

// overwrite changes a file of this owner in place. The content goes first and the length last: of what is
// read in between, the first line is one of the two.
func overwrite(dst string, content []byte, uid, gid uint32) (done bool, err error) {
	f, err := os.OpenFile(dst, os.O_RDWR|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return false, nil // it is made anew
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return false, nil
	}
	stat := info.Sys().(*syscall.Stat_t)
	if !info.Mode().IsRegular() || info.Mode() != 0o600 || stat.Uid != uid || stat.Gid != gid || info.Size() > maxPassFile {
		return false, nil
	}
	old, err := io.ReadAll(f)
	if err != nil || bytes.Equal(old, content) {
		return err == nil, nil
	}
	_, err = f.WriteAt(content, 0)
	if err = errors.Join(err, f.Truncate(int64(len(content))), f.Sync()); err != nil {
		return false, fmt.Errorf("cannot write password file %s: %w", dst, err)
	}
	return true, nil
}

// ReadWritten reads a file that WritePassFile wrote. Whether the role is managed is not in it.
func ReadWritten(path string) (Credential, error) {
	content, err := readSecret(path)
	if err != nil {
		return Credential{}, err
	}
	for _, line := range passLines(string(content)) {
		return line.credential(path, false)
	}
	return Credential{}, fmt.Errorf("cannot read password file %s: it has no line", path)
}
