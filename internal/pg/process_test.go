package pg

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestPostmasterIsFoundByItsWorkingDirectory(t *testing.T) {
	t.Parallel()
	s := newServer(t, "process", template)
	if p, err := Postmaster(s.data); p != nil || err != nil {
		t.Fatalf("before the start: %+v, %v", p, err)
	}
	shell := exec.Command("sleep", "60") // an administrator who looks around
	shell.Dir = s.data
	must(t, shell.Start())
	defer func() { shell.Process.Kill(); shell.Wait() }()
	s.start()

	alias := filepath.Join(t.TempDir(), "alias") // the data directory has another name in a container
	must(t, os.Symlink(s.data, alias))
	p, err := Postmaster(alias)
	must(t, err)
	if p == nil || !p.Alive() {
		t.Fatalf("got %+v", p)
	}
	all, err := Processes(s.data)
	must(t, err)
	if len(all) < 4 || !slices.Contains(all, p.PID) || slices.Contains(all, shell.Process.Pid) {
		t.Errorf("processes %v, postmaster %d, shell %d", all, p.PID, shell.Process.Pid)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := p.Done(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a running postmaster is done: %v", err)
	}

	must(t, p.Signal(unix.SIGINT))
	must(t, p.Done(t.Context()))
	<-s.ended
	if p.Alive() {
		t.Error("alive after its end")
	}
	if err := p.Signal(unix.SIGINT); !errors.Is(err, unix.ESRCH) {
		t.Errorf("signal after its end: %v", err)
	}
}

func TestAnotherProcessWithThePIDIsNotIt(t *testing.T) {
	self, err := readProcess(os.Getpid())
	must(t, err)
	self.StartTime--
	if self.Alive() || self.Done(t.Context()) != nil {
		t.Error("mistaken for it")
	}
	if err := self.Signal(unix.SIGKILL); !errors.Is(err, unix.ESRCH) {
		t.Error(err)
	}
}

func TestOrphansOfADeadPostmasterAreNotNothing(t *testing.T) {
	orphans := []Process{{PID: 10, parent: 1, title: "postgres: x: checkpointer "}, {PID: 11, parent: 1, title: "postgres: x: walwriter "}}
	if p := postmasterOf(orphans); p != nil {
		t.Errorf("postmaster %+v", p)
	}
	all := append(orphans, Process{PID: 9, parent: 1, title: "/usr/lib/postgresql/15/bin/postgres\x00-D"}, Process{PID: 12, parent: 9, title: "postgres: x"})
	if p := postmasterOf(all); p == nil || p.PID != 9 {
		t.Errorf("postmaster %+v", p)
	}

	s := newServer(t, "orphans", template)
	s.start()
	children := frozenChildren(t, s)
	p, err := Postmaster(s.data)
	must(t, err)
	must(t, p.Signal(unix.SIGKILL))
	<-s.ended
	if p, err := Postmaster(s.data); p != nil || err == nil {
		t.Errorf("got %+v, %v", p, err)
	}
	// Stopped children follow no SIGQUIT either; SIGKILL ends them.
	must(t, Shutdown(t.Context(), s.data, slog.New(slog.DiscardHandler), Ladder{Fast: time.Millisecond, Immediate: time.Millisecond}))
	if left, err := Processes(s.data); left != nil || err != nil {
		t.Errorf("of %v left %v, %v", pids(children), left, err)
	}
}

// frozenChildren stops all children of a server, so that they do not notice the postmaster's death.
func frozenChildren(t *testing.T, s *server) []Process {
	servers, err := serverProcesses(s.data)
	must(t, err)
	pm := postmasterOf(servers)
	children := slices.DeleteFunc(servers, func(p Process) bool { return p.PID == pm.PID })
	for _, p := range children {
		must(t, p.Signal(unix.SIGSTOP))
	}
	return children
}

func TestShutdownClimbsTheLadder(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	t.Run("nothing runs", func(t *testing.T) {
		must(t, Shutdown(t.Context(), t.TempDir(), log, Ladder{}))
		must(t, Shutdown(t.Context(), filepath.Join(t.TempDir(), "missing"), log, Ladder{}))
	})
	t.Run("fast is clean", func(t *testing.T) {
		s := newServer(t, "fast", template)
		s.start()
		must(t, Shutdown(t.Context(), s.data, log, Ladder{10 * time.Second, time.Second}))
		if c := compareControl(t, s.data); c.State != ShutDown {
			t.Errorf("state %s", c.State)
		}
	})
	t.Run("a server that does not react is killed", func(t *testing.T) {
		s := newServer(t, "killed", template)
		s.start()
		p, err := Postmaster(s.data)
		must(t, err)
		must(t, p.Signal(unix.SIGSTOP))
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		if err := Shutdown(ctx, s.data, log, Ladder{time.Second, time.Second}); err == nil && p.Alive() {
			t.Error("stopped, it says, and it runs")
		}
		must(t, Shutdown(t.Context(), s.data, log, Ladder{10 * time.Millisecond, 10 * time.Millisecond}))
		if p.Alive() {
			t.Error("still there")
		}
		if c := compareControl(t, s.data); c.State != InProduction || c.CleanlyStopped() {
			t.Errorf("state %s", c.State)
		}
	})
}
