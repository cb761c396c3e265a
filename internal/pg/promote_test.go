package pg

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pgtwin/internal/postmaster"
)

// commitsWaitFor makes commits on a primary wait for a standby.
func (s *server) commitsWaitFor(c *Conn, name string) {
	s.t.Helper()
	s.settings.Synchronous = []string{name}
	s.configure()
	must(s.t, c.Reload(s.t.Context()))
	eventually(s.t, "a synchronous standby", func() error {
		for _, w := range c.lookNow(s.t).Walsenders {
			if w.ApplicationName == name && w.SyncState == "sync" {
				return nil
			}
		}
		return errors.New("none")
	})
}

// A query on a standby holds up its replay as long as max_standby_streaming_delay says. Each of these
// makes the startup process wait in another way.
func TestAPromotionEndsTheSessionsThatHoldUpTheReplay(t *testing.T) {
	tests := []struct {
		name, delay string
		hold        []string // on the standby
		conflict    []string // on the primary, afterwards
	}{
		{"a snapshot, for ever", "-1", []string{"BEGIN ISOLATION LEVEL REPEATABLE READ", "SELECT count(*) FROM public.t"}, []string{"DELETE FROM public.t", "VACUUM public.t"}},
		{"a snapshot, by default", "30s", []string{"BEGIN ISOLATION LEVEL REPEATABLE READ", "SELECT count(*) FROM public.t"}, []string{"DELETE FROM public.t", "VACUUM public.t"}},
		{"a lock", "-1", []string{"BEGIN", "LOCK TABLE public.t IN ACCESS SHARE MODE"}, []string{"ALTER TABLE public.t ADD COLUMN j int"}},
		{"a pinned buffer", "-1", []string{"BEGIN", "DECLARE c CURSOR FOR SELECT * FROM public.t", "FETCH 1 FROM c"}, []string{"DELETE FROM public.t", "VACUUM (FREEZE) public.t"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			a := newServer(t, "a", template)
			ca := a.start()
			ca.must(t, "CREATE TABLE public.t (i int); INSERT INTO public.t SELECT generate_series(1,1000)")
			b, cb := standbyOf(a, ca, "b")
			cb.must(t, "ALTER SYSTEM SET max_standby_streaming_delay = '"+test.delay+"'")
			must(t, cb.Reload(t.Context()))
			streaming(t, ca, cb)
			a.commitsWaitFor(ca, "b")
			streaming(t, ca, cb)

			report, err := Connect(t.Context(), b.local())
			must(t, err)
			report.must(t, "SET idle_in_transaction_session_timeout = 0")
			for _, statement := range test.hold {
				report.must(t, statement)
			}
			for _, statement := range test.conflict {
				ca.must(t, statement)
			}
			ca.must(t, "INSERT INTO public.t VALUES (4711)")
			acknowledged := ca.lookNow(t).Written
			eventually(t, "the last commit on the standby's disk, and not replayed", func() error {
				if l := cb.lookNow(t); l.Received < acknowledged || l.Replayed >= acknowledged {
					return fmt.Errorf("received %s, replayed %s of %s", l.Received, l.Replayed, acknowledged)
				}
				return nil
			})
			a.crash()
			ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
			defer cancel()
			began := time.Now()
			must(t, cb.Promote(ctx))
			if lasted := time.Since(began); lasted > 5*time.Second {
				t.Errorf("promoted after %s", lasted)
			}
			if n := cb.value(t, "SELECT count(*)::text FROM public.t WHERE i = 4711"); n != "1" {
				t.Errorf("%s rows of the acknowledged commit", n)
			}
			if _, err := report.session.Exec(t.Context(), "SELECT 1"); err == nil {
				t.Error("the session that was in the way goes on")
			}
		})
	}
}

// Sessions that are in nobody's way stay.
func TestNoSessionIsEndedThatHoldsUpNothing(t *testing.T) {
	a := newServer(t, "a", template)
	ca := a.start()
	b, cb := standbyOf(a, ca, "b")
	streaming(t, ca, cb)
	report, err := Connect(t.Context(), b.local())
	must(t, err)
	report.must(t, "BEGIN ISOLATION LEVEL REPEATABLE READ")
	report.value(t, "SELECT count(*)::text FROM pg_class")
	ended, err := cb.EndConflicts(t.Context())
	must(t, err)
	if len(ended) > 0 {
		t.Errorf("ended %v", ended)
	}
	report.value(t, "SELECT 1::text")
}

func TestTheSignalPromotes(t *testing.T) {
	a := newServer(t, "a", template)
	must(t, SetStandbySignal(a.data))
	c := a.start()                                                                           // which takes away a request of before
	must(t, os.Symlink(filepath.Join(a.dir, "elsewhere"), filepath.Join(a.data, "promote"))) // of the database's user
	must(t, RequestPromotion(a.data))
	if _, err := os.Lstat(filepath.Join(a.dir, "elsewhere")); err == nil {
		t.Error("a link was followed")
	}
	p, err := postmaster.Find(a.data)
	must(t, err)
	must(t, p.Signal(unix.SIGUSR1))
	eventually(t, "a primary", func() error {
		if standby, err := c.InRecovery(t.Context()); standby || err != nil {
			return fmt.Errorf("standby: %v, %v", standby, err)
		}
		return nil
	})
	control, err := ReadControl(a.data)
	must(t, err)
	if control.State != InProduction || control.Reached() != 2 {
		t.Errorf("control file: %s on timeline %d", control.State, control.Reached())
	}
	if _, err := os.Lstat(promoteFile(a.data)); err == nil {
		t.Error("the request is still there")
	}
	must(t, WithdrawPromotion(a.data)) // of nothing
}

func TestASessionIsNamedWithoutItsQuery(t *testing.T) {
	s := Session{PID: 7, User: "app", Application: strings.Repeat("x", 100) + "\n", Type: "client backend", Since: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	want := `process 7 of app (client backend, application "` + strings.Repeat("x", 64) + `", since 2026-01-02 03:04:05)`
	if got := s.String(); got != want {
		t.Errorf("%s", got)
	}
}
