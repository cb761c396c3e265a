package postmaster

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestPostmasterIsFoundByItsWorkingDirectory(t *testing.T) {
	s := newServer(t)
	if p, err := Find(s.data); p != nil || err != nil {
		t.Fatalf("before the start: %+v, %v", p, err)
	}
	shell := exec.Command("sleep", "60") // an administrator who looks around
	shell.Dir = s.data
	must(t, shell.Start())
	defer func() { shell.Process.Kill(); shell.Wait() }()
	started := s.start()

	alias := filepath.Join(t.TempDir(), "alias") // the data directory has another name in a container
	must(t, os.Symlink(s.data, alias))
	p, err := Find(alias)
	must(t, err)
	if p == nil || p.PID != started.PID || p.StartTime != started.StartTime {
		t.Fatalf("found %+v, started %+v", p, started)
	}
	all, err := Processes(s.data)
	must(t, err)
	if len(all) < 4 || !slices.Contains(all, p.PID) || slices.Contains(all, shell.Process.Pid) {
		t.Errorf("processes %v, postmaster %d, shell %d", all, p.PID, shell.Process.Pid)
	}
}

func TestServersAreThePostmasterAndItsChildren(t *testing.T) {
	s := newServer(t)
	if servers, err := Servers(s.data); servers != nil || err != nil {
		t.Fatalf("before the start: %v, %v", servers, err)
	}
	p := s.start()
	servers, err := Servers(s.data)
	must(t, err)
	children := slices.DeleteFunc(slices.Clone(servers), func(q Process) bool { return q.parent != p.PID })
	if len(children) < 3 || len(children) != len(servers)-1 {
		t.Errorf("servers %+v, postmaster %d", servers, p.PID)
	}
	must(t, p.Signal(unix.SIGINT))
	for _, q := range servers { // handles on processes outlive them
		must(t, q.Done(t.Context()))
	}
	if left, err := Servers(s.data); left != nil || err != nil {
		t.Errorf("after the end: %v, %v", left, err)
	}
}

func TestTheEndOfAProcessIsNoticed(t *testing.T) {
	s := newServer(t)
	p := s.start()
	if !p.Alive() {
		t.Error("not alive after its start")
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
	must(t, p.Done(t.Context()))
	if err := p.Signal(unix.SIGINT); !errors.Is(err, unix.ESRCH) {
		t.Errorf("signal after its end: %v", err)
	}
	if p, err := Open(p.PID); err == nil {
		t.Errorf("opened after its end: %+v", p)
	}
}

func TestAZombieHasEnded(t *testing.T) {
	child := exec.Command("sleep", "60")
	must(t, child.Start())
	defer child.Wait()
	p, err := Open(child.Process.Pid)
	must(t, err)
	must(t, p.Signal(unix.SIGKILL))
	must(t, p.Done(t.Context())) // nobody has waited for it yet
	if p.Alive() {
		t.Error("a zombie is alive")
	}
}

func TestAnotherProcessWithThePIDIsNotIt(t *testing.T) {
	self, err := Open(os.Getpid())
	must(t, err)
	if !self.Alive() {
		t.Error("we are not alive")
	}
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

	s := newServer(t)
	p := s.start()
	children := s.freezeChildren(p)
	must(t, p.Signal(unix.SIGKILL))
	<-s.ended
	if p, err := Find(s.data); p != nil || err == nil {
		t.Errorf("got %+v, %v", p, err)
	}
	// Stopped children follow no SIGQUIT either; SIGKILL ends them.
	must(t, Shutdown(t.Context(), s.data, slog.New(slog.DiscardHandler), Ladder{Fast: time.Millisecond, Immediate: time.Millisecond}))
	if left, err := Processes(s.data); left != nil || err != nil {
		t.Errorf("of %v left %v, %v", pids(children), left, err)
	}
}

// freezeChildren stops all children of a server, so that they do not notice the postmaster's death.
func (s *server) freezeChildren(postmaster *Process) []Process {
	s.t.Helper()
	var children []Process
	s.await(func() bool { // of the launcher, the last; one that has just been forked has no title of its own yet
		servers, err := Servers(s.data)
		must(s.t, err)
		children = slices.DeleteFunc(servers, func(p Process) bool { return p.PID == postmaster.PID })
		return slices.ContainsFunc(children, func(p Process) bool { return strings.Contains(p.title, "logical replication launcher") }) &&
			!slices.ContainsFunc(children, func(p Process) bool { return !strings.HasPrefix(p.title, "postgres: ") })
	})
	for _, p := range children {
		must(s.t, p.Signal(unix.SIGSTOP))
	}
	return children
}

func TestWhatAStartupProcessReplays(t *testing.T) {
	for title, want := range map[string]string{
		"postgres: postgres-ha: startup recovering 000000010000000000000003": "000000010000000000000003",
		"postgres: startup recovering 000000010000000000000003\x00\x00":      "000000010000000000000003",
		"postgres: startup waiting for 000000010000000000000003":             "",
		"postgres: postgres-ha: checkpointer ":                               "",
		"startup recovering 000000010000000000000003":                        "",
	} {
		if got := replaying(title); got != want {
			t.Errorf("%q: %q", title, got)
		}
	}
}
