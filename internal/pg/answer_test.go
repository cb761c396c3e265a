package pg

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
)

// locked are the catalogs that every database shares and that new sessions and many views read.
const locked = "pg_authid, pg_database, pg_db_role_setting, pg_tablespace, pg_auth_members"

// TestLookWaitsForNoLockOnACatalog looks on a session that has looked before.
func TestLookWaitsForNoLockOnACatalog(t *testing.T) {
	t.Parallel()
	a := newServer(t, "a", template)
	ca := a.start()
	_, cb := standbyOf(a, ca, "b")
	streaming(t, ca, cb)
	other := a.connect()
	for _, hold := range []string{
		"LOCK TABLE " + locked + " IN ACCESS EXCLUSIVE MODE",
		"REINDEX TABLE pg_authid",
		"REINDEX TABLE pg_database",
		"LOCK TABLE pg_proc, pg_class, pg_type, pg_operator, pg_namespace IN ACCESS EXCLUSIVE MODE",
	} {
		ca.lookNow(t)
		other.must(t, "BEGIN")
		other.must(t, hold)
		for range 3 {
			begin := time.Now()
			look, err := ca.Look(t.Context())
			if took := time.Since(begin); err != nil || took > time.Second || len(look.Walsenders) != 1 || len(look.Slots) != 1 {
				t.Errorf("%s: after %s %+v, %v", hold, took, look, err)
			}
		}
		must(t, ca.EnsureSlot(t.Context(), "one"))
		must(t, ca.AdvanceSlot(t.Context(), "one", 1))
		must(t, ca.DropSlot(t.Context(), "one"))
		must(t, ca.Reload(t.Context()))
		must(t, ca.Promote(t.Context()))
		other.must(t, "ROLLBACK")
	}
}

// TestARoleIsKnownWithoutADatabase takes the databases away one after the other.
func TestARoleIsKnownWithoutADatabase(t *testing.T) {
	t.Parallel()
	a := newServer(t, "a", template)
	ca := a.start()
	b, cb := standbyOf(a, ca, "b")
	streaming(t, ca, cb)
	must(t, ca.Checkpoint(t.Context()))
	local := a.local()
	local.Database = "template1"
	admin, err := Connect(t.Context(), local)
	must(t, err)
	defer admin.Close(context.Background())
	remote := a.remote()
	remote.Database = "postgres"

	// CONNECT revoked.
	admin.must(t, "REVOKE CONNECT ON DATABASE postgres FROM PUBLIC")
	if u, err := AskPrimary(t.Context(), remote); err != nil || !u.Checkpointed || len(u.Slots) != 1 || u.Position == 0 || u.Refused != "" {
		t.Errorf("CONNECT revoked: %+v, %v", u, err)
	}
	// Dropped, and replaced by one of no connections.
	admin.must(t, "DROP DATABASE postgres WITH (FORCE)")
	for _, database := range []string{"dropped", "closed"} {
		if database == "closed" {
			admin.must(t, "CREATE DATABASE postgres ALLOW_CONNECTIONS false")
		}
		_, err := Connect(t.Context(), a.local())
		if code, ok := Answered(err); !ok || code != map[string]string{"dropped": "3D000", "closed": "55000"}[database] {
			t.Errorf("%s: %q %t, %v", database, code, ok, err)
		}
		c, err := ConnectServer(t.Context(), a.local())
		must(t, err)
		c.lookNow(t)
		must(t, c.Close(t.Context()))
		if u, err := AskPrimary(t.Context(), remote); err != nil || !u.Checkpointed || len(u.Slots) != 1 {
			t.Errorf("%s: %+v, %v", database, u, err)
		}
	}
	system := admin.lookNow(t).System
	eventually(t, "the standby's replay", func() error {
		i, err := AskRole(t.Context(), b.local())
		if err == nil && (!i.Standby || i.System != system || i.Timeline != 1 || i.Position < admin.lookNow(t).Written) {
			err = fmt.Errorf("%+v", i)
		}
		return err
	})
	standby := b.remote()
	standby.Database = "postgres"
	if at, err := AskPosition(t.Context(), standby, system); err != nil || at == 0 {
		t.Errorf("%s, %v", at, err)
	}
	if _, err := AskPrimary(t.Context(), standby); err == nil || !strings.Contains(err.Error(), "standby") {
		t.Error(err)
	}

	// No database at all for the replication role, and none to be looked up.
	admin.must(t, "REVOKE CONNECT ON DATABASE template1 FROM PUBLIC")
	if u, err := AskPrimary(t.Context(), remote); err != nil || u.System != system || u.Position == 0 || u.Checkpointed || u.Slots != nil || u.Oldest != 0 || u.Refused == "" {
		t.Errorf("without a database: %+v, %v", u, err)
	}
	admin.must(t, "BEGIN")
	admin.must(t, "LOCK TABLE pg_database IN ACCESS EXCLUSIVE MODE")
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	if u, err := AskPrimary(ctx, remote); err != nil || u.System != system {
		t.Errorf("pg_database locked: %+v, %v", u, err)
	}
	if i, err := AskRole(t.Context(), local); err != nil || i.Standby || i.System != system {
		t.Errorf("pg_database locked: %+v, %v", i, err)
	}
	admin.must(t, "ROLLBACK")
}

// TestAFailingLookIsOneLine is about our error and about the server's log.
func TestAFailingLookIsOneLine(t *testing.T) {
	t.Parallel()
	s := newServer(t, "failing", template)
	c := s.start()
	c.must(t, "ALTER FUNCTION pg_get_replication_slots() RENAME TO hidden")
	t.Cleanup(func() {
		c.session.Exec(context.Background(), "ALTER FUNCTION hidden() RENAME TO pg_get_replication_slots")
	})
	before := len(s.log())
	_, err := s.connect().Look(t.Context())
	if code, ok := Answered(err); !ok || code != "42883" || strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), "SELECT") || len(err.Error()) > 300 {
		t.Errorf("%s, %v", code, err)
	}
	var lines []string
	for line := range strings.Lines(s.log()[before:]) {
		if !strings.Contains(line, "HINT:") && !strings.Contains(line, "LOG:") {
			lines = append(lines, line)
		}
	}
	if len(lines) > 1 || strings.Contains(s.log()[before:], "row_to_json") {
		t.Errorf("the log got %q", lines)
	}
}

func TestOnlyTheServerAnswers(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // takes connections and says nothing
	must(t, err)
	port := l.Addr().(*net.TCPAddr).Port
	target := Target{Host: "127.0.0.1", Port: port, User: "x", Database: "postgres"}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err = Connect(ctx, target)
	if _, ok := Answered(err); err == nil || ok || strings.Contains(err.Error(), "\n") {
		t.Errorf("silence: %t, %q", ok, err)
	}
	must(t, l.Close())
	_, err = Connect(t.Context(), target)
	if _, ok := Answered(err); err == nil || ok || strings.Contains(err.Error(), "\n") {
		t.Errorf("nobody: %t, %q", ok, err)
	}
	if _, ok := Answered(nil); ok {
		t.Error("no error is no answer")
	}
}
