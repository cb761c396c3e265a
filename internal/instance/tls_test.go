package instance

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgtwin/internal/config"
	"pgtwin/internal/ha"
	"pgtwin/internal/ocf"
	"pgtwin/internal/pg"
	"pgtwin/internal/storage"
	"pgtwin/test/certificate"
)

// certify puts a certificate and its key into the data directory, as PostgreSQL wants them; without a key
// that is given, with one of its own.
func (a *Activation) certify(t *testing.T, private ...crypto.Signer) {
	t.Helper()
	cert, key, err := certificate.New("h1")
	for _, given := range private {
		cert, key, err = certificate.Of("h1", given)
	}
	must(t, err)
	for name, text := range map[string][]byte{"server.crt": cert, "server.key": key} {
		path := filepath.Join(a.Instance.PGData, name)
		must(t, os.RemoveAll(path))
		must(t, os.WriteFile(path, text, 0o600))
		must(t, os.Chown(path, int(a.owner.uid), int(a.owner.gid)))
	}
}

func TestTLSFilesThatPostgreSQLRefusesAreNamed(t *testing.T) {
	const key, cert, ca = "server.key", "server.crt", "root.crt"
	tests := []struct {
		name string
		do   func(t *testing.T, a *Activation, path func(string) string)
		says string // "" where PostgreSQL starts with them
	}{
		{"right ones", func(*testing.T, *Activation, func(string) string) {}, ""},
		{"a key of root's that a group may read", func(t *testing.T, a *Activation, path func(string) string) {
			must(t, errors.Join(os.Chown(path(key), 0, int(a.owner.gid)), os.Chmod(path(key), 0o640)))
		}, ""},
		{"a key of its own that a group may read", func(t *testing.T, _ *Activation, path func(string) string) { must(t, os.Chmod(path(key), 0o640)) }, "chmod 0600 "},
		{"a key of root's that all may read", func(t *testing.T, _ *Activation, path func(string) string) {
			must(t, errors.Join(os.Chown(path(key), 0, 0), os.Chmod(path(key), 0o644)))
		}, "chmod 0640 "},
		{"a key of root's alone", func(t *testing.T, _ *Activation, path func(string) string) { must(t, os.Chown(path(key), 0, 0)) }, "PostgreSQL cannot read "},
		{"a key of somebody else's", func(t *testing.T, a *Activation, path func(string) string) {
			must(t, errors.Join(os.Chown(path(key), 1, int(a.owner.gid)), os.Chmod(path(key), 0o640)))
		}, "of its own user or of root alone"},
		{"no key", func(t *testing.T, _ *Activation, path func(string) string) { must(t, os.Remove(path(key))) }, "server.key is not here"},
		{"no certificate", func(t *testing.T, _ *Activation, path func(string) string) { must(t, os.Remove(path(cert))) }, "server.crt is not here"},
		{"an empty certificate", func(t *testing.T, _ *Activation, path func(string) string) { must(t, os.Truncate(path(cert), 0)) }, "has nothing in PEM"},
		{"the key of another certificate", func(t *testing.T, a *Activation, path func(string) string) {
			old, err := os.ReadFile(path(cert))
			must(t, err)
			a.certify(t)
			must(t, os.WriteFile(path(cert), old, 0o600))
		}, "is not the key of the certificate"},
		{"no authority", func(t *testing.T, a *Activation, _ func(string) string) {
			a.write(t, "postgresql.conf", "ssl_ca_file = '"+ca+"'\n")
		},
			"postgresql.conf, line "},
	}
	a, h := startable(t)
	a.write(t, "postgresql.conf", "ssl = on\n")
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h.starts = 0
			a.certify(t)
			test.do(t, a, func(name string) string { return filepath.Join(a.Instance.PGData, name) })
			err := a.start(t.Context(), ha.Arrival{})
			if test.says == "" {
				must(t, err)
				must(t, a.abandon(t.Context()))
				return
			}
			var failure *Failure
			if !errors.As(err, &failure) || failure.Code != ocf.ErrInstalled || !strings.Contains(err.Error(), test.says) || h.starts != 0 {
				t.Errorf("%d starts, error %v, want one that says %q", h.starts, err, test.says)
			}
			// PostgreSQL itself agrees.
			must(t, WriteStandIns(a.Instance.Name, nil))
			_, err = a.launch(t.Context(), ha.Arrival{})
			if err == nil {
				t.Error("PostgreSQL starts with them")
			}
		})
	}
}

// PostgreSQL refuses the key for its length, which nobody but its library knows.
func TestAStartWithTLSFilesThatPostgreSQLRefusesUsesTheirCopies(t *testing.T) {
	short, err := rsa.GenerateKey(rand.Reader, 1024)
	must(t, err)
	for name, broken := range map[string]func(t *testing.T, a *Activation){
		"no key":        func(t *testing.T, a *Activation) { must(t, os.Remove(filepath.Join(a.Instance.PGData, "server.key"))) },
		"a short key":   func(t *testing.T, a *Activation) { a.certify(t, short) },
		"nothing wrong": func(*testing.T, *Activation) {},
	} {
		t.Run(name, func(t *testing.T) {
			a, h := startable(t)
			a.write(t, "postgresql.conf", "ssl = on\n")
			a.certify(t)
			a.accepted(t, h)
			good := ReadTLS(a.Instance)
			must(t, good.Keep(a.Instance))
			broken(t, a)
			must(t, a.start(t.Context(), ha.Arrival{}))
			served, err := pg.ServedCertificate(t.Context(), "127.0.0.1", a.Instance.Port)
			must(t, err)
			standIns, err := ReadStandIns(a.Instance.Name)
			must(t, err)
			in, on := standIns[pg.TLS]
			if !good.Serves(served) || on == (name == "nothing wrong") {
				t.Errorf("stands in %v, serves the good certificate %v", standIns, good.Serves(served))
			}
			if ReadTLS(a.Instance).Mended(in) != (name == "nothing wrong") {
				t.Errorf("of what was not changed nobody knows whether it is right")
			}
			must(t, a.abandon(t.Context()))
			a.certify(t)
			must(t, a.start(t.Context(), ha.Arrival{}))
			served, err = pg.ServedCertificate(t.Context(), "127.0.0.1", a.Instance.Port)
			if err != nil || !ReadTLS(a.Instance).Serves(served) {
				t.Errorf("new files are not used: %v", err)
			}
		})
	}
}

// The container has the data directory, and not /etc.
func TestTLSFilesThatAContainerDoesNotSeeAreNamed(t *testing.T) {
	a, _ := startable(t)
	dir := t.TempDir()
	must(t, os.Chmod(dir, 0o755))
	a.certify(t)
	must(t, os.Rename(filepath.Join(a.Instance.PGData, "server.crt"), filepath.Join(dir, "server.crt")))
	a.write(t, "postgresql.conf", "ssl = on\nssl_cert_file = '"+dir+"/server.crt'\n")
	a.Instance.ContainerMode = true
	if err := ReadTLS(a.Instance).Problem; err == nil || !strings.Contains(err.Error(), "name its directory in container_dirs") {
		t.Errorf("error %v", err)
	}
	a.Instance.ContainerDirs = []string{dir}
	if err := ReadTLS(a.Instance).Problem; err != nil && strings.Contains(err.Error(), "container_dirs") {
		t.Errorf("error %v", err)
	}
}

func TestACopyOfAPrimaryWithTLSFilesThatAreNotHereIsNotBegun(t *testing.T) {
	a, _ := startable(t)
	here := filepath.Join(t.TempDir(), "server.key")
	must(t, os.WriteFile(here, nil, 0o644))
	for _, test := range []struct {
		path  string
		lacks bool
	}{
		{"server.key", false}, {a.Instance.PGData + "/server.key", false}, {config.ConfDir(a.Instance.Name) + "/accepted.ssl_key_file", false},
		{"/etc/passwd", false}, {"/nowhere/server.key", true},
	} {
		err := a.lacksTLS("h2", []string{test.path})
		if errors.Is(err, errNotBegun) != test.lacks || test.lacks && !strings.Contains(err.Error(), "h2 uses "+test.path+" for TLS") {
			t.Errorf("%s: error %v", test.path, err)
		}
	}
}

// Debian's key for TLS belongs to root and is for the members of a group.
func TestTheServersUserHasTheGroupsOfItsAccount(t *testing.T) {
	out, err := exec.Command("id", "-G", "postgres").Output()
	must(t, err)
	o := postgres()
	want := slices.DeleteFunc(strings.Fields(string(out)), func(gid string) bool { return gid == fmt.Sprint(o.gid) })
	a, _ := startable(t)
	spec, err := a.spec("a", []string{"postgres"})
	must(t, err)
	if got := strings.Fields(strings.Trim(fmt.Sprint(spec.Groups), "[]")); !slices.Equal(got, want) {
		t.Errorf("the server has the groups %v, its account %v", got, want)
	}
	path := filepath.Join(filepath.Dir(a.Instance.PGData), "key")
	must(t, errors.Join(os.WriteFile(path, []byte("for the group"), 0o640), os.Chown(path, 0, 4711)))
	if text, err := storage.ReadAs(path, storage.Identity{UID: o.uid, GID: o.gid, Groups: []uint32{4711}}, 100); string(text) != "for the group" {
		t.Errorf("as a member: %q, %v", text, err)
	}
	if _, err := storage.ReadAs(path, storage.Identity{UID: o.uid, GID: o.gid}, 100); !errors.Is(err, os.ErrPermission) {
		t.Errorf("without the group: %v", err)
	}
}
