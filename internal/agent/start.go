package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"pgtwin/internal/config"
	"pgtwin/internal/control"
	"pgtwin/internal/ocf"
	"pgtwin/internal/units"
)

// Start renders the instance and starts its units. It returns when the
// activation has taken over: a promotion elsewhere may be waiting for this
// start, and a rewind or a clone can take hours.
func (a *Agent) Start(ctx context.Context, req ocf.Request) (_ ocf.Code, err error) {
	defer func() { err = control.NoRoom(err) }()
	i, err := a.configure(req)
	if err != nil {
		return ocf.Success, err
	}
	systemd, err := a.connect(ctx)
	if err != nil {
		return ocf.Success, err
	}
	state, err := systemd.State(ctx, units.Database(i.Name))
	if err != nil {
		return ocf.Success, err
	}
	if err := a.render(ctx, i); err != nil {
		return ocf.Success, err
	}
	if err := order(i, control.IntentRun); err != nil {
		return ocf.Success, err
	}
	if state.Stopped() {
		if err := a.activate(ctx, i, control.IntentRun); err != nil {
			return ocf.Success, err
		}
	}
	if err := a.watch(ctx, i); err != nil {
		return ocf.Success, err
	}
	return ocf.Success, a.awaitTakeover(ctx, i)
}

// render writes the instance file and the units' drop-ins.
func (a *Agent) render(ctx context.Context, i config.Instance) error {
	if err := os.MkdirAll(config.RunDir(i.Name), 0o755); err != nil {
		return fmt.Errorf("cannot make the run-time directory: %w", err)
	}
	if err := i.WriteFile(config.InstanceFile(i.Name)); err != nil {
		return err
	}
	files, err := units.DropIns(i)
	if err != nil {
		return err
	}
	_, err = a.systemd.Install(ctx, files)
	return err
}

// activate queues the start of the database unit.
func (a *Agent) activate(ctx context.Context, i config.Instance, intent control.Intent) error {
	if err := remove(config.ProgressFile(i.Name), config.Grant(i.Name)); err != nil {
		return err
	}
	if err := allow(i, intent); err != nil {
		return err
	}
	unit := units.Database(i.Name)
	if err := a.systemd.ResetFailed(ctx, unit); err != nil {
		a.Log.Debug("cannot reset the unit", "error", err)
	}
	return a.systemd.Queue(ctx, units.Start, unit)
}

// watch starts the supervisor and the status socket. The socket is a service
// to others: its failure is not the database's.
func (a *Agent) watch(ctx context.Context, i config.Instance) error {
	if err := a.systemd.Queue(ctx, units.Start, units.Supervisor(i.Name)); err != nil {
		return err
	}
	if err := a.systemd.Queue(ctx, units.Start, units.Socket(i.Name)); err != nil {
		a.Log.Warn("the status socket is not available", "error", err)
	}
	return nil
}

// activations is how often a start tries, where the activation was killed. A
// start that fails is final to Pacemaker (start-failure-is-fatal): the database
// would stay down on this node until somebody cleans up.
const activations = 3

// awaitTakeover waits until the activation has looked at everything that can
// be wrong and gone to work.
func (a *Agent) awaitTakeover(ctx context.Context, i config.Instance) error {
	for tried := 1; ; {
		var p control.Progress
		err := control.ReadJSON(config.ProgressFile(i.Name), &p)
		switch {
		case err != nil && !errors.Is(err, os.ErrNotExist):
			return err
		case err == nil && p.Phase == control.PhaseFailed:
			return &ocf.Error{Code: ocf.Code(p.Code), Err: errors.New(p.Detail)}
		case err == nil && p.Phase != control.PhaseChecking:
			return nil
		}
		state, err := a.systemd.State(ctx, units.Database(i.Name))
		if err != nil {
			return err
		}
		if state.Stopped() && state.Job == 0 {
			if !state.Killed() || tried == activations {
				return a.whyDown(i, state)
			}
			tried++
			a.Log.Warn("the start was killed, trying again", "unit", units.Database(i.Name), "state", state.String(), "attempt", tried)
			if err := a.activate(ctx, i, control.IntentRun); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waited for %s to take over the start: %w", units.Database(i.Name), context.Cause(ctx))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// whyDown explains a unit that went down before it reported anything.
func (a *Agent) whyDown(i config.Instance, state units.State) error {
	var p control.Progress
	if err := control.ReadJSON(config.ProgressFile(i.Name), &p); err == nil && p.Phase == control.PhaseFailed {
		return &ocf.Error{Code: ocf.Code(p.Code), Err: errors.New(p.Detail)}
	}
	return fmt.Errorf("%s is %s: see journalctl -u %[1]s", units.Database(i.Name), state)
}

// Reload takes over changed parameters that need no restart.
func (a *Agent) Reload(ctx context.Context, req ocf.Request) (ocf.Code, error) {
	i, err := a.configure(req)
	if err != nil {
		return ocf.Success, err
	}
	if _, err := a.connect(ctx); err != nil {
		return ocf.Success, err
	}
	if err := a.render(ctx, i); err != nil {
		return ocf.Success, err
	}
	answer, err := a.ask(ctx, i, control.Reload)
	if err == nil && answer.Error != "" {
		err = errors.New(answer.Error)
	}
	return ocf.Success, err
}
