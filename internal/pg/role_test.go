package pg

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestReplicationRoleLogsInWithItsPassword(t *testing.T) {
	t.Parallel()
	s := newServer(t, "role", template)
	c := s.start()
	ctx := t.Context()
	name := `Odd"name'`
	must(t, c.EnsureReplicationRole(ctx, name, "first"))
	must(t, c.EnsureReplicationRole(ctx, replicator, secret))
	version := "SELECT xmin::text || rolpassword FROM pg_authid WHERE rolname = $1"
	before := c.value(t, version, replicator)
	must(t, c.EnsureReplicationRole(ctx, replicator, secret))
	if after := c.value(t, version, replicator); after != before {
		t.Errorf("written again: %s, was %s", after, before)
	}
	if _, _, _, err := IdentifySystem(ctx, s.remote()); err != nil {
		t.Error(err)
	}

	inDatabase := s.remote()
	inDatabase.Database = "postgres"
	r, err := Connect(ctx, inDatabase)
	must(t, err)
	defer r.Close(ctx)
	for _, question := range []string{"SELECT count(*)::text FROM pg_ls_dir('.', true, false)", "SELECT size::text FROM pg_stat_file('PG_VERSION', true)",
		"SELECT length(pg_read_binary_file('PG_VERSION'))::text", "SELECT length(pg_read_binary_file('PG_VERSION', 0, 1, true))::text"} {
		if r.value(t, question) == "" {
			t.Errorf("%s: nothing", question)
		}
	}

	c.must(t, "ALTER ROLE replicator PASSWORD 'changed'")
	_, _, _, err = IdentifySystem(ctx, s.remote())
	if err == nil || strings.Contains(err.Error(), string(secret)) {
		t.Errorf("with an old password: %v", err)
	}
	if err := c.EnsureReplicationRole(ctx, replicator, ""); err == nil {
		t.Error("accepts no password")
	}
	for _, word := range []string{string(secret), "SCRAM-SHA-256$"} {
		if strings.Contains(s.log(), word) {
			t.Errorf("the server's log contains %s", word)
		}
	}
}

func TestVerifier(t *testing.T) {
	// RFC 7677 section 3: user "user", password "pencil".
	salt := []byte{0x5b, 0x6d, 0x99, 0x68, 0x9d, 0x12, 0x35, 0x8e, 0xec, 0xa0, 0x4b, 0x14, 0x12, 0x36, 0xfa, 0x81}
	want := "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
	if got := verifier("pencil", salt, 4096); got != want {
		t.Errorf("got %s", got)
	}
	for _, c := range []struct {
		stored   string
		password Password
		want     bool
	}{
		{want, "pencil", true},
		{want, "pencils", false},
		{newVerifier("x"), "x", true},
		{"md5e10adc3949ba59abbe56e057f20f883e", "x", false},
		{"", "x", false},
		{"SCRAM-SHA-256$x:y$z:w", "x", false},
	} {
		if got := verifies(c.stored, c.password); got != c.want {
			t.Errorf("%s, %s: %v", c.stored, string(c.password), got)
		}
	}
}

// A library that is missing, or a trigger at the login, ends the sessions of everybody who is no superuser, a peer's among them.
func TestTheRolesSessionsAreKeptFromWhatEndsThem(t *testing.T) {
	for _, bin := range bindirs(t) {
		t.Run(bin, func(t *testing.T) {
			t.Parallel()
			sessionsAreKept(t, bin)
		})
	}
}

func sessionsAreKept(t *testing.T, bin string) {
	s := newServer(t, "kept", "")
	s.bin = bin
	argv := append(InitDB(s.data, "postgres"), "--no-sync", "--wal-segsize=1")
	run(t, append([]string{filepath.Join(bin, argv[0])}, argv[1:]...))
	s.settings.Major = s.major()
	c := s.start()
	ctx := t.Context()
	must(t, c.EnsureReplicationRole(ctx, replicator, secret))
	const settings = "SELECT count(*)::text FROM pg_db_role_setting AS s JOIN pg_roles AS r ON r.oid = s.setrole WHERE rolname = $1"
	if n := c.value(t, settings, replicator); n != "0" {
		t.Errorf("%s settings although nothing is in the way", n)
	}
	c.must(t, "ALTER ROLE ALL SET session_preload_libraries = 'hook_that_is_gone'")
	c.must(t, "ALTER DATABASE postgres SET session_preload_libraries = 'another'")
	sessionsWork(t, s, c)
	c.must(t, "ALTER ROLE "+replicator+" SET session_preload_libraries = 'of_the_role'")
	sessionsWork(t, s, c)
	c.must(t, "ALTER ROLE "+replicator+" IN DATABASE postgres SET session_preload_libraries = 'of_the_role_here'")
	sessionsWork(t, s, c)
	if c.value(t, "SELECT (current_setting('server_version_num')::int >= 170000)::text") == "true" {
		c.must(t, "CREATE FUNCTION refuse() RETURNS event_trigger LANGUAGE plpgsql AS $$BEGIN RAISE 'nobody'; END$$")
		c.must(t, "CREATE EVENT TRIGGER refuses ON login EXECUTE FUNCTION refuse()")
		sessionsWork(t, s, c)
		c.must(t, "ALTER ROLE "+replicator+" IN DATABASE postgres SET event_triggers = on")
		sessionsWork(t, s, c)
	}
	problems, err := c.RoleProblems(ctx, Credential{User: replicator, Password: secret, Managed: true}, "/etc/pass", 1)
	if err != nil || len(problems) > 0 {
		t.Errorf("problems %q, %v", problems, err)
	}
	const version = "SELECT max(s.xmin::text) FROM pg_db_role_setting AS s JOIN pg_roles AS r ON r.oid = s.setrole WHERE rolname = $1"
	before := c.value(t, version, replicator)
	must(t, c.EnsureReplicationRole(ctx, replicator, secret))
	if after := c.value(t, version, replicator); after != before {
		t.Errorf("written again: %s, was %s", after, before)
	}
}

// sessionsWork checks that the role has no session in a database until it is prepared.
func sessionsWork(t *testing.T, s *server, c *Conn) {
	t.Helper()
	inDatabase := s.remote()
	inDatabase.Database = "postgres"
	if _, err := Connect(t.Context(), inDatabase); err == nil {
		t.Error("nothing is in the way of a session")
	}
	must(t, c.EnsureReplicationRole(t.Context(), replicator, secret))
	r, err := Connect(t.Context(), inDatabase)
	must(t, err)
	must(t, r.Close(t.Context()))
}
