package supervisor

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgtwin/internal/cluster"
	"pgtwin/internal/pg"
)

// sqlAs is a statement of the administrator's.
func sqlAs(t *testing.T, s *Supervisor, sql string) string {
	t.Helper()
	out, err := program(t, []string{"psql", "-h", s.Instance.SocketDir, "-p", strconv.Itoa(s.Instance.Port), "-U", "postgres", "-XAtc", sql, "postgres"}).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return strings.TrimSpace(string(out))
}

// awaitInForce does nothing until PostgreSQL has a value in force: what it was told before must be enough.
func awaitInForce(t *testing.T, s *Supervisor, name, want string) {
	t.Helper()
	for end := time.Now().Add(40 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		got := sqlAs(t, s, "SHOW "+name)
		if got == want {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s is %s, and nobody has PostgreSQL read its files again; want %s", name, got, want)
		}
	}
}

func awaitSetting(t *testing.T, s *Supervisor, name, want string) {
	t.Helper()
	for end := time.Now().Add(40 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		s.tick(t.Context())
		got := sqlAs(t, s, "SHOW "+name)
		if got == want {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s is %s, want %s", name, got, want)
		}
	}
}

func TestAlterSystemCannotUndoWhatCommitsPromise(t *testing.T) {
	s, m := startStandby(t)
	m.onWrite = func(cluster.Record) {}
	auto := filepath.Join(s.Instance.PGData, "postgresql.auto.conf")
	reclaimed := func(name, value string) {
		t.Helper()
		good := sqlAs(t, s, "SHOW "+name)
		sqlAs(t, s, "ALTER SYSTEM SET "+name+" = '"+value+"'")
		sqlAs(t, s, "ALTER SYSTEM SET work_mem = '3MB'")
		sqlAs(t, s, "SELECT pg_reload_conf()")
		awaitInForce(t, s, name, value)
		for end := time.Now().Add(40 * time.Second); ; time.Sleep(20 * time.Millisecond) {
			s.tick(t.Context())
			left, err := pg.SystemOverrides(s.Instance.PGData, true)
			must(t, err)
			if len(left) == 0 {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("%q stays", left)
			}
		}
		if !has(t, auto, "work_mem") {
			t.Error("what is the administrator's is gone, too")
		}
		awaitInForce(t, s, name, good)
	}
	reclaimed("recovery_min_apply_delay", "1h") // as a standby
	must(t, s.promote(t.Context()))
	reclaimed("synchronous_commit", "off")
	awaitSetting(t, s, "synchronous_commit", "on")
	reclaimed("full_page_writes", "off")

	sqlAs(t, s, "ALTER SYSTEM SET synchronous_commit = remote_apply") // the stronger stays
	sqlAs(t, s, "SELECT pg_reload_conf()")
	awaitSetting(t, s, "synchronous_commit", "remote_apply")
	sqlAs(t, s, "ALTER SYSTEM RESET synchronous_commit")
	conf, err := os.OpenFile(filepath.Join(s.Instance.PGData, "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	must(t, err)
	_, err = conf.WriteString("\nsynchronous_commit = remote_apply\nmax_connections = 20\n")
	must(t, errors.Join(err, conf.Close()))
	sqlAs(t, s, "SELECT pg_reload_conf()")
	awaitSetting(t, s, "synchronous_commit", "remote_apply")
}

func TestStatusNamesWhatIsNotInForce(t *testing.T) {
	raised := []pg.Raised{{Name: "max_connections", Wanted: "200", Where: "/d/postgresql.conf, line 3,", Value: "300", Why: "so"}}
	got := settingsAdvice(raised, []string{"hot_standby", "max_connections", "shared_buffers"})
	if len(got) != 2 || got[0] != `max_connections: /d/postgresql.conf, line 3, says "200", 300 is in force: so` || !strings.HasSuffix(got[1], ": shared_buffers") {
		t.Errorf("%q", got)
	}
	if got := settingsAdvice(nil, []string{"hot_standby"}); got != nil {
		t.Errorf("%q", got)
	}
}
