package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"pgtwin/internal/config"
	"pgtwin/internal/control"
	"pgtwin/internal/ocf"
	"pgtwin/internal/units"
)

// TestMain lets the test binary stand in for pgtwin-helper.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "look" {
		fmt.Println(os.Getenv("PGTWIN_TEST_LOOK"))
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// host is a node of the cluster with one instance, on which no database really runs.
type host struct {
	t *testing.T
	*Agent
	instance config.Instance
	systemd  *fakeSystemd
}

func newHost(t *testing.T) *host {
	t.Helper()
	helper, err := os.Executable()
	must(t, err)
	name := fmt.Sprintf("agenttest-%d", os.Getpid())
	i := config.Instance{Name: name, Resource: "postgres-db", Node: "h1", PGData: filepath.Join(t.TempDir(), "data")}
	must(t, i.WriteFile(config.InstanceFile(name)))
	t.Cleanup(func() { must(t, os.RemoveAll(config.RunDir(name))) })
	fake := &fakeSystemd{states: map[string]units.State{}, installed: map[string]string{}}
	a := &Agent{Log: slog.New(slog.DiscardHandler), Helper: helper, systemd: fake}
	return &host{t: t, Agent: a, instance: i, systemd: fake}
}

func (h *host) request(action string) ocf.Request {
	return ocf.Request{Action: action, Resource: "postgres-db", Node: "h1", Timeout: 4 * time.Second,
		Params: map[string]string{"container_name": h.instance.Name, "pgdata": h.instance.PGData, "node_list": "h1 h2"}}
}

// supervise answers on the control socket until the test ends; asked lists the verbs so far.
func (h *host) supervise(answer func(control.Verb) control.Answer) (asked func() []control.Verb) {
	h.t.Helper()
	listener, err := control.Listen(config.ControlSocket(h.instance.Name))
	must(h.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	var mu sync.Mutex
	var verbs []control.Verb
	var serving sync.WaitGroup
	serving.Go(func() {
		control.Serve(ctx, listener, func(_ context.Context, verb control.Verb) control.Answer {
			mu.Lock()
			defer mu.Unlock()
			verbs = append(verbs, verb)
			return answer(verb)
		}, h.Log)
	})
	h.t.Cleanup(func() { cancel(); serving.Wait() })
	return func() []control.Verb {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(verbs)
	}
}

// server lets something run that looks like a postmaster; ended is closed at its end.
func (h *host) server() (ended <-chan struct{}) {
	h.t.Helper()
	program := filepath.Join(h.t.TempDir(), "postgres")
	must(h.t, exec.Command("cp", "/bin/sleep", program).Run())
	must(h.t, os.MkdirAll(h.instance.PGData, 0o700))
	cmd := exec.Command(program, "60")
	cmd.Dir = h.instance.PGData
	must(h.t, cmd.Start())
	gone := make(chan struct{})
	go func() { cmd.Wait(); close(gone) }()
	h.t.Cleanup(func() { cmd.Process.Kill(); <-gone })
	return gone
}

// report writes what an activation would report.
func (h *host) report(p control.Progress) {
	must(h.t, control.WriteJSON(config.ProgressFile(h.instance.Name), p, 0o644))
}

// lookSays is what the helper finds without a supervisor.
func (h *host) lookSays(st control.State) {
	text, err := json.Marshal(st)
	must(h.t, err)
	h.t.Setenv("PGTWIN_TEST_LOOK", string(text))
}

func (h *host) intent() control.Intent {
	text, err := os.ReadFile(config.Intent(h.instance.Name))
	must(h.t, err)
	return control.Intent(text)
}

// fakeSystemd has units that follow its jobs at once.
type fakeSystemd struct {
	states    map[string]units.State // inactive where there is none
	installed map[string]string
	jobs      []string
	refuse    func(verb units.Verb, unit string) error // nil: takes every job
	activate  func()                                   // what the database unit does once it is started
}

var _ systemd = (*fakeSystemd)(nil)

func (s *fakeSystemd) State(ctx context.Context, unit string) (units.State, error) {
	if ctx.Err() != nil {
		return units.State{}, ctx.Err()
	}
	if state, known := s.states[unit]; known {
		return state, nil
	}
	return units.State{LoadState: "loaded", ActiveState: "inactive", SubState: "dead"}, nil
}

func (s *fakeSystemd) Queue(_ context.Context, verb units.Verb, unit string) error {
	if s.refuse != nil {
		if err := s.refuse(verb, unit); err != nil {
			return err
		}
	}
	s.jobs = append(s.jobs, fmt.Sprint(verb, " ", unit))
	if verb == units.Stop {
		delete(s.states, unit)
		return nil
	}
	s.states[unit] = units.State{LoadState: "loaded", ActiveState: "activating", SubState: "start"}
	if s.activate != nil {
		s.activate()
	}
	return nil
}

func (s *fakeSystemd) Stop(ctx context.Context, unit string) error {
	return s.Queue(ctx, units.Stop, unit)
}

func (s *fakeSystemd) ResetFailed(_ context.Context, unit string) error {
	if s.states[unit].ActiveState == "failed" {
		delete(s.states, unit)
	}
	return nil
}

func (s *fakeSystemd) Install(_ context.Context, files map[string]string) (changed bool, err error) {
	for path, content := range files {
		changed = changed || s.installed[path] != content
		s.installed[path] = content
	}
	return changed, nil
}

func (s *fakeSystemd) Close() {}

func (s *fakeSystemd) is(unit, active string) {
	s.states[unit] = units.State{LoadState: "loaded", ActiveState: active}
}

// killed is how systemd sees a unit whose main process got SIGKILL.
func (s *fakeSystemd) killed(unit string) {
	s.states[unit] = units.State{LoadState: "loaded", ActiveState: "failed", SubState: "failed", Result: "signal"}
}

// codeOf is the exit code that the answer of an action amounts to.
func codeOf(code ocf.Code, err error) ocf.Code {
	var coded *ocf.Error
	switch {
	case errors.As(err, &coded):
		return coded.Code
	case err != nil && code == ocf.Success:
		return ocf.ErrGeneric
	}
	return code
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
