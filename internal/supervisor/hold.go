package supervisor

import (
	"context"

	"pgtwin/internal/ha"
	"pgtwin/internal/pg"
	"pgtwin/internal/postmaster"
)

// hold is why the replay of a standby stands still, or will, in a way that a promotion does not lift.
type hold struct {
	why string // "": it does not
}

// replaySettings are those of one server that can hold its replay.
type replaySettings struct {
	of     *postmaster.Process // the server; nil: not asked for
	replay pg.Replay
}

// askHold finds out whether the replay of a standby is held. PostgreSQL pauses it where a setting is
// below the primary's (RecoveryRequiresIntParameter in xlogrecovery.c), and ends with it when the
// pause is lifted, by a promotion too; at a recovery target it is promoted short of what it has
// received. What decides is fixed at the start of a server, and is asked for once.
func (s *Supervisor) askHold(ctx context.Context, look pg.Look) hold {
	if !look.InRecovery {
		return hold{}
	}
	if s.replay.of != s.server {
		ctx, cancel := context.WithTimeout(ctx, lookTimeout)
		defer cancel()
		replay, err := s.conn.AskReplay(ctx)
		if err != nil {
			s.Log.Debug("cannot tell whether the replay is held", "error", err)
			return hold{}
		}
		s.replay = replaySettings{s.server, replay}
	}
	if target := s.replay.replay.Target; target != "" {
		return hold{"replay ends at a recovery target, and what is received beyond it would be lost: " + target}
	}
	if !look.ReplayPaused {
		return hold{}
	}
	control, err := pg.ReadControl(s.Instance.PGData)
	if err != nil {
		s.Log.Debug("cannot read what the primary requires", "error", err)
		return hold{}
	}
	if short := s.replay.replay.Running.Short(control.Required); short != "" {
		return hold{"PostgreSQL has paused it, because " + short}
	}
	return hold{}
}

// leave declares this standby behind, as one does that is about to stop.
func (s *Supervisor) leave(ctx context.Context, a ha.Action) error {
	s.Log.Warn("this standby declares itself behind: " + a.Why)
	if err := s.refresh(ctx); err != nil {
		return err
	}
	// The view on which it was decided may be old.
	if !s.view.Quorate || s.self().InSync != s.view.Epoch.Number {
		return nil
	}
	return s.declareBehind(ctx)
}
