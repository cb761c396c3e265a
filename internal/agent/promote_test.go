package agent

import (
	"errors"
	"os"
	"slices"
	"testing"
	"time"

	"pgtwin/internal/config"
	"pgtwin/internal/control"
	"pgtwin/internal/ha"
	"pgtwin/internal/ocf"
	"pgtwin/internal/units"
)

// Pacemaker orders no reload on a host that it has demoted.
func TestAPromotionGoesByTheParametersOfNow(t *testing.T) {
	h := newHost(t)
	h.systemd.is(units.Database(h.instance.Name), "active")
	asked := h.supervise(func(control.Verb) control.Answer { return control.Answer{State: control.State{Role: ha.Primary}} })
	promote := func(mode string) {
		t.Helper()
		req := h.request("promote")
		req.Params["rep_mode"] = mode
		if code, err := h.Promote(t.Context(), req); code != ocf.Success || err != nil {
			t.Fatalf("%v, %v", code, err)
		}
	}
	promote("async")
	promote("async")
	promote("sync")
	if want := []control.Verb{control.Reload, control.Promote, control.Promote, control.Reload, control.Promote}; !slices.Equal(asked(), want) {
		t.Errorf("asked %v, want %v", asked(), want)
	}
	if i, err := config.ReadInstance(h.instance.Name); err != nil || i.RepMode != "sync" {
		t.Errorf("the supervisor goes by rep_mode=%s, %v", i.RepMode, err)
	}
	req := h.request("promote")
	req.Params["rep_mode"] = "what"
	if code, err := h.Promote(t.Context(), req); code != ocf.Success || err != nil {
		t.Errorf("a wrong parameter keeps the cluster without a primary: %v, %v", code, err)
	}
}

func TestDemoteBringsTheInstanceBackAsAStandby(t *testing.T) {
	tests := []struct {
		name   string
		unit   string
		stops  []string // nodes that Pacemaker stops next
		refuse bool     // systemd takes no restart
		job    string
		ticket bool
	}{
		{"by a restart of its unit", "active", nil, false, "restart", true},
		{"by a start where the server has died", "failed", nil, false, "start", true},
		{"unless a stop follows", "active", []string{"h1"}, false, "stop", false},
		{"though another node's stop follows", "active", []string{"h2"}, false, "restart", true},
		{"unless the host is being shut down", "active", nil, true, "stop", false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h := newHost(t)
			database := units.Database(h.instance.Name)
			h.systemd.is(database, test.unit)
			h.systemd.refuse = func(verb units.Verb, _ string) error {
				if test.refuse && verb == units.Restart {
					return errors.New("shutdown is in progress")
				}
				return nil
			}
			must(t, os.WriteFile(config.Grant(h.instance.Name), nil, 0o600))
			h.supervise(func(control.Verb) control.Answer { return control.Answer{State: control.State{Role: ha.Primary}} })
			req := h.request("demote")
			req.Notify.Stop = test.stops
			if code, err := h.Demote(t.Context(), req); code != ocf.Success || err != nil {
				t.Fatalf("%v, %v", code, err)
			}
			if !slices.Equal(h.systemd.jobs, []string{test.job + " " + database}) {
				t.Errorf("jobs %v", h.systemd.jobs)
			}
			var ticket control.Ticket
			err := control.ReadJSON(config.Ticket(h.instance.Name), &ticket)
			if test.ticket != (err == nil && ticket.Intent == control.IntentDemote) {
				t.Errorf("ticket %+v, %v", ticket, err)
			}
			if _, err := os.Stat(config.Grant(h.instance.Name)); test.ticket && !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the grant outlives the demotion: %v", err)
			}
			if h.intent() != control.IntentDemote {
				t.Errorf("intent %s", h.intent())
			}
		})
	}
}

// The agent begins the shutdown itself: systemd gets to it later, and clients wait.
func TestDemoteShutsTheServerDown(t *testing.T) {
	h := newHost(t)
	ended := h.server()
	h.systemd.is(units.Database(h.instance.Name), "active")
	asked := h.supervise(func(control.Verb) control.Answer { return control.Answer{State: control.State{Role: ha.Primary}} })
	if code, err := h.Demote(t.Context(), h.request("demote")); code != ocf.Success || err != nil {
		t.Fatalf("%v, %v", code, err)
	}
	<-ended
	if !slices.Equal(asked(), []control.Verb{control.Status, control.Checkpoint}) {
		t.Errorf("asked %v", asked())
	}
}

func TestDemoteOfWhatIsNoPrimaryIsDone(t *testing.T) {
	tests := []struct {
		name  string
		unit  string
		state control.State
		jobs  int
	}{
		{"a standby", "active", control.State{Role: ha.Standby, Phase: control.PhaseRunning}, 0},
		{"an activation without a server", "activating", control.State{Role: ha.Down, Phase: control.PhaseCloning}, 0},
		{"but a primary that has died comes back", "active", control.State{Role: ha.Down, Phase: control.PhaseRunning}, 1},
		{"and one that does not answer, too", "active", control.State{Role: ha.Unknown, Phase: control.PhaseRunning}, 1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h := newHost(t)
			h.systemd.is(units.Database(h.instance.Name), test.unit)
			h.supervise(func(control.Verb) control.Answer { return control.Answer{State: test.state} })
			if code, err := h.Demote(t.Context(), h.request("demote")); code != ocf.Success || err != nil {
				t.Fatalf("%v, %v", code, err)
			}
			if len(h.systemd.jobs) != test.jobs {
				t.Errorf("jobs %v, want %d", h.systemd.jobs, test.jobs)
			}
		})
	}
}

func TestPromoteIsTheSupervisorsToRefuse(t *testing.T) {
	for refusal, want := range map[string]ocf.Code{"": ocf.Success, "not promoted: no quorum": ocf.ErrGeneric} {
		h := newHost(t)
		started, err := h.configure(h.request("start"))
		must(t, err)
		must(t, started.WriteFile(config.InstanceFile(h.instance.Name)))
		asked := h.supervise(func(control.Verb) control.Answer { return control.Answer{Error: refusal} })
		code, err := h.Promote(t.Context(), h.request("promote"))
		if got := codeOf(code, err); got != want || refusal != "" && err.Error() != refusal {
			t.Errorf("%v: %v, want %v", got, err, want)
		}
		if !slices.Equal(asked(), []control.Verb{control.Promote}) {
			t.Errorf("asked %v", asked())
		}
	}
}

func TestWhenAServerIsTakenForHung(t *testing.T) {
	unknown := func(age time.Duration) control.State {
		return control.State{Role: ha.Unknown, Updated: time.Now().Add(-age)}
	}
	busy := control.State{} // the supervisor had no time for an answer
	tests := []struct {
		name    string
		answer  control.State
		written *control.State
		want    bool
	}{
		{"the supervisor says so", unknown(time.Second), nil, true},
		{"the supervisor says otherwise, whatever it wrote before", control.State{Role: ha.Primary, Updated: time.Now()}, new(unknown(0)), false},
		{"the supervisor has just written so", busy, new(unknown(4 * time.Second)), true},
		{"the supervisor wrote so long ago", busy, new(unknown(time.Minute)), false},
		{"nothing is known", busy, nil, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h := newHost(t)
			if test.written != nil {
				must(t, control.WriteJSON(config.StatusFile(h.instance.Name), test.written, 0o644))
			}
			if got := hangs(h.instance, control.Answer{State: test.answer}); got != test.want {
				t.Errorf("hung: %t, want %t", got, test.want)
			}
		})
	}
}
