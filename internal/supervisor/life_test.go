package supervisor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/sys/unix"

	"pgtwin/internal/cluster"
	"pgtwin/internal/ha"
	"pgtwin/internal/pg"
	"pgtwin/internal/postmaster"
)

// startPrimary is a promoted server with a session kept.
func startPrimary(t *testing.T) (*Supervisor, *memory) {
	t.Helper()
	s, m := startStandby(t)
	m.onWrite = func(cluster.Record) {}
	ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
	defer cancel()
	must(t, s.promote(ctx))
	return s, m
}

// client is a session of somebody else's, as the superuser.
func (s *Supervisor) client(t *testing.T, database string) *pgconn.PgConn {
	t.Helper()
	conn, err := pgconn.Connect(t.Context(), fmt.Sprintf("host=%s port=%d user=postgres dbname=%s", s.Instance.SocketDir, s.Instance.Port, database))
	must(t, err)
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

func run(t *testing.T, conn *pgconn.PgConn, statements ...string) {
	t.Helper()
	for _, statement := range statements {
		if _, err := conn.Exec(t.Context(), statement).ReadAll(); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}

// takeAll takes every connection that there is.
func (s *Supervisor) takeAll(t *testing.T) {
	t.Helper()
	for {
		conn, err := pgconn.Connect(t.Context(), fmt.Sprintf("host=%s port=%d user=postgres dbname=postgres", s.Instance.SocketDir, s.Instance.Port))
		if err != nil {
			return
		}
		t.Cleanup(func() { conn.Close(context.Background()) })
	}
}

const closeDatabase = "ALTER DATABASE %s ALLOW_CONNECTIONS false"

// refusals are what an administrator does to a database, a role or a catalog so that a question fails.
var refusals = []struct {
	name    string
	do      func(t *testing.T, s *Supervisor)
	restart bool // the supervisor begins anew, without a session
	blind   bool
	kept    bool // the session from before is the one that is asked on
}{
	{"the connection table is full", func(t *testing.T, s *Supervisor) { s.takeAll(t) }, false, false, true},
	{"it is, and the supervisor begins anew", func(t *testing.T, s *Supervisor) { s.takeAll(t) }, true, true, false},
	{"a library cannot be loaded", func(t *testing.T, s *Supervisor) {
		run(t, s.client(t, "postgres"), "ALTER ROLE postgres SET local_preload_libraries = 'none_such'", "ALTER ROLE postgres SET session_preload_libraries = 'none_such'")
	}, true, false, false},
	{"database postgres is dropped", func(t *testing.T, s *Supervisor) {
		s.disconnect()
		run(t, s.client(t, "template1"), "DROP DATABASE postgres WITH (FORCE)")
	}, false, false, false},
	{"database postgres is closed", func(t *testing.T, s *Supervisor) {
		run(t, s.client(t, "template1"), fmt.Sprintf(closeDatabase, "postgres"))
	}, true, false, false},
	{"all databases are closed", func(t *testing.T, s *Supervisor) {
		run(t, s.client(t, "template1"), fmt.Sprintf(closeDatabase, "postgres"), "UPDATE pg_database SET datallowconn = false")
	}, true, true, false},
	{"the role may not log in", func(t *testing.T, s *Supervisor) {
		run(t, s.client(t, "postgres"), "ALTER ROLE postgres NOLOGIN")
	}, true, true, false},
	{"pg_authid is locked", func(t *testing.T, s *Supervisor) {
		run(t, s.client(t, "postgres"), "BEGIN", "LOCK TABLE pg_authid IN ACCESS EXCLUSIVE MODE")
	}, false, false, true},
	{"pg_database is locked", func(t *testing.T, s *Supervisor) {
		run(t, s.client(t, "postgres"), "BEGIN", "LOCK TABLE pg_database IN ACCESS EXCLUSIVE MODE")
	}, false, false, true},
	{"our session is ended", func(t *testing.T, s *Supervisor) {
		run(t, s.client(t, "postgres"), "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'pgtwin'")
	}, false, false, false},
	// The new schema has sessions plan anew what they have asked before.
	{"a function of the catalog is renamed", func(t *testing.T, s *Supervisor) {
		run(t, s.client(t, "postgres"), "ALTER FUNCTION pg_stat_get_wal_senders() RENAME TO renamed", "CREATE SCHEMA another")
	}, false, true, true},
	{"it is renamed, and the supervisor begins anew", func(t *testing.T, s *Supervisor) {
		run(t, s.client(t, "postgres"), "ALTER FUNCTION pg_stat_get_wal_senders() RENAME TO renamed", "CREATE SCHEMA another")
	}, true, true, false},
}

func TestAServerThatAnswersWithAnErrorLives(t *testing.T) {
	for _, test := range refusals {
		t.Run(test.name, func(t *testing.T) {
			s, m := startPrimary(t)
			if test.restart {
				s.beginAnew()
			}
			before := s.conn
			test.do(t, s)
			for range 4 {
				s.awaitRole(t)
				if f := s.facts(); f.Role != ha.Primary || f.HungFor > 0 || f.Blind != test.blind || f.History.Timeline != m.view.Epoch.Timeline {
					t.Fatalf("role %s, hung for %s, blind %v, timeline %d: %v", f.Role, f.HungFor, f.Blind, f.History.Timeline, s.seen.err)
				}
			}
			if test.kept && (s.conn == nil || s.conn != before) {
				t.Errorf("the session that answered was given up: %v", s.seen.err)
			}
			if test.blind {
				s.view.Nodes[1].InSync = m.view.Epoch.Number
				for _, a := range ha.Decide(s.facts()) {
					if a.Verb != ha.SetScore {
						t.Errorf("a blind primary decides to %s: %s", a.Verb, a.Why)
					}
				}
			}
		})
	}
}

// awaitRole waits until the supervisor knows the role. On a busy machine a question may time out, and the role
// is unknown then; the server must not count as hung or dead because of that.
func (s *Supervisor) awaitRole(t *testing.T) {
	t.Helper()
	for end := time.Now().Add(40 * time.Second); ; {
		s.observe(t.Context())
		switch f := s.facts(); {
		case f.Role != ha.Unknown:
			return
		case f.HungFor > 0 || f.Died || time.Now().After(end):
			t.Fatalf("role %s, hung for %s, died %v: %v", f.Role, f.HungFor, f.Died, s.seen.err)
		}
	}
}

// beginAnew forgets what a supervisor that is started anew does not know.
func (s *Supervisor) beginAnew() {
	s.disconnect()
	s.seen, s.lookedAt, s.pulse, s.silence, s.refusal, s.history = observation{}, nil, nil, silence{}, nil, ha.History{}
}

// Nobody gets a session, and rows go in over those that are open.
func TestAServerThatWritesWALLives(t *testing.T) {
	s, m := startPrimary(t)
	writer := s.client(t, "postgres")
	run(t, writer, "CREATE TABLE public.t (i int)")
	run(t, s.client(t, "postgres"), "BEGIN", "LOCK TABLE pg_authid IN ACCESS EXCLUSIVE MODE", "LOCK TABLE pg_database IN ACCESS EXCLUSIVE MODE")
	s.beginAnew()
	seen := false
	for end := time.Now().Add(40 * time.Second); !seen && time.Now().Before(end); {
		run(t, writer, "INSERT INTO public.t VALUES (1)")
		s.observe(t.Context())
		f := s.facts()
		if f.HungFor >= ha.HangPatience {
			t.Fatalf("hung for %s while rows go in", f.HungFor)
		}
		seen = f.Role == ha.Primary && f.History.Timeline == m.view.Epoch.Timeline
	}
	if !seen {
		t.Errorf("role %s: %v", s.seen.role, s.seen.err)
	}
}

func TestAServerThatShowsNoLifeHangs(t *testing.T) {
	s, m := startPrimary(t)
	m.view.Nodes[1].InSync, m.view.Nodes[1].Score, m.view.Nodes[1].Scored = m.view.Epoch.Number, ha.EligibleScore, true
	must(t, s.refresh(t.Context()))
	all, err := postmaster.Servers(s.Instance.PGData)
	must(t, err)
	for _, p := range all {
		if err := p.Signal(unix.SIGSTOP); !errors.Is(err, unix.ESRCH) { // a worker has ended
			must(t, err)
		}
	}
	t.Cleanup(func() {
		for _, p := range all {
			p.Signal(unix.SIGCONT)
		}
	})
	began := time.Now()
	yields := func() bool {
		return slices.ContainsFunc(ha.Decide(s.facts()), func(a ha.Action) bool { return a.Verb == ha.Yield })
	}
	for !yields() {
		if s.observe(t.Context()); s.seen.role != ha.Unknown {
			t.Fatalf("%s of a server that is stopped", s.seen.role)
		}
		if time.Since(began) > 2*ha.HangPatience {
			t.Fatalf("hung for %s after %s", s.facts().HungFor, time.Since(began))
		}
	}
	if lasted := time.Since(began); lasted < ha.HangPatience-time.Second {
		t.Errorf("it yields after %s", lasted)
	}
}

func TestAPauseOfTheMachineIsNoHang(t *testing.T) {
	at := time.Unix(1000, 0)
	var q silence
	q.note(at, at.Add(10*time.Minute)) // a look was in flight when the machine was paused
	if q.hungFor() != 0 {
		t.Errorf("one look: hung for %s", q.hungFor())
	}
	q.note(at.Add(10*time.Minute), at.Add(10*time.Minute+10*time.Millisecond))
	q.note(at.Add(10*time.Minute), at.Add(10*time.Minute+20*time.Millisecond))
	if q.hungFor() >= ha.HangPatience {
		t.Errorf("two short looks more: hung for %s", q.hungFor())
	}
	for range 20 {
		q.note(q.ended, q.ended.Add(time.Second))
	}
	if q.hungFor() < ha.HangPatience {
		t.Errorf("twenty looks more: hung for %s", q.hungFor())
	}
}

// Nothing of SQL is needed for a promotion.
func TestAPromotionNeedsNoSession(t *testing.T) {
	tests := []struct {
		name    string
		options []string
		mode    ha.Mode
		do      func(t *testing.T, s *Supervisor)
	}{
		{"hot_standby is off", []string{"-c", "hot_standby=off"}, ha.Sync, func(*testing.T, *Supervisor) {}},
		{"the connection table is full", nil, ha.Sync, func(t *testing.T, s *Supervisor) { s.beginAnew(); s.takeAll(t) }},
		{"it is, and no commit may go on alone", nil, ha.Strict, func(t *testing.T, s *Supervisor) { s.beginAnew(); s.takeAll(t) }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s, m := startStandby(t, test.options...)
			m.onWrite, s.Instance.RepMode = func(cluster.Record) {}, string(test.mode)
			test.do(t, s)
			ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
			defer cancel()
			must(t, s.promote(ctx))
			control, err := pg.ReadControl(s.Instance.PGData)
			must(t, err)
			if s.seen.role != ha.Primary || s.seen.look.Timeline != 3 || control.State != pg.InProduction || m.view.Epoch.System != control.System {
				t.Errorf("%s on timeline %d, %s, epoch %s", s.seen.role, s.seen.look.Timeline, control.State, m.view.Epoch)
			}
		})
	}
}

// The supervisor was killed after the promotion had taken effect: its successor, asked again, has read no
// record yet.
func TestAPromotionThatTookEffectIsNotRepeated(t *testing.T) {
	s, m := startPrimary(t)
	before := m.view.Epoch
	s.view, s.viewAt = cluster.View{}, time.Time{}
	must(t, s.promote(t.Context()))
	if m.view.Epoch != before {
		t.Errorf("recorded was %s, now %s", before, m.view.Epoch)
	}
	s.view, m.view.Epoch.Node, m.view.Epoch.Number = cluster.View{}, "h2", 2
	overtaken := m.view.Epoch
	if err := s.promote(t.Context()); err == nil || m.view.Epoch != overtaken {
		t.Errorf("promoted although another host is the primary on record: %v, recorded is %s", err, m.view.Epoch)
	}
}

// A disk that does not answer keeps what files and processes tell from a supervisor that has just started.
func TestALivingServerIsNotDownBecauseFilesCannotBeRead(t *testing.T) {
	s, m := startPrimary(t)
	s.beginAnew()
	s.takeAll(t)
	s.pulses, s.feeling = make(chan pulse, 1), true // a read that has begun and does not end
	for range 3 {
		s.observe(t.Context())
		if f := s.facts(); f.Role != ha.Unknown || f.Died || f.HungFor > 0 {
			t.Fatalf("role %s, died %v, hung for %s: %v", f.Role, f.Died, f.HungFor, s.seen.err)
		}
	}
	// What it finds at last is of the time when it began, when this was a standby.
	s.pulses <- pulse{files: pg.Pulse{Control: pg.Control{State: pg.InArchiveRecovery}}, children: postmaster.Children{Recovering: true}}
	if s.observe(t.Context()); s.seen.role != ha.Primary || s.facts().History.Timeline != m.view.Epoch.Timeline {
		t.Errorf("role %s: %v", s.seen.role, s.seen.err)
	}
}

// The record says that commits wait for the standby, and nobody but pgtwin may end that.
func TestAlterSystemIsTakenBackWithoutASession(t *testing.T) {
	s, _ := startPrimary(t)
	other := s.client(t, "postgres")
	s.beginAnew()
	s.takeAll(t)
	run(t, other, "ALTER SYSTEM SET synchronous_standby_names = ''", "ALTER SYSTEM SET synchronous_commit = off", "SELECT pg_reload_conf()")
	if s.tick(t.Context()); !s.seen.blind {
		t.Fatalf("role %s, blind %v: %v", s.seen.role, s.seen.blind, s.seen.err)
	}
	names, err := pg.SystemOverrides(s.Instance.PGData, true)
	if err != nil || len(names) > 0 {
		t.Errorf("%q, %v", names, err)
	}
	for end := time.Now().Add(40 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		result := other.ExecParams(t.Context(), "SHOW synchronous_commit", nil, nil, nil, nil).Read()
		must(t, result.Err)
		value := string(result.Rows[0][0])
		if value == "on" {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("synchronous_commit is %s", value)
		}
	}
}
