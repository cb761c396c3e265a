package pg

import (
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
)

func TestTheAdministratorsListenAddressesCount(t *testing.T) {
	for want, lines := range map[string]string{"*": "", "127.0.0.1": "listen_addresses = '127.0.0.1'\n"} {
		s := newServer(t, "a", template)
		s.settings.ListenAddresses = ""
		s.add("postgresql.conf", lines)
		c := s.start()
		if got := c.value(t, "SELECT current_setting('listen_addresses')"); got != want {
			t.Errorf("with %q PostgreSQL listens on %q", lines, got)
		}
		s.stop()
	}
}

func TestAPeerThatIsRefusedIsNamedWithItsAddress(t *testing.T) {
	s := newServer(t, "a", template)
	c := s.start()
	must(t, c.EnsureReplicationRole(t.Context(), replicator, secret))
	if _, err := AskPrimary(t.Context(), s.askable()); err != nil {
		t.Fatal(err)
	}
	s.settings.ReplicationHosts = []string{"192.0.2.1", "2001:db8::1"}
	s.add("pg_hba.conf", "") // initdb's rules know no role but everybody's on 127.0.0.1
	s.replaceHBA("local all all peer\n")
	s.configure()
	must(t, c.Reload(t.Context()))
	eventually(t, "the refusal", func() error {
		_, err := AskPrimary(t.Context(), s.askable())
		if address, refused := RefusedAddress(err); !refused || address != "127.0.0.1" {
			return errors.Join(errors.New("address "+address), err)
		}
		return nil
	})
	s.settings.ReplicationHosts = append(s.settings.ReplicationHosts, "127.0.0.1")
	s.configure()
	must(t, c.Reload(t.Context()))
	eventually(t, "a peer that is let in", func() error {
		_, err := AskPrimary(t.Context(), s.askable())
		return err
	})
	s.settings.ReplicationTLS = true // the server has none, so nobody gets in
	s.configure()
	must(t, c.Reload(t.Context()))
	eventually(t, "a refusal without TLS", func() error {
		if _, err := AskPrimary(t.Context(), s.askable()); err == nil {
			return errors.New("let in")
		}
		return nil
	})
}

func (s *server) askable() Target {
	target := s.remote()
	target.Database = "postgres"
	return target
}

// replaceHBA gives the administrator's pg_hba.conf another text.
func (s *server) replaceHBA(text string) {
	s.t.Helper()
	uid, gid := postgresUser()
	must(s.t, replaceFile(s.data+"/pg_hba.conf", []byte(text), 0o600, uint32(uid), uint32(gid)))
}

func TestTheRefusedAddressIsFoundInAnyLanguage(t *testing.T) {
	for message, want := range map[string]string{
		`no pg_hba.conf entry for replication connection from host "10.1.2.3", user "replicator", no encryption`:        "10.1.2.3",
		`kein pg_hba.conf-Eintrag für Host »fd00::5«, Benutzer »replicator«, Datenbank »postgres«, SSL-Verschlüsselung`: "fd00::5",
		`no pg_hba.conf entry for host "::1", user "r", database "postgres", no encryption`:                             "::1",
		`pg_hba.conf rejects replication connection for host "10.1.2.4", user "replicator", SSL encryption`:             "10.1.2.4",
		`Peer authentication failed for user "postgres"`:                                                                "",
	} {
		got, refused := RefusedAddress(errors.Join(errors.New("other"), &pgconn.PgError{Code: "28000", Message: message}))
		if got != want || refused != (want != "") {
			t.Errorf("%s: %q, %t", message, got, refused)
		}
	}
	if _, refused := RefusedAddress(&pgconn.PgError{Code: "28P01", Message: strings.Repeat("pg_hba.conf 1.2.3.4 ", 2)}); refused {
		t.Error("a wrong password is no matter of addresses")
	}
}
