package supervisor

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"pgtwin/internal/cluster"
	"pgtwin/internal/config"
	"pgtwin/internal/ha"
)

// A server that was started with a recovery target would be promoted short of what it has received.
func TestAStandbyWithARecoveryTargetIsHeld(t *testing.T) {
	s, m := startConfigured(t, func(dir string) {
		managed := filepath.Join(dir, "managed.conf")
		text, err := os.ReadFile(managed)
		must(t, err)
		// To PostgreSQL an empty target beside another one is one too many.
		others := regexp.MustCompile(`(?m)^recovery_target(_lsn|_name|_time|_xid)? = ''$`)
		must(t, os.WriteFile(managed, []byte(others.ReplaceAllString(string(text), "")+"recovery_target_name = 'never_made'\n"), 0o644))
	})
	m.onWrite = func(r cluster.Record) { t.Errorf("recorded %+v", r) }
	if held := s.facts().Held; !strings.Contains(held, "recovery_target_name") {
		t.Errorf("held by %q", held)
	}
	if err := s.promote(t.Context()); err == nil || !strings.Contains(err.Error(), "the replay is held") {
		t.Errorf("promoted: %v", err)
	}
	// What cannot be asked for a while holds all the same.
	s.refusal, s.refusedAt = &pgconn.PgError{Code: "53300"}, time.Now()
	if s.observe(t.Context()); !s.seen.blind || s.facts().Held == "" {
		t.Errorf("blind %v, held by %q", s.seen.blind, s.facts().Held)
	}
	if w := s.state().Warnings; len(w) < 2 || !strings.Contains(w[1], "not promotable, because its replay is held") {
		t.Errorf("warnings %q", w)
	}
}

func TestAPromotionResumesAReplayThatWasPausedByHand(t *testing.T) {
	s, m := startStandby(t)
	m.onWrite = func(cluster.Record) {}
	pause := func() {
		t.Helper()
		sqlAs(t, s, "SELECT pg_wal_replay_pause()")
		for end := time.Now().Add(40 * time.Second); replayState(t, s) != "paused"; time.Sleep(20 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("the replay is %s", replayState(t, s))
			}
		}
		s.observe(t.Context())
		if f := s.facts(); f.Held != "" || !s.seen.look.ReplayPaused {
			t.Errorf("held by %q, paused %v", f.Held, s.seen.look.ReplayPaused)
		}
	}
	// A promotion ends a pause by itself, but PostgreSQL looks for one only every second while it pauses.
	pause()
	s.resume(t.Context())
	if state := replayState(t, s); state != "not paused" {
		t.Errorf("the replay is %s", state)
	}
	pause()
	log := recordLog(s)
	ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
	defer cancel()
	must(t, s.promote(ctx))
	if s.seen.role != ha.Primary || !strings.Contains(log.String(), "resuming the replay") {
		t.Errorf("%s: %s", s.seen.role, log)
	}
}

func replayState(t *testing.T, s *Supervisor) string {
	t.Helper()
	return sqlAs(t, s, "SELECT pg_get_wal_replay_pause_state()")
}

func TestTheStatusSaysThatSomebodyPromotedByHand(t *testing.T) {
	s := supervising(ha.Down, "h2")
	s.Instance.Name = "supervisortest-byhand"
	must(t, os.MkdirAll(config.StateDir(s.Instance.Name), 0o755))
	t.Cleanup(func() { must(t, os.RemoveAll(config.StateDir(s.Instance.Name))) })
	s.noteCrash("stopped at once")
	s.noteByHand(ha.Action{Verb: ha.Halt, Why: "h2 was promoted (epoch 8)"})
	if w := s.counsel(); len(w) > 0 {
		t.Errorf("overtaken: %q", w)
	}
	s.noteByHand(ha.Action{Verb: ha.Halt, Number: 11, Why: "somebody promoted PostgreSQL here by hand"})
	s.noteCrash("reported to Pacemaker as failed") // which follows from it
	s.background.Wait()
	kept, err := readCrashes(s.Instance.Name) // by the next supervisor
	must(t, err)
	s.crashes = kept
	if w := s.counsel(); len(w) != 1 || !strings.Contains(w[0], "somebody promoted PostgreSQL here by hand") {
		t.Errorf("warnings %q", w)
	}
	s.crashes.ByHandAt = s.crashes.ByHandAt.Add(-byHandShown)
	if w := s.counsel(); len(w) > 0 {
		t.Errorf("for ever: %q", w)
	}
}
