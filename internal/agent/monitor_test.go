package agent

import (
	"testing"
	"time"

	"pgtwin/internal/control"
	"pgtwin/internal/ha"
	"pgtwin/internal/ocf"
	"pgtwin/internal/units"
)

func TestMonitorReportsTheRole(t *testing.T) {
	warned := func(role ha.Role, since time.Duration) control.State {
		return control.State{Role: role, Phase: control.PhaseRunning, Warnings: []string{"look"}, WarnedSince: time.Now().Add(-since)}
	}
	tests := []struct {
		name  string
		state control.State
		probe bool
		want  ocf.Code
	}{
		{"a primary", control.State{Role: ha.Primary, Phase: control.PhaseRunning}, false, ocf.RunningPromoted},
		{"a standby", control.State{Role: ha.Standby, Phase: control.PhaseRunning}, false, ocf.Success},
		{"a server that does not answer has failed, not stopped", control.State{Role: ha.Unknown, Phase: control.PhaseRunning}, false, ocf.ErrGeneric},
		{"a primary with a warning of a moment", warned(ha.Primary, 50*time.Second), false, ocf.RunningPromoted},
		{"a primary with a warning of more than a minute", warned(ha.Primary, 61*time.Second), false, ocf.DegradedPromoted},
		{"a standby with a warning of a moment", warned(ha.Standby, 50*time.Second), false, ocf.Success},
		{"a standby with a warning of more than a minute", warned(ha.Standby, 61*time.Second), false, ocf.Degraded},
		{"a probe is asked for the role alone", warned(ha.Primary, time.Hour), true, ocf.RunningPromoted},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h := newHost(t)
			h.supervise(func(control.Verb) control.Answer { return control.Answer{State: test.state} })
			req := h.request("monitor")
			req.Probe = test.probe
			code, err := h.Monitor(t.Context(), req)
			if got := codeOf(code, err); got != test.want {
				t.Errorf("%v (%v), want %v", got, err, test.want)
			}
			if len(h.systemd.jobs) > 0 {
				t.Errorf("a monitor that queues jobs: %v", h.systemd.jobs)
			}
		})
	}
}

func TestMonitorOfADownServerAsksTheUnit(t *testing.T) {
	tests := []struct {
		name  string
		unit  units.State
		phase control.Phase
		want  ocf.Code
	}{
		{"an activation at work is running", units.State{ActiveState: "activating"}, control.PhaseCloning, ocf.Success},
		{"so is one that is queued", units.State{ActiveState: "inactive", Job: 7}, control.PhaseStopped, ocf.Success},
		{"a server that has ended by itself has failed", units.State{ActiveState: "active"}, control.PhaseRunning, ocf.ErrGeneric},
		{"one that is going down is not stopped yet", units.State{ActiveState: "deactivating"}, control.PhaseRunning, ocf.ErrGeneric},
		{"a unit that is down with nothing left is stopped", units.State{ActiveState: "inactive"}, control.PhaseStopped, ocf.NotRunning},
		{"so is one that failed", units.State{ActiveState: "failed"}, control.PhaseFailed, ocf.NotRunning},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h := newHost(t)
			h.systemd.states[units.Database(h.instance.Name)] = test.unit
			down := control.Answer{State: control.State{Role: ha.Down, Phase: test.phase}}
			h.supervise(func(control.Verb) control.Answer { return down })
			code, err := h.Monitor(t.Context(), h.request("monitor"))
			if got := codeOf(code, err); got != test.want {
				t.Errorf("%v (%v), want %v", got, err, test.want)
			}
		})
	}
}

func TestMonitorAsksAgainWhenAnActivationHasJustEnded(t *testing.T) {
	h := newHost(t)
	h.server()
	h.systemd.is(units.Database(h.instance.Name), "active")
	states := []control.State{{Role: ha.Down, Phase: control.PhaseStarting}, {Role: ha.Down, Phase: control.PhaseStarting}, {Role: ha.Standby, Phase: control.PhaseRunning}}
	asked := 0
	h.supervise(func(control.Verb) control.Answer {
		asked++
		return control.Answer{State: states[min(asked, len(states))-1]}
	})
	code, err := h.Monitor(t.Context(), h.request("monitor"))
	if code != ocf.Success || err != nil || asked != 3 {
		t.Errorf("%v, %v after %d questions", code, err, asked)
	}
}

// The demotion by which a peer takes over may be waiting for this very monitor.
func TestMonitorDoesNotHoldUpATakeover(t *testing.T) {
	for _, role := range []ha.Role{ha.Down, ha.Unknown} {
		h := newHost(t)
		asked := h.supervise(func(control.Verb) control.Answer {
			return control.Answer{State: control.State{Role: role, Yielding: true}}
		})
		code, err := h.Monitor(t.Context(), h.request("monitor"))
		if code != ocf.RunningPromoted || err != nil {
			t.Errorf("%s: %v, %v", role, code, err)
		}
		if len(asked()) != 1 {
			t.Errorf("%s: asked %v", role, asked())
		}
	}
}

func TestMonitorWithoutTheSupervisor(t *testing.T) {
	tests := []struct {
		name string
		unit string
		look control.State
		want ocf.Code
	}{
		{"a unit that is down proves that nothing runs", "inactive", control.State{Role: ha.Primary}, ocf.NotRunning},
		{"a primary is still one", "active", control.State{Role: ha.Primary, Phase: control.PhaseRunning}, ocf.RunningPromoted},
		{"a standby is still one", "active", control.State{Role: ha.Standby, Phase: control.PhaseRunning}, ocf.Success},
		{"an activation is at work", "activating", control.State{Role: ha.Down, Phase: control.PhaseCloning}, ocf.Success},
		{"a server that does not answer is not stopped", "active", control.State{Role: ha.Unknown, Phase: control.PhaseRunning}, ocf.ErrGeneric},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h := newHost(t)
			h.systemd.is(units.Database(h.instance.Name), test.unit)
			h.lookSays(test.look)
			code, err := h.Monitor(t.Context(), h.request("monitor"))
			if got := codeOf(code, err); got != test.want {
				t.Errorf("%v (%v), want %v", got, err, test.want)
			}
		})
	}
}
