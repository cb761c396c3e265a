package pg

import (
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

// ReadPassFile finds the replication role in a password file (manual, "The Password File"): the first
// line whose database is replication, else the first whose database is *, and whose host is a node, one of
// their addresses or *. addresses maps nodes to replication addresses.
func ReadPassFile(path string, port int, nodes []string, addresses map[string]string) (Credential, error) {
	content, err := readSecret(path)
	if err != nil {
		return Credential{}, err
	}
	hosts := append(slices.Collect(maps.Values(addresses)), nodes...)
	hosts = append(hosts, "*")
	for _, database := range []string{"replication", "*"} {
		for line := range strings.Lines(string(content)) {
			f, ok := passFields(strings.TrimRight(line, "\r\n"))
			if ok && slices.Contains(hosts, f[0]) && (f[1] == "*" || f[1] == strconv.Itoa(port)) && f[2] == database && f[3] != "*" {
				return Credential{User: f[3], Password: Password(f[4])}, nil
			}
		}
	}
	return Credential{}, fmt.Errorf("cannot find the replication role in %s: it needs a line HOST:%d:replication:USER:PASSWORD with HOST * or one of %s",
		path, port, strings.Join(nodes, ", "))
}

// readSecret refuses what libpq would ignore: a file that others may read.
func readSecret(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read password file: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("cannot read password file: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("cannot use password file %s: group or others may access it (mode %04o); chmod 0600 it", path, info.Mode().Perm())
	}
	content, err := io.ReadAll(f)
	if err != nil {
		return nil, fmt.Errorf("cannot read password file %s: %w", path, err)
	}
	return content, nil
}

// passFields splits a line host:port:database:user:password, in which \: and \\ stand for : and \.
// A comment or an incomplete line is not ok.
func passFields(line string) (fields [5]string, ok bool) {
	if strings.HasPrefix(line, "#") {
		return fields, false
	}
	field := 0
	for i := 0; i < len(line); i++ {
		switch {
		case line[i] == '\\' && i+1 < len(line):
			i++
			fields[field] += line[i : i+1]
		case line[i] == ':' && field < 4:
			field++
		default:
			fields[field] += line[i : i+1]
		}
	}
	return fields, field == 4 && fields[3] != "" && fields[4] != ""
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
// no line.
func WritePassFile(dst string, c Credential, uid, gid uint32) error {
	if c.User == "" || c.Password == "" || strings.ContainsAny(c.User+string(c.Password), "\r\n") {
		return errors.New("cannot write password file " + dst + ": user or password is empty or has a line break")
	}
	escape := strings.NewReplacer(`\`, `\\`, `:`, `\:`)
	line := "*:*:*:" + escape.Replace(c.User) + ":" + escape.Replace(string(c.Password)) + "\n"
	_, err := replaceIfChanged(dst, []byte(line), fs.FileMode(0o600), uid, gid)
	return err
}
