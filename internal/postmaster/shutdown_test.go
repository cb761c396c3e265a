package postmaster

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pgtwin/internal/pg"
)

// The rungs of the ladder, as logged.
const (
	fast      = `mode="fast shutdown"`
	immediate = `mode="immediate shutdown"`
	killed    = "killing PostgreSQL"
)

func TestShutdownClimbsTheLadder(t *testing.T) {
	tests := []struct {
		name   string
		before func(*server, *Process) // what is wrong with the server
		ladder Ladder
		rungs  []string
		state  pg.State // that it leaves behind
	}{
		{"a server that reacts is shut down fast", func(*server, *Process) {},
			Ladder{20 * time.Second, 20 * time.Second}, []string{fast}, pg.ShutDown},
		{"one whose checkpointer hangs is shut down immediately", stopCheckpointer,
			Ladder{200 * time.Millisecond, 20 * time.Second}, []string{fast, immediate}, pg.InProduction},
		{"one that does not react at all is killed", stopPostmaster,
			Ladder{100 * time.Millisecond, 100 * time.Millisecond}, []string{fast, immediate, killed}, pg.InProduction},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := newServer(t)
			p := s.start()
			test.before(s, p)
			var said bytes.Buffer
			must(t, Shutdown(t.Context(), s.data, slog.New(slog.NewTextHandler(&said, nil)), test.ladder))
			if left, err := Processes(s.data); left != nil || err != nil {
				t.Errorf("left: %v, %v", left, err)
			}
			climbed := slices.DeleteFunc([]string{fast, immediate, killed}, func(rung string) bool { return !strings.Contains(said.String(), rung) })
			if !slices.Equal(climbed, test.rungs) {
				t.Errorf("climbed %q, want %q", climbed, test.rungs)
			}
			if state := s.state(); state != test.state {
				t.Errorf("left %q, want %q", state, test.state)
			}
		})
	}
}

// stopCheckpointer keeps the last checkpoint from being written. The postmaster kills its children
// five seconds after an immediate shutdown that they do not follow (SIGKILL_CHILDREN_AFTER_SECS).
func stopCheckpointer(s *server, _ *Process) {
	servers, err := Servers(s.data)
	must(s.t, err)
	at := slices.IndexFunc(servers, func(q Process) bool { return strings.HasPrefix(q.title, "postgres: checkpointer") })
	if at < 0 {
		s.t.Fatalf("no checkpointer among %+v", servers)
	}
	must(s.t, servers[at].Signal(unix.SIGSTOP))
}

func stopPostmaster(s *server, p *Process) { must(s.t, p.Signal(unix.SIGSTOP)) }

func TestShutdownOfWhatDoesNotRunIsDone(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	must(t, Shutdown(t.Context(), t.TempDir(), log, Ladder{}))
	must(t, Shutdown(t.Context(), filepath.Join(t.TempDir(), "missing"), log, Ladder{}))
}

// A caller whose time is over is never told that the server has stopped.
func TestShutdownSaysNothingWithoutProof(t *testing.T) {
	s := newServer(t)
	p := s.start()
	stopPostmaster(s, p)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := Shutdown(ctx, s.data, slog.New(slog.DiscardHandler), Ladder{time.Minute, time.Minute})
	left, errLeft := Processes(s.data)
	must(t, errLeft)
	if err == nil && len(left) > 0 {
		t.Errorf("stopped, it says, and %v run", left)
	}
	if err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v, want one that says that the time was over", err)
	}
	// Whether it waited or not, the last rung was reached: SIGKILL is on its way.
	must(t, p.Done(t.Context()))
}
