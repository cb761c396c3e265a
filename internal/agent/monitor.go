package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"time"

	"pgtwin/internal/config"
	"pgtwin/internal/control"
	"pgtwin/internal/ha"
	"pgtwin/internal/ocf"
	"pgtwin/internal/units"
)

// Monitor reports the role. The usual answer costs one question on the control
// socket; only when that does not settle it are systemd and the processes
// asked. Nothing is taken for stopped without proof.
func (a *Agent) Monitor(ctx context.Context, req ocf.Request) (ocf.Code, error) {
	for began := time.Now(); ; {
		code, err := a.monitorOnce(ctx, req)
		if !errors.Is(err, errMeanwhile) || time.Since(began) > courtesy {
			return code, err
		}
		select {
		case <-ctx.Done():
			return code, err
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// errMeanwhile is for answers that do not go together: an activation came to its
// end after the supervisor had been asked, and before systemd was.
var errMeanwhile = errors.New("the supervisor does not know of its server yet")

func (a *Agent) monitorOnce(ctx context.Context, req ocf.Request) (ocf.Code, error) {
	// The socket's name is all that the usual answer needs of the instance.
	i := config.Instance{Name: given(req, "container_name")}
	answer, err := a.askUntilKnown(ctx, i, patience(req))
	st := answer.State
	switch {
	case err == nil && (st.Role == ha.Primary || st.Role == ha.Standby):
		return running(st, req.Probe)
	// A peer takes over: Pacemaker is about to demote this host because of its
	// score. Reported now, the failure would add a stop and a start that the
	// promotion of the peer waits for. A monitor that waited would be waited for
	// itself, where it is part of the transition at hand, as a probe is.
	case err == nil && st.Yielding:
		return ocf.RunningPromoted, nil
	}
	i, errRead := a.running(req)
	switch {
	case errRead != nil:
		return ocf.Success, errRead
	case err != nil:
		return a.monitorAlone(ctx, i, err)
	case st.Role == ha.Unknown:
		return ocf.Success, errors.New(first(st.Warnings, "PostgreSQL does not answer"))
	}
	return a.monitorDown(ctx, i, st.Phase)
}

// askUntilKnown asks again while PostgreSQL runs and does not answer: a server
// that is slow for some seconds is not to be restarted, unless a peer takes over.
func (a *Agent) askUntilKnown(ctx context.Context, i config.Instance, patience time.Duration) (control.Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		answer, err := control.Ask(ctx, config.ControlSocket(i.Name), control.Status)
		if err != nil || answer.State.Role != ha.Unknown || answer.State.Yielding {
			return answer, err
		}
		select {
		case <-ctx.Done():
			return answer, nil
		case <-time.After(500 * time.Millisecond):
		}
	}
}

// patience leaves time for a second opinion.
func patience(req ocf.Request) time.Duration { return (req.Timeout - req.Margin()) / 2 }

// degradedAfter is how long something is unusual before Pacemaker is told: it
// keeps what it is told in the list of failures until that is cleaned up.
const degradedAfter = time.Minute

// running is the code for a server that answers. A probe is asked for the role
// alone.
func running(st control.State, probe bool) (ocf.Code, error) {
	code, degraded := ocf.Success, ocf.Degraded
	if st.Role == ha.Primary {
		code, degraded = ocf.RunningPromoted, ocf.DegradedPromoted
	}
	if probe || len(st.Warnings) == 0 || time.Since(st.WarnedSince) < degradedAfter {
		return code, nil
	}
	return degraded, errors.New(st.Warnings[0])
}

// monitorDown is for an instance whose PostgreSQL does not run: it is active
// all the same while its activation works.
func (a *Agent) monitorDown(ctx context.Context, i config.Instance, phase control.Phase) (ocf.Code, error) {
	systemd, err := a.connect(ctx)
	if err != nil {
		return ocf.Success, err
	}
	state, err := systemd.State(ctx, units.Database(i.Name))
	if err != nil {
		return ocf.Success, err
	}
	switch {
	case state.ActiveState == "activating", state.Job != 0:
		return ocf.Success, nil // at work, or between a demotion and the standby
	case state.ActiveState == "active" && phase == control.PhaseRunning, state.ActiveState == "deactivating":
		return ocf.Success, fmt.Errorf("PostgreSQL has ended, %s is %s", units.Database(i.Name), state.ActiveState)
	}
	gone, err := a.gone(ctx, i)
	switch {
	case err != nil:
		return ocf.Success, err
	case gone:
		return ocf.NotRunning, nil
	case state.ActiveState == "active":
		return ocf.Success, fmt.Errorf("%s is active: %w", units.Database(i.Name), errMeanwhile)
	}
	return ocf.Success, fmt.Errorf("%s is %s and still has processes", units.Database(i.Name), state.ActiveState)
}

// monitorAlone judges without the supervisor.
func (a *Agent) monitorAlone(ctx context.Context, i config.Instance, why error) (ocf.Code, error) {
	gone, err := a.gone(ctx, i)
	if err != nil {
		return ocf.Success, err
	}
	if gone {
		return ocf.NotRunning, nil
	}
	a.Log.Warn("looking without the supervisor", "error", why)
	st, err := a.look(ctx, i)
	if err != nil {
		return ocf.Success, err
	}
	if st.Role == ha.Primary || st.Role == ha.Standby {
		return running(st, true)
	}
	return a.monitorDown(ctx, i, st.Phase)
}

// look lets the helper ask PostgreSQL once.
func (a *Agent) look(ctx context.Context, i config.Instance) (control.State, error) {
	var st control.State
	out, err := exec.CommandContext(ctx, a.Helper, "look", i.Name).Output()
	if err != nil {
		return st, fmt.Errorf("cannot look at PostgreSQL: %w", err)
	}
	if err := json.Unmarshal(out, &st); err != nil {
		return st, fmt.Errorf("cannot read what pgtwin-helper look says: %w", err)
	}
	return st, nil
}

func first(texts []string, otherwise string) string {
	if len(texts) > 0 {
		return texts[0]
	}
	return otherwise
}
