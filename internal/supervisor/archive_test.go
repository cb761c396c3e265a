package supervisor

import (
	"context"
	"strings"
	"testing"
	"time"

	"pgtwin/internal/cluster"
	"pgtwin/internal/ha"
	"pgtwin/internal/pg"
	"pgtwin/internal/postmaster"
)

// An archive may be gone together with the primary, or its program never have been here.
func TestNoRestoreCommandKeepsAStandbyFromBeingPromoted(t *testing.T) {
	for name, command := range map[string]string{
		"it hangs":         "sleep 1000",
		"it is not there":  "no_such_program %f %p",
		"a signal ends it": `sh -c ''kill -9 $$''`,
	} {
		t.Run(name, func(t *testing.T) {
			s, m := startStandby(t)
			m.onWrite = func(cluster.Record) {}
			sqlAs(t, s, "ALTER SYSTEM SET restore_command = '"+command+"'")
			awaitGuarded(t, s)
			server := *s.server
			ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
			defer cancel()
			must(t, s.promote(ctx))
			if s.seen.role != ha.Primary || s.server == nil || s.server.PID != server.PID {
				t.Errorf("%s: %v", s.seen.role, s.server)
			}
		})
	}
}

// awaitGuarded returns when the server runs the command, or has run it, in the form of pg.Guarded.
func awaitGuarded(t *testing.T, s *Supervisor) {
	t.Helper()
	for end := time.Now().Add(40 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		s.tick(t.Context())
		running, err := postmaster.RunningCommands(s.Instance.PGData, pg.Guard)
		must(t, err)
		shown := sqlAs(t, s, "SHOW restore_command")
		if strings.HasPrefix(shown, "(eval ") && (len(running) > 0 || !strings.Contains(shown, "sleep")) {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("restore_command is %q, running %v", shown, running)
		}
	}
}
