//go:build lab

// These run on a host whose PID 1 is systemd, as root:
//
//	go test -c -tags "lab,$TAGS" -o units.test ./internal/units
//	units.test -test.run Lab
//
// Each test has a unit of its own below /run/systemd/system and removes it.
package units

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"pgtwin/internal/config"
)

const lasting = "[Service]\nType=exec\nExecStart=/bin/sleep infinity\n"

func labContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// labUnit installs a unit and removes it when the test ends.
func labUnit(t *testing.T, unit, content string) (context.Context, *Systemd) {
	t.Helper()
	ctx := labContext(t)
	s, err := Connect(ctx)
	if err != nil {
		t.Fatal(err)
	}
	path := where + "/" + unit
	if _, err := s.Install(ctx, map[string]string{path: content}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := s.Stop(ctx, unit); err != nil {
			t.Error(err)
		}
		if err := s.ResetFailed(ctx, unit); err != nil {
			t.Error(err)
		}
		if _, err := s.Install(ctx, map[string]string{path: ""}); err != nil {
			t.Error(err)
		}
		s.Close()
	})
	return ctx, s
}

// eventually looks until the state is as wanted.
func eventually(t *testing.T, ctx context.Context, s *Systemd, unit, what string, as func(State) bool) State {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		state, err := s.State(ctx, unit)
		if err != nil {
			t.Fatal(err)
		}
		if as(state) {
			return state
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s is never %s, but %+v", unit, what, state)
		case <-tick.C:
		}
	}
}

func TestLabStartStopRestart(t *testing.T) {
	const unit = "pgtwin-labtest-plain.service"
	ctx, s := labUnit(t, unit, lasting)
	began := time.Now()
	if err := s.Start(ctx, unit); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took >= recheck {
		t.Errorf("the start took %v: the end of the job was not announced", took)
	}
	first, err := s.State(ctx, unit)
	if err != nil || first.ActiveState != "active" || first.MainPID == 0 || first.Job != 0 || len(first.InvocationID) != 32 {
		t.Fatalf("state is %+v, %v", first, err)
	}
	if pids, err := CgroupProcesses(first.ControlGroup); err != nil || !slices.Equal(pids, []int{first.MainPID}) {
		t.Errorf("processes are %v, %v, want %d", pids, err, first.MainPID)
	}
	if err := s.Restart(ctx, unit); err != nil {
		t.Fatal(err)
	}
	second, err := s.State(ctx, unit)
	if err != nil || second.MainPID == first.MainPID || second.InvocationID == first.InvocationID {
		t.Errorf("after a restart the state is %+v, %v", second, err)
	}
	for range 2 { // the second time there is nothing to stop
		if err := s.Stop(ctx, unit); err != nil {
			t.Fatal(err)
		}
	}
	if state, err := s.State(ctx, unit); err != nil || !state.Stopped() || state.MainPID != 0 {
		t.Errorf("after a stop the state is %+v, %v", state, err)
	}
	if pids, err := CgroupProcesses(first.ControlGroup); err != nil || len(pids) != 0 {
		t.Errorf("after a stop the processes are %v, %v", pids, err)
	}
}

func TestLabTheSystemBusServesAsWell(t *testing.T) {
	const unit = "pgtwin-labtest-bus.service"
	ctx, _ := labUnit(t, unit, lasting)
	link, err := dialBus(ctx, dbus.SystemBusPrivate, true)
	if err != nil {
		t.Fatal(err)
	}
	s := &Systemd{link: link}
	defer s.Close()
	began := time.Now()
	if err := s.Start(ctx, unit); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took >= recheck {
		t.Errorf("the start took %v: the end of the job was not announced", took)
	}
}

func TestLabTheConnectionOutlivesItsContext(t *testing.T) {
	connecting, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	s, err := Connect(connecting)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	link := s.link
	cancel()
	if _, err := s.State(labContext(t), "init.scope"); err != nil || s.link != link {
		t.Errorf("the connection was lost with the context it was made in: %v", err)
	}
}

func TestLabAStartThatLeadsNowhereIsAnError(t *testing.T) {
	// The unit's own result does not tell: systemd forgets a unit whose condition was not met at once.
	tests := map[string]struct{ content, result, active string }{
		"a condition that is not met": {"[Service]\nType=exec\nExecCondition=/bin/false\nExecStart=/bin/sleep infinity\n", "done", "inactive"},
		"a program that fails":        {"[Service]\nType=oneshot\nExecStart=/bin/false\n", "failed", "failed"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			const unit = "pgtwin-labtest-fails.service"
			ctx, s := labUnit(t, unit, test.content)
			err := s.Start(ctx, unit)
			var failed *JobError
			if !errors.As(err, &failed) || failed.Result != test.result || failed.State.ActiveState != test.active {
				t.Errorf("error is %#v, want the job's result %s and an %s unit", err, test.result, test.active)
			}
		})
	}
}

func TestLabAnUnknownUnit(t *testing.T) {
	const unit = "pgtwin-labtest-nonexistent.service"
	ctx := labContext(t)
	s, err := Connect(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Start(ctx, unit); err == nil {
		t.Error("it was started")
	}
	if err := s.Stop(ctx, unit); err != nil {
		t.Errorf("it is not running, yet could not be stopped: %v", err)
	}
	if state, err := s.State(ctx, unit); err != nil || state.LoadState != "not-found" || !state.Stopped() {
		t.Errorf("state is %+v, %v", state, err)
	}
	if err := s.ResetFailed(ctx, unit); err != nil {
		t.Error(err)
	}
}

func TestLabAQueuedStartIsNotWaitedFor(t *testing.T) {
	const unit = "pgtwin-labtest-slow.service"
	ctx, s := labUnit(t, unit, "[Service]\nType=notify\nTimeoutStartSec=infinity\nExecStart=/bin/sleep infinity\n")
	if err := s.Queue(ctx, Start, unit); err != nil {
		t.Fatal(err)
	}
	state := eventually(t, ctx, s, unit, "activating", func(s State) bool { return s.ActiveState == "activating" })
	if state.Job == 0 || !state.Running() {
		t.Errorf("state is %+v, want its job to be there still", state)
	}
}

func TestLabAStartGivenUpDoesNotHappenLater(t *testing.T) {
	const unit = "pgtwin-labtest-cancel.service"
	ctx, s := labUnit(t, unit, lasting+"ExecStop=/bin/sleep 3\n")
	if err := s.Start(ctx, unit); err != nil {
		t.Fatal(err)
	}
	if err := s.Queue(ctx, Stop, unit); err != nil {
		t.Fatal(err)
	}
	eventually(t, ctx, s, unit, "deactivating", func(s State) bool { return s.ActiveState == "deactivating" })

	short, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancel()
	if err := s.Start(short, unit); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("error is %v, want the deadline", err)
	}
	if state, err := s.State(ctx, unit); err != nil || state.Job != 0 {
		t.Fatalf("state is %+v, %v, want no job left", state, err)
	}
	eventually(t, ctx, s, unit, "stopped", State.Stopped)
	if state, err := s.State(ctx, unit); err != nil || !state.Stopped() || state.Job != 0 {
		t.Errorf("it came back: %+v, %v", state, err)
	}
}

func TestLabAnswersAcrossDaemonReexec(t *testing.T) {
	const unit, slow = "pgtwin-labtest-reexec.service", "pgtwin-labtest-oneshot.service"
	ctx, s := labUnit(t, unit, lasting)
	_, other := labUnit(t, slow, "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/sleep 2\n")
	if err := s.Start(ctx, unit); err != nil {
		t.Fatal(err)
	}
	started, reexec := make(chan error, 1), make(chan error, 1)
	go func() { started <- other.Start(ctx, slow) }()
	eventually(t, ctx, s, slow, "activating", func(s State) bool { return s.ActiveState == "activating" })
	go func() { reexec <- exec.Command("systemctl", "daemon-reexec").Run() }()

	for pending := 2; pending > 0; {
		if state, err := s.State(ctx, unit); err != nil || state.ActiveState != "active" {
			t.Fatalf("state is %+v, %v, want active throughout", state, err)
		}
		select {
		case err := <-started:
			pending--
			if err != nil {
				t.Errorf("the start over which systemd executed itself anew: %v", err)
			}
		case <-reexec: // systemctl itself may lose its connection
			pending--
		default:
		}
	}
}

func TestLabTheDropInsPutADatabaseIntoItsSlice(t *testing.T) {
	instance := config.Instance{Name: "labtest-a", StopTimeout: 5 * time.Second, Limits: config.Limits{CPUWeight: "50"}}
	unit := Database(instance.Name)
	ctx, s := labUnit(t, unit, lasting)
	files, err := DropIns(instance)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		for path := range files {
			os.Remove(path)
		}
	}()
	for _, want := range []bool{true, false} {
		if changed, err := s.Install(ctx, files); err != nil || changed != want {
			t.Fatalf("changed is %v, %v, want %v", changed, err, want)
		}
	}
	if err := s.Start(ctx, unit); err != nil {
		t.Fatal(err)
	}
	state, err := s.State(ctx, unit)
	if err != nil || state.ControlGroup != DatabaseGroup(instance.Name) {
		t.Errorf("control group is %s, %v, want %s", state.ControlGroup, err, DatabaseGroup(instance.Name))
	}
	if pids, err := CgroupProcesses(DatabaseGroup(instance.Name)); err != nil || !slices.Equal(pids, []int{state.MainPID}) {
		t.Errorf("processes are %v, %v, want %d", pids, err, state.MainPID)
	}
}

func TestLabNotifyForSetsTheStatusOfAnotherUnit(t *testing.T) {
	const unit = "pgtwin-labtest-notify.service"
	ctx, s := labUnit(t, unit, lasting+"NotifyAccess=all\n")
	if err := s.Start(ctx, unit); err != nil {
		t.Fatal(err)
	}
	state, err := s.State(ctx, unit)
	if err != nil {
		t.Fatal(err)
	}
	if err := NotifyFor(state.MainPID, "STATUS=primary, 1 standby in sync"); err != nil {
		t.Fatal(err)
	}
	eventually(t, ctx, s, unit, "known by its status", func(s State) bool { return s.StatusText == "primary, 1 standby in sync" })
}
