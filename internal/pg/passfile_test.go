package pg

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestReadPassFile(t *testing.T) {
	nodes, addresses := []string{"h1", "h2"}, map[string]string{"h2": "10.0.0.2"}
	for _, c := range []struct {
		name, text string
		user       string
		password   Password
	}{
		{"a node by name", "h2:5432:replication:repl:pw\n", "repl", "pw"},
		{"a node by its replication address", "10.0.0.2:5432:replication:repl:pw", "repl", "pw"},
		{"any host and port", "*:*:replication:repl:pw\n", "repl", "pw"},
		{"escaped colon and backslash", `*:*:replication:re\:pl:p\\w\:x` + "\n", "re:pl", `p\w:x`},
		{"a backslash at the end", `*:*:replication:repl:pw\` + "\n", "repl", `pw\`},
		{"blanks before the password", "*:*:replication:repl:  pw\n", "repl", "  pw"},
		{"replication before any database", "*:*:*:postgres:su\n*:*:replication:repl:pw\n", "repl", "pw"},
		{"any database", "*:*:postgres:x:y\n*:*:*:repl:pw\n", "repl", "pw"},
		{"comments, blanks and DOS line ends", "# *:*:replication:no:no\n\n*:*:replication:repl:pw\r\n", "repl", "pw"},
		{"another port", "*:5433:replication:repl:pw\n", "", ""},
		{"another host", "h3:5432:replication:repl:pw\n", "", ""},
		{"any user", "*:*:replication:*:pw\n", "", ""},
		{"no password", "*:*:replication:repl:\n", "", ""},
		{"empty", "", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "pgpass")
			must(t, os.WriteFile(path, []byte(c.text), 0o600))
			got, err := ReadPassFile(path, 5432, nodes, addresses, "postgres")
			if got.User != c.user || got.Password != c.password || (err == nil) != (c.user != "") {
				t.Errorf("got %s %s, %v", got.User, string(got.Password), err)
			}
			if err != nil && !strings.Contains(err.Error(), "HOST:5432:replication:USER:PASSWORD") {
				t.Errorf("does not say what to do: %v", err)
			}
		})
	}
}

func TestAPassFileThatOthersMayReadIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pgpass")
	must(t, os.WriteFile(path, []byte("*:*:replication:repl:pw\n"), 0o600))
	must(t, os.Chmod(path, 0o640))
	if _, err := ReadPassFile(path, 5432, nil, nil, "postgres"); err == nil || !strings.Contains(err.Error(), "chmod 0600") {
		t.Error(err)
	}
	if err := CopyPassFile(path, path+".copy", 0, 0); err == nil {
		t.Error("copied")
	}
}

func TestPassFilesAreTheServersAlone(t *testing.T) {
	dir := t.TempDir()
	original, copied, ownFile := filepath.Join(dir, "a"), filepath.Join(dir, "b"), filepath.Join(dir, "c")
	must(t, os.WriteFile(original, []byte("*:*:replication:repl:pw\n"), 0o600))
	must(t, CopyPassFile(original, copied, 4321, 8765))
	want := Credential{User: `re:pl`, Password: `p\w:'x`}
	must(t, WritePassFile(ownFile, want, 4321, 8765))
	for _, path := range []string{copied, ownFile} {
		info, err := os.Stat(path)
		must(t, err)
		if stat := info.Sys().(*syscall.Stat_t); stat.Uid != 4321 || stat.Gid != 8765 || info.Mode() != 0o600 {
			t.Errorf("%s: %d:%d %v", path, stat.Uid, stat.Gid, info.Mode())
		}
	}
	if got, err := ReadWritten(ownFile); got != want {
		t.Errorf("read back %+v, %v", got, err)
	}
	if err := WritePassFile(ownFile, Credential{User: "a", Password: "b\n*:*:*:c:d"}, 0, 0); err == nil {
		t.Error("wrote a password of two lines")
	}
}

func TestAPasswordNeverPrints(t *testing.T) {
	c := Credential{User: "u", Password: "topsecret"}
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "credential", c, "password", c.Password)
	encoded, err := json.Marshal(c)
	must(t, err)
	for _, text := range []string{fmt.Sprint(c), fmt.Sprintf("%+v %#v %s %q %x %d", c, c, c.Password, c.Password, c.Password, c.Password), string(encoded), log.String()} {
		if strings.Contains(text, "topsecret") || strings.Contains(text, fmt.Sprintf("%x", "topsecret")) || !strings.Contains(text, "***") {
			t.Error(text)
		}
	}
}

func TestFindPassFile(t *testing.T) {
	if got := FindPassFile("/x", "postgres"); got != "/x" {
		t.Error(got)
	}
	dir := t.TempDir()
	there := filepath.Join(dir, "there")
	must(t, os.WriteFile(there, nil, 0o600))
	if got := firstThere([]string{dir + "/a", there, dir}); got != there {
		t.Error(got)
	}
	if got := firstThere([]string{dir + "/a", dir + "/b"}); got != dir+"/a" {
		t.Error(got)
	}
}

// Only a line for "replication" makes a role pgtwin's; others are the administrator's own.
func TestWhichRoleIsPgtwins(t *testing.T) {
	for _, c := range []struct {
		name, text string
		user       string // "" for an error
		managed    bool
		says       string
	}{
		{"a line for replication", "*:*:replication:repl:pw\n", "repl", true, ""},
		{"also when it comes last", "*:*:*:postgres:su\n*:*:*:app:pw\n*:*:*:repl:pw\n*:*:replication:repl:pw\n", "repl", true, ""},
		{"one role for every database", "*:*:*:repl:pw\n", "repl", false, ""},
		{"one role in several lines", "h1:*:*:repl:pw\nh2:*:*:repl:pw\n", "repl", false, ""},
		{"the superuser beside it", "*:*:*:postgres:su\n*:*:*:repl:pw\n", "repl", false, ""},
		{"the superuser alone", "*:*:*:postgres:su\n", "", false, "not that of postgres, the superuser"},
		{"several roles", "*:*:*:app:pw\n*:*:*:repl:pw\n", "", false, "add the line *:5432:replication:ROLE:PASSWORD"},
		{"several roles, one on another port", "*:5433:*:app:pw\n*:*:*:repl:pw\n", "repl", false, ""},
		{"another database", "*:*:postgres:repl:pw\n", "", false, "HOST:5432:replication:USER:PASSWORD"},
		{"a name that is too long", "*:*:replication:" + strings.Repeat("r", 64) + ":pw\n", "", false, "64 bytes"},
		{"a colon in the password", "\n*:*:replication:repl:secret:word\n", "", false, "line 2 of"},
		{"a blank after the password", "*:*:replication:repl:secret \n", "", false, "blank"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "pgpass")
			must(t, os.WriteFile(path, []byte(c.text), 0o600))
			got, err := ReadPassFile(path, 5432, []string{"h1", "h2"}, nil, "postgres")
			if got.User != c.user || got.Managed != c.managed || (err == nil) != (c.user != "") {
				t.Fatalf("got %+v, %v", got, err)
			}
			if err != nil && (!strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "secret") || !strings.Contains(err.Error(), path)) {
				t.Errorf("error %v, want one that says %q", err, c.says)
			}
		})
	}
}

func TestAPassFileIsARegularFileOfBoundedSize(t *testing.T) {
	dir := t.TempDir()
	fifo, large := filepath.Join(dir, "fifo"), filepath.Join(dir, "large")
	must(t, syscall.Mkfifo(fifo, 0o600))
	must(t, os.WriteFile(large, make([]byte, maxPassFile+1), 0o600))
	for path, says := range map[string]string{fifo: "not a regular file", large: "larger than 1 MB", dir: "not a regular file"} {
		if _, err := ReadPassFile(path, 5432, nil, nil, "postgres"); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", path, err)
		}
	}
}
