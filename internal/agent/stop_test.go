package agent

import (
	"errors"
	"os"
	"slices"
	"testing"

	"pgtwin/internal/config"
	"pgtwin/internal/control"
	"pgtwin/internal/ocf"
	"pgtwin/internal/units"
)

func unitsOf(name string) []string {
	return []string{units.Database(name), units.Supervisor(name), units.Socket(name), units.StatusServer(name)}
}

func TestStopEndsEverythingInOrder(t *testing.T) {
	h := newHost(t)
	name := h.instance.Name
	h.systemd.is(units.Database(name), "active")
	h.report(control.Progress{Phase: control.PhaseRunning})
	must(t, allow(h.instance, control.IntentRun))
	var intents []control.Intent
	h.systemd.refuse = func(units.Verb, string) error { intents = append(intents, h.intent()); return nil }
	asked := h.supervise(func(control.Verb) control.Answer { return control.Answer{} })

	if code, err := h.Stop(t.Context(), h.request("stop")); code != ocf.Success || err != nil {
		t.Fatalf("%v, %v", code, err)
	}
	var want []string
	for _, unit := range unitsOf(name) {
		want = append(want, "stop "+unit)
	}
	if !slices.Equal(h.systemd.jobs, want) {
		t.Errorf("jobs %v, want %v", h.systemd.jobs, want)
	}
	if !slices.Equal(asked(), []control.Verb{control.Release}) {
		t.Errorf("asked %v, want to be released before", asked())
	}
	if intents[0] != control.IntentStop {
		t.Errorf("the supervisor would take the stop for a crash: intent %s", intents[0])
	}
	for _, path := range []string{config.Ticket(name), config.ProgressFile(name)} {
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is left: %v", path, err)
		}
	}
}

func TestStopOfWhatDoesNotRunSucceeds(t *testing.T) {
	tests := []struct {
		name   string
		before func(*host)
	}{
		{"as after a boot", func(h *host) { must(t, os.Remove(config.InstanceFile(h.instance.Name))) }},
		{"with an instance file that cannot be read", func(h *host) {
			must(t, os.WriteFile(config.InstanceFile(h.instance.Name), []byte("= what"), 0o644))
		}},
		{"with a unit that failed", func(h *host) { h.systemd.is(units.Database(h.instance.Name), "failed") }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h := newHost(t)
			test.before(h)
			if code, err := h.Stop(t.Context(), h.request("stop")); code != ocf.Success || err != nil {
				t.Errorf("%v, %v", code, err)
			}
			if slices.Contains(h.systemd.jobs, "stop "+units.Database(h.instance.Name)) {
				t.Errorf("jobs %v", h.systemd.jobs)
			}
		})
	}
}

func TestStopIsNoSuccessWhileTheUnitIsUp(t *testing.T) {
	h := newHost(t)
	h.systemd.is(units.Database(h.instance.Name), "active")
	refused := errors.New("refused")
	h.systemd.refuse = func(units.Verb, string) error { return refused }
	if _, err := h.Stop(t.Context(), h.request("stop")); !errors.Is(err, refused) {
		t.Errorf("error %v", err)
	}
}

func TestStopEndsWhatHasOutlivedItsUnit(t *testing.T) {
	h := newHost(t)
	ended := h.server()
	if code, err := h.Stop(t.Context(), h.request("stop")); code != ocf.Success || err != nil {
		t.Fatalf("%v, %v", code, err)
	}
	<-ended
}
