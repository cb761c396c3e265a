package agent

import (
	"context"
	"fmt"
	"time"

	"pgtwin/internal/config"
	"pgtwin/internal/control"
	"pgtwin/internal/ha"
	"pgtwin/internal/ocf"
	"pgtwin/internal/postmaster"
	"pgtwin/internal/units"
)

// courtesy bounds what a stop does for others before it stops: it must
// succeed without them.
const courtesy = 3 * time.Second

// farewell is how long a standby stays for commits to stop waiting for it: with a
// third host they do when that knows of it for certain (ha.SplitPatience).
const farewell = 6 * time.Second

// Stop stops the instance. It depends on no parameter but the name, no
// connection, no registry and no free disk space, and succeeds on what does
// not run.
func (a *Agent) Stop(ctx context.Context, req ocf.Request) (ocf.Code, error) {
	i, err := a.running(req)
	if err != nil {
		a.Log.Warn("stopping by the parameters: the instance file is not readable", "error", err)
		i = config.Instance{Name: given(req, "container_name"), PGData: given(req, "pgdata"), Resource: req.Resource, Node: req.Node}
	}
	if _, err := a.connect(ctx); err != nil {
		return ocf.Success, err
	}
	if err := remove(config.Ticket(i.Name)); err != nil {
		a.Log.Warn("cannot take back the start ticket", "error", err)
	}
	if gone, err := a.gone(ctx, i); err != nil {
		return ocf.Success, err
	} else if !gone {
		hung := a.bidFarewell(ctx, i)
		if err := order(i, control.IntentStop); err != nil {
			a.Log.Warn("the supervisor will take the stop for a crash", "error", err)
		}
		if hung {
			if err := a.kill(ctx, i); err != nil {
				return ocf.Success, err
			}
		}
		if err := a.stopDatabase(ctx, i); err != nil {
			return ocf.Success, err
		}
	}
	a.stopRest(ctx, i)
	return ocf.Success, nil
}

// bidFarewell tells the primary, before a standby stops, not to wait for it,
// and Pacemaker not to promote what is not there. It is answered whether the
// server hangs.
func (a *Agent) bidFarewell(ctx context.Context, i config.Instance) (hung bool) {
	answer, err := a.try(ctx, i, control.Release, farewell)
	if err != nil {
		a.Log.Info("the supervisor does not answer", "error", err)
	} else if answer.Error != "" {
		a.Log.Warn("commits may wait for this standby: " + answer.Error)
	}
	ctxScore, cancel := context.WithTimeout(ctx, courtesy)
	defer cancel()
	if err := scores(i).SetScore(ctxScore, i.Node, ha.Minus); err != nil {
		a.Log.Info("the promotion score stays", "error", err)
	}
	return hangs(i, answer)
}

func (a *Agent) stopDatabase(ctx context.Context, i config.Instance) error {
	err := a.systemd.Stop(ctx, units.Database(i.Name))
	if err != nil {
		a.Log.Warn("systemd does not stop the unit", "error", err)
	}
	// Also what was started without us, or has outlived its unit.
	ladder := postmaster.Ladder{Fast: 10 * time.Second, Immediate: 5 * time.Second}
	if err := postmaster.Shutdown(ctx, i.PGData, a.Log, ladder); err != nil {
		return err
	}
	gone, errGone := a.gone(ctx, i)
	switch {
	case errGone != nil:
		return errGone
	case gone:
		return nil
	case err != nil:
		return err
	}
	return fmt.Errorf("%s still has processes: see systemctl status %[1]s", units.Database(i.Name))
}

// stopRest ends what only watches.
func (a *Agent) stopRest(ctx context.Context, i config.Instance) {
	for _, unit := range []string{units.Supervisor(i.Name), units.Socket(i.Name), units.StatusServer(i.Name)} {
		if err := a.systemd.Stop(ctx, unit); err != nil {
			a.Log.Warn("cannot stop a unit that only watches", "unit", unit, "error", err)
		}
	}
	if err := remove(config.ProgressFile(i.Name), config.StatusFile(i.Name)); err != nil {
		a.Log.Warn("an old state stays visible", "error", err)
	}
}
