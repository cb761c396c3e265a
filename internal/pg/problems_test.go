package pg

import (
	"fmt"
	"strings"
	"testing"
)

func (c *Conn) verifierOf(t *testing.T, role string) string {
	t.Helper()
	return c.value(t, "SELECT coalesce(rolpassword, '') FROM pg_authid WHERE rolname = $1", role)
}

func TestThePasswordOfARoleIsNeverChanged(t *testing.T) {
	t.Parallel()
	c := newServer(t, "rotated", template).start()
	file := Credential{User: replicator, Password: secret, Managed: true}
	c.must(t, "CREATE ROLE replicator NOLOGIN PASSWORD 'of the administrator'")
	before := c.verifierOf(t, replicator)
	must(t, c.EnsureReplicationRole(t.Context(), replicator, secret))
	if after := c.verifierOf(t, replicator); after != before {
		t.Error("the password was changed")
	}
	problems, err := c.RoleProblems(t.Context(), file, "/etc/pass", 1)
	must(t, err)
	if len(problems) != 1 || !strings.Contains(problems[0], "the password of replicator in /etc/pass is not the role's") ||
		strings.Contains(problems[0], string(secret)) {
		t.Errorf("problems %q", problems)
	}

	c.must(t, "ALTER ROLE replicator PASSWORD NULL")
	must(t, c.EnsureReplicationRole(t.Context(), replicator, secret))
	if problems, err := c.RoleProblems(t.Context(), file, "/etc/pass", 1); err != nil || len(problems) > 0 {
		t.Errorf("a role without a password does not get it: %q, %v", problems, err)
	}
}

// Each of these hardenings took the role something that a standby or a pg_rewind needs.
func TestMissingRightsOfTheRoleAreRepaired(t *testing.T) {
	t.Parallel()
	s := newServer(t, "hardened", template)
	c := s.start()
	must(t, c.EnsureReplicationRole(t.Context(), replicator, secret))
	for _, hardening := range []string{
		"ALTER ROLE replicator NOLOGIN",
		"ALTER ROLE replicator NOREPLICATION",
		"REVOKE EXECUTE ON FUNCTION pg_read_binary_file(text, bigint, bigint, boolean) FROM replicator",
		"REVOKE CONNECT ON DATABASE postgres FROM PUBLIC, replicator",
		"REVOKE USAGE ON SCHEMA pg_catalog FROM PUBLIC",
		"REVOKE EXECUTE ON FUNCTION pg_control_checkpoint(), pg_get_replication_slots(), pg_size_bytes(text) FROM PUBLIC",
		"REVOKE SELECT ON pg_replication_slots, pg_tablespace FROM PUBLIC",
	} {
		t.Run(hardening, func(t *testing.T) {
			c.must(t, hardening)
			must(t, c.EnsureReplicationRole(t.Context(), replicator, secret))
			problems, err := c.RoleProblems(t.Context(), Credential{User: replicator, Password: secret, Managed: true}, "/etc/pass", 1)
			if err != nil || len(problems) > 0 {
				t.Errorf("problems %q, %v", problems, err)
			}
			target := s.remote()
			target.Database = "postgres"
			upstream, err := AskPrimary(t.Context(), target)
			if err != nil || upstream.Oldest == 0 {
				t.Errorf("the primary answers %+v, %v", upstream, err)
			}
			if extent, err := AskExtent(t.Context(), target); err != nil || extent.Main == 0 {
				t.Errorf("the database is %+v, %v", extent, err)
			}
			if files, err := AskFiles(t.Context(), target, s.major()); err != nil || !files.Known {
				t.Errorf("the files are known: %t, %v", files.Known, err)
			}
		})
	}
}

func TestDDLThatIsRefusedLeavesTheRole(t *testing.T) {
	t.Parallel()
	const frozen = `CREATE FUNCTION public.frozen() RETURNS event_trigger LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'DDL is frozen'; END$$;
		CREATE EVENT TRIGGER frozen ON ddl_command_start EXECUTE FUNCTION public.frozen();
		ALTER DATABASE postgres SET default_transaction_read_only = on`
	s := newServer(t, "frozen", template)
	c := s.start()
	_, err := c.session.PgConn().Exec(t.Context(), frozen).ReadAll()
	must(t, err)
	c = s.connect()
	must(t, c.EnsureReplicationRole(t.Context(), replicator, secret))

	c.must(t, "SET default_transaction_read_only = off")
	c.must(t, "SET session_replication_role = replica")
	c.must(t, "ALTER EVENT TRIGGER frozen ENABLE ALWAYS")
	c.must(t, "RESET session_replication_role")
	if s.major() >= 17 {
		return // event_triggers=off holds for these, too
	}
	if err := c.EnsureReplicationRole(t.Context(), "second", secret); err == nil || !strings.Contains(err.Error(), "DDL is frozen") {
		t.Errorf("error %v", err)
	}
	problems, err := c.RoleProblems(t.Context(), Credential{User: "second", Password: secret, Managed: true}, "/etc/pass", 1)
	must(t, err)
	if len(problems) != 1 || !strings.Contains(problems[0], `GRANT EXECUTE ON FUNCTION pg_catalog.pg_stat_file(text, boolean) TO "second"`) {
		t.Errorf("problems %q", problems)
	}
	target := s.remote()
	uid, gid := postgresUser()
	target.User = "second"
	must(t, WritePassFile(s.passfile, Credential{User: "second", Password: secret}, uint32(uid), uint32(gid)))
	s.settings.ReplicationUser = "second"
	s.configure()
	must(t, c.Reload(t.Context()))
	eventually(t, "a replication connection", func() error {
		_, _, _, err := IdentifySystem(t.Context(), target)
		return err
	})
}

func TestWithoutTheDatabasePostgresThereIsARole(t *testing.T) {
	t.Parallel()
	for _, take := range []string{"DROP DATABASE postgres WITH (FORCE)", "ALTER DATABASE postgres ALLOW_CONNECTIONS false"} {
		t.Run(take, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, "taken", template)
			s.start()
			elsewhere := s.local()
			elsewhere.Database = "template1"
			c, err := Connect(t.Context(), elsewhere)
			must(t, err)
			c.must(t, take)
			must(t, c.Close(t.Context()))

			c, err = ConnectServer(t.Context(), s.local())
			must(t, err)
			defer c.Close(t.Context())
			must(t, c.EnsureReplicationRole(t.Context(), replicator, secret))
			if _, _, _, err := IdentifySystem(t.Context(), s.remote()); err != nil {
				t.Error(err)
			}
			problems, err := c.RoleProblems(t.Context(), Credential{User: replicator, Password: secret, Managed: true}, "/etc/pass", 1)
			if err != nil || len(problems) != 1 || !strings.Contains(problems[0], "database postgres is missing or takes no connections") {
				t.Errorf("problems %q, %v", problems, err)
			}
		})
	}
}

func TestProblemsOfARoleAreNamed(t *testing.T) {
	t.Parallel()
	s := newServer(t, "named", template)
	c := s.start()
	must(t, c.EnsureReplicationRole(t.Context(), replicator, secret))
	for number, test := range []struct {
		change string
		says   []string // one problem each
	}{
		{"", nil},
		{"VALID UNTIL 'infinity'", nil},
		{"VALID UNTIL '2090-01-01'", nil},
		{"CONNECTION LIMIT 6", nil},
		{"VALID UNTIL '2020-02-03 00:00 UTC'", []string{"expired at 2020-02-03 00:00 UTC"}},
		{"VALID UNTIL '-infinity'", []string{"expired"}},
		{"CONNECTION LIMIT 5", []string{"CONNECTION LIMIT 5, and standbys may need 6"}},
		{"NOLOGIN NOREPLICATION", []string{"may not log in", "lacks REPLICATION"}},
		{"PASSWORD NULL", []string{"has no password"}},
		{"PASSWORD 'md5e10adc3949ba59abbe56e057f20f883e'", []string{"stored as md5"}},
		{"PASSWORD 'other'", []string{"is not the role's"}},
		{"SET wal_sender_timeout = '1ms'", []string{"wal_sender_timeout"}},
		{"SET role = 'postgres'", []string{"settings that replication may fail by: role"}},
		{"SET log_statement = 'none'", nil},
	} {
		t.Run(test.change, func(t *testing.T) {
			name := fmt.Sprint("role", number)
			must(t, c.EnsureReplicationRole(t.Context(), name, secret))
			c.must(t, "ALTER ROLE "+name+" "+test.change)
			problems, err := c.RoleProblems(t.Context(), Credential{User: name, Password: secret, Managed: true}, "/etc/pass", 2)
			must(t, err)
			if len(problems) != len(test.says) {
				t.Fatalf("problems %q, want %q", problems, test.says)
			}
			for i, says := range test.says {
				if !strings.Contains(problems[i], says) || !strings.Contains(problems[i], "ALTER ROLE") && !strings.Contains(problems[i], "password_encryption") {
					t.Errorf("%q does not say %q and what to do", problems[i], says)
				}
			}
		})
	}
	c.must(t, "ALTER DATABASE postgres CONNECTION LIMIT 5")
	limited, err := c.RoleProblems(t.Context(), Credential{User: replicator, Password: secret, Managed: true}, "/etc/pass", 2)
	if err != nil || len(limited) != 1 || !strings.Contains(limited[0], "CONNECTION LIMIT 5") || !strings.Contains(limited[0], "ALTER DATABASE") {
		t.Errorf("problems %q, %v", limited, err)
	}
	c.must(t, "ALTER DATABASE postgres CONNECTION LIMIT -1")
	c.must(t, `CREATE ROLE soon LOGIN REPLICATION SUPERUSER PASSWORD 'x'`)
	c.must(t, `DO $$BEGIN EXECUTE format('ALTER ROLE soon VALID UNTIL %L', now() + interval '6 days'); END$$`)
	problems, err := c.RoleProblems(t.Context(), Credential{User: "soon", Password: "x"}, "/etc/pass", 1)
	if err != nil || len(problems) != 1 || !strings.Contains(problems[0], "expires at") {
		t.Errorf("problems %q, %v", problems, err)
	}
}

func TestARoleThatIsNotOursIsNamedAndNotPrepared(t *testing.T) {
	t.Parallel()
	c := newServer(t, "theirs", template).start()
	theirs := Credential{User: "app", Password: secret}
	problems, err := c.RoleProblems(t.Context(), theirs, "/etc/pass", 1)
	must(t, err)
	if len(problems) != 1 || !strings.Contains(problems[0], `does not exist`) || !strings.Contains(problems[0], `add a line whose database is "replication" to /etc/pass`) {
		t.Errorf("problems %q", problems)
	}
	c.must(t, "CREATE ROLE app LOGIN PASSWORD "+quoteLiteral(string(secret)))
	problems, err = c.RoleProblems(t.Context(), theirs, "/etc/pass", 1)
	must(t, err)
	if len(problems) != 2 || !strings.Contains(problems[0], "lacks REPLICATION") || !strings.Contains(problems[1], "GRANT EXECUTE ON FUNCTION pg_catalog.pg_ls_dir") {
		t.Errorf("problems %q", problems)
	}
}
