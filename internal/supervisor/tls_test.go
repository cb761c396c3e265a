package supervisor

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgtwin/internal/config"
	"pgtwin/internal/instance"
	"pgtwin/internal/pg"
	"pgtwin/test/certificate"
)

// certify gives the server TLS files, without telling it.
func (s *Supervisor) certify(t *testing.T) {
	t.Helper()
	cert, key, err := certificate.New("h1")
	must(t, err)
	uid, gid := account(t)
	for name, text := range map[string][]byte{"server.crt": cert, "server.key": key} {
		path := filepath.Join(s.Instance.PGData, name)
		must(t, os.WriteFile(path, text, 0o600))
		must(t, os.Chown(path, int(uid), int(gid)))
	}
}

// awaitServed waits until PostgreSQL answers with the certificate of its file, as after a reload.
func (s *Supervisor) awaitServed(t *testing.T) {
	t.Helper()
	for end := time.Now().Add(40 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		served, err := pg.ServedCertificate(t.Context(), "127.0.0.1", s.Instance.Port)
		if err == nil && instance.ReadTLS(s.Instance).Serves(served) {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("PostgreSQL does not use its certificate: %v", err)
		}
	}
}

func (s *Supervisor) advises(words string) bool {
	return strings.Contains(strings.Join(s.advice, "\n"), words)
}

func TestTLSFilesInUseAreKeptAndBrokenOnesNamed(t *testing.T) {
	s, m := startStandby(t)
	promoted(t, s, m)
	s.certify(t)
	s.edit(t, "postgresql.conf", with("ssl = on"))
	must(t, s.conn.Reload(t.Context()))
	s.awaitServed(t)
	s.keepHouseNow(t)
	if now := instance.ReadTLS(s.Instance); !now.Kept(s.Instance) || s.advises("certificate") {
		t.Fatalf("no copies are kept, %q", s.advice)
	}
	copied := pg.TLSCopy(config.ConfDir(s.Instance.Name), pg.TLSFile{Setting: pg.SSLKey})
	if info, err := os.Stat(copied); err != nil || info.Mode() != 0o600 {
		t.Errorf("the copy of the key: %v, %v", info, err)
	}

	s.certify(t) // a renewal that nobody tells PostgreSQL of
	s.keepHouseNow(t)
	if !s.advises("PostgreSQL uses another certificate than its file has") || instance.ReadTLS(s.Instance).Kept(s.Instance) {
		t.Errorf("advice %q", s.advice)
	}
	must(t, s.conn.Reload(t.Context()))
	s.awaitServed(t)
	s.keepHouseNow(t)
	if s.advises("certificate") || !instance.ReadTLS(s.Instance).Kept(s.Instance) {
		t.Errorf("after the reload: %q", s.advice)
	}

	key := filepath.Join(s.Instance.PGData, "server.key")
	must(t, os.Chmod(key, 0o644)) // a renewal that leaves the key for all to read
	s.keepHouseNow(t)
	if !s.advises("its next start will use their last good copies") || !s.advises("chmod 0600 "+key) {
		t.Errorf("advice %q", s.advice)
	}
	must(t, os.Remove(copied))
	s.keepHouseNow(t)
	if !s.advises("would not start with those that are there now") {
		t.Errorf("advice %q", s.advice)
	}
}

// A start has failed with the files, or they could not be read, and the copies stand in.
func TestTLSFilesAreUsedAgainOnceTheyAreRight(t *testing.T) {
	s, m := startStandby(t)
	promoted(t, s, m)
	s.certify(t)
	s.edit(t, "postgresql.conf", with("ssl = on"))
	must(t, s.conn.Reload(t.Context()))
	s.awaitServed(t)
	s.keepHouseNow(t)
	key := filepath.Join(s.Instance.PGData, "server.key")
	must(t, os.Chmod(key, 0o644))
	must(t, s.changeStandIns(pg.TLS, &instance.StandIn{Why: "its mode is 0644"}))
	must(t, s.configure(t.Context(), s.follows, s.required(), s.spared()))
	s.keepHouseNow(t)
	if managed := config.ManagedConf(s.Instance.Name); !has(t, managed, "accepted.ssl_key_file") || !s.advises("the TLS files are not in use") {
		t.Errorf("the copies do not stand in: %q", s.advice)
	}
	must(t, os.Chmod(key, 0o600))
	s.keepHouseNow(t)
	if managed := config.ManagedConf(s.Instance.Name); has(t, managed, "accepted.ssl_key_file") || len(s.standingIn(t)) > 0 {
		t.Error("the copies still stand in")
	}
}
