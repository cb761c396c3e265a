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
		{"escaped colon and backslash, a colon in the password", `*:*:replication:re\:pl:p\\w\:x:y` + "\n", "re:pl", `p\w:x:y`},
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
			got, err := ReadPassFile(path, 5432, nodes, addresses)
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
	if _, err := ReadPassFile(path, 5432, nil, nil); err == nil || !strings.Contains(err.Error(), "chmod 0600") {
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
	want := Credential{`re:pl`, `p\w:'x`}
	must(t, WritePassFile(ownFile, want, 4321, 8765))
	for _, path := range []string{copied, ownFile} {
		info, err := os.Stat(path)
		must(t, err)
		if stat := info.Sys().(*syscall.Stat_t); stat.Uid != 4321 || stat.Gid != 8765 || info.Mode() != 0o600 {
			t.Errorf("%s: %d:%d %v", path, stat.Uid, stat.Gid, info.Mode())
		}
	}
	if got, err := ReadPassFile(ownFile, 1, nil, nil); got != want {
		t.Errorf("read back %+v, %v", got, err)
	}
	if err := WritePassFile(ownFile, Credential{"a", "b\n*:*:*:c:d"}, 0, 0); err == nil {
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
