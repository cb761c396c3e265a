package supervisor

import (
	"context"
	"errors"
	"slices"
	"time"

	"pgtwin/internal/ha"
	"pgtwin/internal/instance"
	"pgtwin/internal/pg"
)

// housePeriod is how often what a primary owes its peers is looked after.
const housePeriod = 10 * time.Second

// keepHouse does what needs no decision: a primary has the replication role and
// a checkpoint on its own timeline.
func (s *Supervisor) keepHouse(ctx context.Context) {
	if time.Since(s.houseAt) < housePeriod || s.conn == nil {
		return
	}
	s.houseAt = time.Now()
	ctx, cancel := context.WithTimeout(ctx, clusterTimeout)
	defer cancel()
	if s.seen.role != ha.Primary || s.view.Epoch.Node != s.Instance.Node {
		return
	}
	err := errors.Join(s.conn.EnsureReplicationRole(ctx, s.credential.User, s.credential.Password), s.ensureCheckpoint(ctx), s.askWish(ctx))
	if err != nil {
		s.Log.Warn("cannot complete the set-up", "error", err)
	}
}

// ensureCheckpoint writes the first checkpoint of a new timeline, before which
// pg_rewind would find nothing to do. It can take long, so it has a connection
// and a goroutine of its own.
func (s *Supervisor) ensureCheckpoint(ctx context.Context) error {
	c, err := pg.ReadControl(s.Instance.PGData)
	if err != nil || c.Timeline == s.seen.look.Timeline {
		return err
	}
	target := instance.Local(s.Instance)
	ctx = context.WithoutCancel(ctx)
	s.background.Go(func() {
		ctx, cancel := context.WithTimeout(ctx, housePeriod)
		defer cancel()
		conn, err := pg.Connect(ctx, target)
		if err == nil {
			err = errors.Join(conn.Checkpoint(ctx), conn.Close(ctx))
		}
		if err != nil {
			s.Log.Warn("cannot write the first checkpoint of the timeline", "error", err)
		}
	})
	return nil
}

// enforceLimit bounds a checkpoint that is waited for; a large one is begun
// anew, with less left to write.
const enforceLimit = 5 * time.Minute

// enforce makes sure that commits wait for the standbys that every session
// says they wait for. Sessions go by a flag that the checkpointer sets when it
// reads the configuration (SyncRepUpdateSyncStandbysDefined in syncrep.c), and
// it may be at work on a slow disk then. A checkpoint that is asked for now
// begins after it has.
func (s *Supervisor) enforce() {
	if s.seen.role != ha.Primary || s.enforced == s.settings || s.enforcing > 0 || !s.awaitsRecord() {
		return
	}
	s.enforcing = s.settings
	setting := s.settings
	target := instance.Local(s.Instance)
	s.background.Go(func() {
		limited, cancel := context.WithTimeout(s.life, enforceLimit)
		defer cancel()
		conn, err := pg.Connect(limited, target)
		if err == nil {
			err = errors.Join(conn.Checkpoint(limited), conn.Close(limited))
		}
		if err != nil {
			s.Log.Warn("cannot make sure that commits wait for the standbys", "error", err)
		}
		select {
		case s.enforcements <- enforcement{setting, err == nil}:
		case <-s.life.Done():
		}
	})
}

// awaitsRecord says whether a standby that commits are to wait for is not on
// record as complete.
func (s *Supervisor) awaitsRecord() bool {
	required := s.required()
	return s.view.Spare > s.spared() || slices.ContainsFunc(s.view.Nodes, func(m ha.Membership) bool {
		return m.InSync != s.view.Epoch.Number && slices.Contains(required, m.Node)
	})
}
