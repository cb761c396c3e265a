package supervisor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"pgtwin/internal/cluster"
	"pgtwin/internal/config"
	"pgtwin/internal/control"
	"pgtwin/internal/ha"
	"pgtwin/internal/instance"
)

// alter runs SQL as the administrator.
func alter(t *testing.T, i config.Instance, statements ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, fmt.Sprintf("host=%s port=%d user=postgres dbname=postgres", i.SocketDir, i.Port))
	must(t, err)
	defer conn.Close(ctx)
	for _, sql := range statements {
		_, err := conn.Exec(ctx, sql)
		must(t, err)
	}
}

// looks waits for a look at the collations.
func (s *Supervisor) looks(t *testing.T) {
	t.Helper()
	s.observe(t.Context())
	s.collations.askedAt = time.Time{}
	s.keepCollations()
	if !s.collations.asking {
		t.Fatal("no look was begun")
	}
	select {
	case found := <-s.collated:
		s.collate(found)
	case <-time.After(collationLimit):
		t.Fatal("the collations are not looked at")
	}
}

func TestCollationsAreRecordedAndTheirChangeIsTold(t *testing.T) {
	s, m := startStandby(t)
	m.onWrite = func(cluster.Record) {}
	log := &bytes.Buffer{}
	s.Log, s.collated = slog.New(slog.NewTextHandler(log, nil)), make(chan collated)
	must(t, control.WriteJSON(config.ProgressFile(s.Instance.Name), control.Progress{Phase: control.PhaseRunning, Runtime: "podman", Image: "sha256:new"}, 0o644))
	if s.looks(t); len(s.collations.warnings) > 0 || s.facts().CollationsChanged || s.facts().CollationsAwaited { // as a standby
		t.Errorf("warnings %q", s.collations.warnings)
	}
	request, cancel := context.WithTimeout(t.Context(), 40*time.Second)
	defer cancel()
	must(t, s.promote(request))
	alter(t, s.Instance, "CREATE COLLATION old (provider = icu, locale = 'de', version = '1.2')",
		"CREATE TABLE t (a text COLLATE old)", "CREATE INDEX sorted ON t (a)")
	s.looks(t)
	st := s.state()
	warned := st.Advice[len(st.Advice)-1]
	for _, part := range []string{"database postgres: collation public.old (icu de) has version ", "the text is sorted by version 1.2: wrong may be public.sorted; ",
		`REINDEX DATABASE "postgres", then ALTER COLLATION public.old REFRESH VERSION in it`} {
		if !strings.Contains(warned, part) || !strings.Contains(log.String(), strings.ReplaceAll(part, `"`, `\"`)) {
			t.Errorf("advice %q and the log lack %q", st.Advice, part)
		}
	}
	if !s.facts().CollationsChanged {
		t.Error("not a fact for the decisions")
	}
	r, err := instance.ReadCollations(s.Instance.Name)
	must(t, err)
	if r.System != s.seen.look.System || r.Runtime != "podman" || r.Image != "sha256:new" || len(r.Collations) != 1 || r.Collations[0].Recorded != "1.2" || !r.Collations[0].Changed() {
		t.Errorf("recorded %+v", r)
	}

	alter(t, s.Instance, "REINDEX DATABASE postgres", "ALTER COLLATION old REFRESH VERSION")
	s.looks(t)
	if r, err = instance.ReadCollations(s.Instance.Name); err != nil || len(r.Collations) != 1 || r.Collations[0].Changed() {
		t.Errorf("after the repair: recorded %+v, %v", r, err)
	}
	if len(s.collations.warnings) > 0 || s.facts().CollationsChanged {
		t.Errorf("after the repair: %q", s.collations.warnings)
	}
}

func TestAServerIsLeftAloneWhileItsCollationsAreCompared(t *testing.T) {
	s, _ := startStandby(t)
	must(t, control.WriteJSON(config.ProgressFile(s.Instance.Name), control.Progress{Phase: control.PhaseStarting, Comparing: true}, 0o644))
	if s.observe(t.Context()); s.seen.role != ha.Down {
		t.Errorf("it is %s, and would be promoted", s.seen.role)
	}
	must(t, control.WriteJSON(config.ProgressFile(s.Instance.Name), control.Progress{Phase: control.PhaseStarting}, 0o644))
	if s.observe(t.Context()); s.seen.role != ha.Standby {
		t.Errorf("it is %s: %v", s.seen.role, s.seen.err)
	}
}

func TestWhenCollationsAreLookedAt(t *testing.T) {
	start := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	after := func(known collations) *Supervisor {
		s := supervising(ha.Standby, "h2")
		s.Instance.SocketDir = t.TempDir() // no server answers there
		s.seen.look.Started, s.changed, s.collations = start, time.Now(), known
		s.life = t.Context()
		s.collated = make(chan collated, 1)
		return s
	}
	ago := func(d time.Duration) time.Time { return time.Now().Add(-d) }
	tests := []struct {
		name  string
		known collations
		want  bool
	}{
		{"after the start", collations{}, true},
		{"after the next start", collations{server: start.Add(-time.Hour), askedAt: ago(time.Second)}, true},
		{"not while one is under way", collations{asking: true}, false},
		{"not again at once", collations{server: start, askedAt: ago(time.Minute)}, false},
		{"an hour later", collations{server: start, askedAt: ago(collationPeriod)}, true},
		{"soon, when one has changed", collations{server: start, askedAt: ago(changedPeriod), warnings: []string{"x"}}, true},
		{"after a failure", collations{server: start, askedAt: ago(failedPeriod), failure: "x"}, true},
		{"not so soon after a failure", collations{server: start, askedAt: ago(time.Minute), failure: "x"}, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := after(test.known)
			s.keepCollations()
			s.background.Wait() // a look that was begun has told what it found then
			if began := len(s.collated) > 0; began != test.want || s.collations.asking != (began || test.known.asking) {
				t.Errorf("a look has begun: %t, one is said to be under way: %t", began, s.collations.asking)
			}
		})
	}
}

// A database that is locked, say, must not make a changed standby look good.
func TestALookThatFailsProvesNothing(t *testing.T) {
	s := supervising(ha.Standby, "h2")
	s.seen.look.Started = time.Now()
	s.changed = time.Now()
	if f := s.facts(); !f.CollationsAwaited || f.CollationsChanged {
		t.Errorf("before the first look: %+v", f)
	}
	s.collate(collated{server: s.seen.look.Started, warnings: []string{"changed"}})
	s.collate(collated{server: s.seen.look.Started, err: errors.New("locked")})
	if f := s.facts(); !f.CollationsChanged || f.CollationsAwaited {
		t.Errorf("after a look that failed: %+v", f)
	}
	s.collate(collated{server: s.seen.look.Started})
	if s.facts().CollationsChanged {
		t.Error("after a good look it is still changed")
	}
	s.collate(collated{server: s.seen.look.Started, warnings: []string{"changed"}})
	s.seen.look.Started = s.seen.look.Started.Add(time.Minute)
	if f := s.facts(); f.CollationsChanged || !f.CollationsAwaited {
		t.Errorf("of another server: %+v", f)
	}
}
