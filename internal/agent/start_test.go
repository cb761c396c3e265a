package agent

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"pgtwin/internal/config"
	"pgtwin/internal/control"
	"pgtwin/internal/ocf"
	"pgtwin/internal/units"
)

func TestStartReturnsOnceTheActivationIsAtWork(t *testing.T) {
	h := newHost(t)
	name := h.instance.Name
	h.report(control.Progress{Phase: control.PhaseFailed, Detail: "of the start before"})
	h.systemd.is(units.Database(name), "failed")
	var ticket control.Ticket
	h.systemd.activate = func() {
		if h.systemd.jobs[0] == "start "+units.Database(name) && len(h.systemd.jobs) == 1 {
			must(t, control.ReadJSON(config.Ticket(name), &ticket))
			h.report(control.Progress{Phase: control.PhaseCloning})
		}
	}
	if code, err := h.Start(t.Context(), h.request("start")); code != ocf.Success || err != nil {
		t.Fatalf("%v, %v", code, err)
	}
	want := []string{"start " + units.Database(name), "start " + units.Supervisor(name), "start " + units.Socket(name)}
	if !slices.Equal(h.systemd.jobs, want) {
		t.Errorf("jobs %v, want %v", h.systemd.jobs, want)
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	must(t, err)
	if ticket != (control.Ticket{BootID: strings.TrimSpace(string(boot)), Intent: control.IntentRun}) {
		t.Errorf("ticket %+v", ticket)
	}
	if h.intent() != control.IntentRun || len(h.systemd.installed) == 0 {
		t.Errorf("intent %s, drop-ins %v", h.intent(), h.systemd.installed)
	}
	if written, err := config.ReadInstance(name); err != nil || written.Node != "h1" || !slices.Equal(written.Nodes, []string{"h1", "h2"}) {
		t.Errorf("instance file %+v, %v", written, err)
	}
}

func TestStartOfWhatRunsIsDone(t *testing.T) {
	h := newHost(t)
	h.systemd.is(units.Database(h.instance.Name), "active")
	h.report(control.Progress{Phase: control.PhaseRunning})
	if code, err := h.Start(t.Context(), h.request("start")); code != ocf.Success || err != nil {
		t.Fatalf("%v, %v", code, err)
	}
	if slices.Contains(h.systemd.jobs, "start "+units.Database(h.instance.Name)) {
		t.Errorf("jobs %v", h.systemd.jobs)
	}
	if _, err := os.Stat(config.Ticket(h.instance.Name)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a ticket that nobody takes: %v", err)
	}
}

func TestStartOutlivesADeathOfTheActivation(t *testing.T) {
	h := newHost(t)
	unit, begun := units.Database(h.instance.Name), 0
	h.systemd.activate = func() {
		if h.systemd.jobs[len(h.systemd.jobs)-1] != "start "+unit {
			return
		}
		if begun++; begun < activations {
			h.systemd.killed(unit)
		} else {
			h.report(control.Progress{Phase: control.PhaseStarting})
		}
	}
	if code, err := h.Start(t.Context(), h.request("start")); code != ocf.Success || err != nil {
		t.Fatalf("%v, %v", code, err)
	}
	if begun != activations {
		t.Errorf("%d activations", begun)
	}
	if _, err := os.Stat(config.Ticket(h.instance.Name)); err != nil {
		t.Errorf("without a ticket the next activation does not start anything: %v", err)
	}
}

func TestStartThatFails(t *testing.T) {
	tests := []struct {
		name   string
		happen func(*host)
		want   ocf.Code
		says   string
	}{
		{"with the activation's code and reason", func(h *host) {
			h.report(control.Progress{Phase: control.PhaseFailed, Code: int(ocf.ErrInstalled), Detail: "no such image"})
		}, ocf.ErrInstalled, "no such image"},
		{"where the unit goes down without a word", func(h *host) {
			h.systemd.is(units.Database(h.instance.Name), "failed")
		}, ocf.ErrGeneric, "journalctl -u pgtwin@"},
		{"where the activation is killed again and again", func(h *host) {
			h.systemd.killed(units.Database(h.instance.Name))
		}, ocf.ErrGeneric, "result: signal"},
		{"where the activation never gets to work", func(h *host) {
			h.report(control.Progress{Phase: control.PhaseChecking})
		}, ocf.ErrGeneric, "waited for pgtwin@"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h := newHost(t)
			h.systemd.activate = func() { test.happen(h) }
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			defer cancel()
			code, err := h.Start(ctx, h.request("start"))
			if got := codeOf(code, err); got != test.want || !strings.Contains(err.Error(), test.says) {
				t.Errorf("%v: %v, want %v: %s", got, err, test.want, test.says)
			}
		})
	}
}

func TestStartOfAWrongConfigurationTouchesNothing(t *testing.T) {
	h := newHost(t)
	req := h.request("start")
	req.Params["rep_mode"] = "sometimes"
	code, err := h.Start(t.Context(), req)
	if got := codeOf(code, err); got != ocf.ErrConfigured || len(h.systemd.jobs) > 0 || len(h.systemd.installed) > 0 {
		t.Errorf("%v: %v; jobs %v", got, err, h.systemd.jobs)
	}
}
