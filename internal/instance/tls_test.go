package instance

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
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
		a.lay(t, name, text)
	}
}

// lay writes a file of the data directory that belongs to PostgreSQL's user.
func (a *Activation) lay(t *testing.T, name string, text []byte) {
	t.Helper()
	path := filepath.Join(a.Instance.PGData, name)
	must(t, os.RemoveAll(path))
	must(t, os.WriteFile(path, text, 0o600))
	must(t, os.Chown(path, int(a.owner.uid), int(a.owner.gid)))
}

func TestTLSFilesThatPostgreSQLRefusesAreNamed(t *testing.T) {
	const key, cert = "server.key", "server.crt"
	tests := []struct {
		name string
		do   func(t *testing.T, a *Activation, path func(string) string)
		says string // "" where PostgreSQL starts with them
	}{
		{"right ones", func(*testing.T, *Activation, func(string) string) {}, ""},
		{"a key of root's that a group may read", func(t *testing.T, a *Activation, path func(string) string) {
			must(t, errors.Join(os.Chown(path(key), 0, int(a.owner.gid)), os.Chmod(path(key), 0o640)))
		}, ""},
		{"a certificate after one that Go does not take", func(t *testing.T, a *Activation, path func(string) string) {
			own, err := os.ReadFile(path(cert))
			must(t, err)
			other, _, err := certificate.New("h9")
			must(t, err)
			a.lay(t, cert, append(bytes.ReplaceAll(own, []byte(" CERTIFICATE-"), []byte(" X509 CERTIFICATE-")), other...))
		}, ""},
		{"a key of its own that a group may read", func(t *testing.T, _ *Activation, path func(string) string) { must(t, os.Chmod(path(key), 0o640)) }, "chmod 0600 "},
		{"a key of root's that all may read", func(t *testing.T, _ *Activation, path func(string) string) {
			must(t, errors.Join(os.Chown(path(key), 0, 0), os.Chmod(path(key), 0o644)))
		}, "chmod 0640 "},
		{"a key of root's alone", func(t *testing.T, _ *Activation, path func(string) string) { must(t, os.Chown(path(key), 0, 0)) }, "PostgreSQL cannot read "},
		{"a key of somebody else's", func(t *testing.T, a *Activation, path func(string) string) {
			must(t, errors.Join(os.Chown(path(key), 1, int(a.owner.gid)), os.Chmod(path(key), 0o640)))
		}, "only a key of its own user or of root"},
		{"no key", func(t *testing.T, _ *Activation, path func(string) string) { must(t, os.Remove(path(key))) }, "server.key does not exist on this host"},
		{"no certificate", func(t *testing.T, _ *Activation, path func(string) string) { must(t, os.Remove(path(cert))) }, "server.crt does not exist on this host"},
		{"an empty certificate", func(t *testing.T, _ *Activation, path func(string) string) { must(t, os.Truncate(path(cert), 0)) }, "is not a PEM file"},
		{"the key of another certificate", func(t *testing.T, a *Activation, path func(string) string) {
			_, other, err := certificate.New("h9")
			must(t, err)
			a.lay(t, key, other)
		}, "do not belong together"},
		{"no authority", func(t *testing.T, a *Activation, _ func(string) string) {
			a.write(t, "postgresql.conf", "ssl_ca_file = 'root.crt'\n")
		},
			"postgresql.conf, line "},
	}
	a, h := startable(t)
	a.write(t, "postgresql.conf", "ssl = on\n")
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			must(t, pg.KeepTLS(config.ConfDir(a.Instance.Name), nil, 0, 0))
			h.starts = 0
			a.certify(t)
			test.do(t, a, func(name string) string { return filepath.Join(a.Instance.PGData, name) })
			refused, err := checkTLS(a.Instance, a.Log), a.start(t.Context(), ha.Arrival{})
			if test.says == "" {
				must(t, errors.Join(err, refused))
				must(t, a.abandon(t.Context()))
				return
			}
			var failure *Failure
			if !errors.Is(err, errEnded) || !strings.Contains(err.Error(), test.says) || h.starts != 1 {
				t.Errorf("%d starts, error %v, want one that says %q", h.starts, err, test.says)
			}
			if !errors.As(refused, &failure) || failure.Code != ocf.ErrInstalled || !strings.Contains(refused.Error(), test.says) {
				t.Errorf("before there is a resource: %v", refused)
			}
		})
	}
}

// PostgreSQL refuses a short key, and the copies of an earlier start are used, whatever ALTER SYSTEM says.
// A later start tries the administrator's files again.
func TestAStartWithTLSFilesThatPostgreSQLRefusesUsesTheirCopies(t *testing.T) {
	short, err := rsa.GenerateKey(rand.Reader, 1024)
	must(t, err)
	for name, test := range map[string]struct {
		do     func(t *testing.T, a *Activation)
		starts int
		copies bool
	}{
		"no key":      {func(t *testing.T, a *Activation) { must(t, os.Remove(filepath.Join(a.Instance.PGData, "server.key"))) }, 1, true},
		"a short key": {func(t *testing.T, a *Activation) { a.certify(t, short) }, 2, true},
		"ALTER SYSTEM": {func(t *testing.T, a *Activation) {
			a.write(t, "postgresql.auto.conf", "ssl_key_file = '/nowhere.key'\n")
		}, 1, true},
		"a new setting": {func(t *testing.T, a *Activation) { a.write(t, "postgresql.conf", "ssl_ca_file = '/nowhere.crt'\n") }, 1, true},
		"a renewal":     {func(t *testing.T, a *Activation) { a.certify(t) }, 1, false},
	} {
		t.Run(name, func(t *testing.T) {
			a, h := startable(t)
			a.write(t, "postgresql.conf", "ssl = on\n")
			a.certify(t)
			must(t, a.start(t.Context(), ha.Arrival{}))
			must(t, a.abandon(t.Context()))
			copied := pg.TLSCopy(config.ConfDir(a.Instance.Name), pg.SSLKey)
			if info, err := os.Stat(copied); err != nil || info.Mode() != 0o600 {
				t.Fatalf("the copy of the key: %v, %v", info, err)
			}
			must(t, os.Chown(copied, 1, 1)) // of the user that ran the server before
			h.starts = 0
			test.do(t, a)
			must(t, a.start(t.Context(), ha.Arrival{}))
			if key := a.ask(t, "SHOW ssl_key_file"); h.starts != test.starts || (key == copied) != test.copies || a.progress.TLSCopies != test.copies {
				t.Errorf("%d starts, the key is %s: %+v", h.starts, key, a.progress)
			}
			if advice := TLSAdvice(a.Instance, test.copies); strings.Contains(advice, "from an earlier start") != test.copies {
				t.Errorf("the status says %q", advice)
			}
			must(t, a.abandon(t.Context()))

			a.tlsCopies = false // as in the next activation
			a.certify(t)
			must(t, os.WriteFile(filepath.Join(a.Instance.PGData, "postgresql.auto.conf"), nil, 0o600))
			a.write(t, "postgresql.conf", "ssl_ca_file = ''\n")
			must(t, a.start(t.Context(), ha.Arrival{}))
			if key := a.ask(t, "SHOW ssl_key_file"); key != "server.key" || !a.tls.kept(a.Instance) {
				t.Errorf("the key is %s after the files were mended", key)
			}
		})
	}
}

// Where a new ssl = on has no certificate, PostgreSQL starts with the configuration with which it has run before.
func TestAStartWithNewTLSWithoutFilesUsesTheConfigurationOfBefore(t *testing.T) {
	a, h := startable(t)
	a.accepted(t, h)
	a.write(t, "postgresql.conf", "ssl = on\n")
	must(t, a.start(t.Context(), ha.Arrival{}))
	if out := a.ask(t, "SHOW ssl"); out != "off" || h.starts != 2 {
		t.Errorf("ssl is %s after %d starts", out, h.starts)
	}
}

// What an image has nobody sees from here.
func TestTLSFilesOutsideOfWhatAContainerSeesAreLeftToPostgreSQL(t *testing.T) {
	a, _ := startable(t)
	a.certify(t)
	a.write(t, "postgresql.conf", "ssl = on\nssl_ca_file = '/etc/of/the/image.crt'\n")
	if found := ReadTLS(a.Instance); found.Problem == nil {
		t.Error("the host does not have it")
	}
	a.Instance.ContainerMode = true
	if found := ReadTLS(a.Instance); found.Problem != nil || found.contents != nil {
		t.Errorf("problem %v", found.Problem)
	}
}

func TestTLSFilesOfThePrimaryThatAreNotHereAreNamedBeforeACopy(t *testing.T) {
	a, _ := startable(t)
	var log bytes.Buffer
	a.Log = slog.New(slog.NewTextHandler(&log, nil))
	a.warnOfTLS("h2", []string{"", "server.key", a.Instance.PGData + "/server.key", config.ConfDir(a.Instance.Name) + "/tls/ssl_key_file", "/etc/passwd"})
	if log.Len() > 0 {
		t.Errorf("nothing is missing: %s", &log)
	}
	a.warnOfTLS("h2", []string{"/nowhere/server.key"})
	if !strings.Contains(log.String(), "PostgreSQL on h2 uses /nowhere/server.key for TLS") {
		t.Errorf("the log has %s", &log)
	}
}

// PEM of a kind that Go does not know is no reason to refuse anything.
func TestAKeyThatGoDoesNotKnowIsLeftToPostgreSQL(t *testing.T) {
	cert, _, err := certificate.New("h1")
	must(t, err)
	sealed := pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte("sealed")})
	found := TLS{files: []pg.TLSFile{{Setting: pg.SSLCert}, {Setting: pg.SSLKey}}, contents: map[string][]byte{pg.SSLCert: cert, pg.SSLKey: sealed}}
	must(t, found.pairProblem())
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
