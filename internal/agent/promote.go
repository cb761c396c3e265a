package agent

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"pgtwin/internal/config"
	"pgtwin/internal/control"
	"pgtwin/internal/ha"
	"pgtwin/internal/ocf"
	"pgtwin/internal/postmaster"
	"pgtwin/internal/units"
)

// Promote lets the supervisor check, record and promote.
func (a *Agent) Promote(ctx context.Context, req ocf.Request) (ocf.Code, error) {
	i, err := a.running(req)
	if err != nil {
		return ocf.Success, err
	}
	if err := a.catchUp(ctx, req, i); err != nil {
		return ocf.Success, err
	}
	answer, err := a.ask(ctx, i, control.Promote)
	if err == nil && answer.Error != "" {
		err = errors.New(answer.Error)
	}
	return ocf.Success, err
}

// catchUp takes over parameters that have changed since this host was told.
// Pacemaker orders no reload on a host that it has demoted: of a demotion it
// does not compare the parameters (seen with 3.0.0), and a primary
// would acknowledge commits by a rep_mode of before.
func (a *Agent) catchUp(ctx context.Context, req ocf.Request, known config.Instance) error {
	now, err := a.configure(req)
	if err != nil {
		a.Log.Warn("promoting with the parameters of before, the present ones are wrong", "error", err)
		return nil
	}
	if reflect.DeepEqual(now, known) {
		return nil
	}
	a.Log.Info("taking over parameters that have changed", "rep_mode", now.RepMode)
	_, err = a.Reload(ctx, req)
	return err
}

// Demote ends the primary and lets it come back as a standby. It returns as
// soon as the server is proven to be gone, because the promotion elsewhere
// waits for it; the activation as a standby goes on in the background.
func (a *Agent) Demote(ctx context.Context, req ocf.Request) (ocf.Code, error) {
	i, err := a.running(req)
	if err != nil {
		return ocf.Success, err
	}
	if _, err := a.connect(ctx); err != nil {
		return ocf.Success, err
	}
	state, err := a.systemd.State(ctx, units.Database(i.Name))
	if err != nil {
		return ocf.Success, err
	}
	answer, errAsk := a.try(ctx, i, control.Status, courtesy)
	// An answer that does not come proves nothing.
	if errAsk == nil && unpromoted(answer.State, state) {
		return ocf.Success, nil
	}
	if err := order(i, control.IntentDemote); err != nil {
		return ocf.Success, err
	}
	servers, err := postmaster.Servers(i.PGData)
	if err != nil {
		return ocf.Success, err
	}
	switch {
	case len(servers) == 0:
	case hangs(i, answer):
		if err := a.kill(ctx, i); err != nil {
			return ocf.Success, err
		}
	default:
		a.shutdown(ctx, req, i)
	}
	if stopFollows(req) {
		return ocf.Success, a.stopDatabase(ctx, i)
	}
	if err := a.reactivate(ctx, i, state); err != nil {
		return ocf.Success, err
	}
	return ocf.Success, awaitGone(ctx, servers)
}

// unpromoted says whether there is nothing to demote: the server is known to
// be a standby, or its activation has not got as far as a server.
func unpromoted(st control.State, unit units.State) bool {
	return st.Role == ha.Standby ||
		st.Role == ha.Down && unit.ActiveState == "activating" && st.Phase != control.PhaseRunning
}

// recent is how old a state may be that the supervisor has left, where it does
// not answer: looking at a hung server, it is slow itself.
const recent = 10 * time.Second

// hangs says whether the server runs and does not answer, or cannot write, by
// the supervisor's answer or, where it is too busy for one, by what it wrote
// last.
func hangs(i config.Instance, answer control.Answer) bool {
	st := answer.State
	if st.Role == "" && control.ReadJSON(config.StatusFile(i.Name), &st) != nil {
		return false
	}
	return (st.Role == ha.Unknown || st.Stalled) && time.Since(st.Updated) < recent
}

// hangPatience is how long a server that does not answer may take to end at
// once: a clean end would only spare it the crash recovery.
const hangPatience = 2 * time.Second

// killPatience is how long a killed server may take to end. One that hangs in
// the kernel, on input or output, does not end before that does: then fencing,
// which follows a failed stop, is what gets the service back.
const killPatience = 10 * time.Second

// kill ends a server that hangs: the whole stop_timeout would be spent on
// nothing, and clients wait.
func (a *Agent) kill(ctx context.Context, i config.Instance) error {
	a.Log.Warn("PostgreSQL hangs: it is killed if it does not end at once")
	ladder := postmaster.Ladder{Immediate: hangPatience}
	ctx, cancel := context.WithTimeout(ctx, hangPatience+killPatience)
	defer cancel()
	return postmaster.Shutdown(ctx, i.PGData, a.Log, ladder)
}

// shutdown begins the fast shutdown itself, before systemd gets to it: what is
// on disk already need not be written while clients wait, and every moment of
// this is part of a switchover.
func (a *Agent) shutdown(ctx context.Context, req ocf.Request, i config.Instance) {
	if _, err := a.try(ctx, i, control.Checkpoint, checkpointPatience(req)); err != nil {
		a.Log.Info("shutting down without a checkpoint before", "error", err)
	}
	server, err := postmaster.Find(i.PGData)
	if err == nil && server != nil {
		err = server.Signal(unix.SIGINT)
	}
	if err != nil {
		a.Log.Info("leaving the shutdown to systemd", "error", err)
	}
}

func checkpointPatience(req ocf.Request) time.Duration { return req.Timeout / 3 }

// stopFollows says whether this node's instance is stopped next; Pacemaker
// tells only clones with notifications (Pacemaker Administration, "Clone
// Resource Agent Requirements").
func stopFollows(req ocf.Request) bool { return slices.Contains(req.Notify.Stop, req.Node) }

// reactivate restarts the unit, or starts it where the server has died. When
// the host is being shut down systemd takes no more starts; then only the stop
// is due.
func (a *Agent) reactivate(ctx context.Context, i config.Instance, state units.State) error {
	if state.Stopped() {
		return a.activate(ctx, i, control.IntentDemote)
	}
	if err := allow(i, control.IntentDemote); err != nil {
		return err
	}
	if err := remove(config.Grant(i.Name)); err != nil {
		return err
	}
	err := a.systemd.Queue(ctx, units.Restart, units.Database(i.Name))
	if err == nil {
		return nil
	}
	a.Log.Warn("systemd takes no restart, stopping", "error", err)
	return errors.Join(remove(config.Ticket(i.Name)), a.stopDatabase(ctx, i))
}

// awaitGone waits for the old server alone, the postmaster's orphans included:
// what runs in the data directory after it is the activation as a standby.
func awaitGone(ctx context.Context, servers []postmaster.Process) error {
	for _, p := range servers {
		if err := p.Done(ctx); err != nil {
			return fmt.Errorf("waited for PostgreSQL (process %d) to shut down: %w", p.PID, context.Cause(ctx))
		}
	}
	return nil
}

// Notify has nothing to do: existing configurations set notify=true, and every
// round delays a failover.
func (a *Agent) Notify(context.Context, ocf.Request) (ocf.Code, error) {
	return ocf.Success, nil
}
