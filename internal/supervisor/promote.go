package supervisor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"pgtwin/internal/cluster"
	"pgtwin/internal/config"
	"pgtwin/internal/control"
	"pgtwin/internal/ha"
	"pgtwin/internal/pg"
)

// promote makes this standby the primary. The epoch is in the cluster before
// the promotion takes effect, and with it the note that every other host is
// behind: only then may a commit be acknowledged without a standby.
func (s *Supervisor) promote(ctx context.Context) error {
	if err := s.awaitServer(ctx); err != nil {
		return err
	}
	if s.seen.role == ha.Primary && s.view.Epoch.Node == s.Instance.Node {
		return nil
	}
	verdict, err := s.verdict(ctx)
	if err != nil {
		return err
	}
	if !verdict.OK {
		return fmt.Errorf("not promoted: %s", verdict.Why)
	}
	next := ha.NextPromotion(s.candidate(), ha.Mode(s.Instance.RepMode))
	s.Log.Info(fmt.Sprintf("promoting to timeline %d: %s", next.Epoch.Timeline, verdict.Why), "PGTWIN_EPOCH", next.Epoch.Number)
	if err := s.announce(ctx, next); err != nil {
		return fmt.Errorf("not promoted: %w", err)
	}
	if err := s.configure(ctx, "", next.Required, 0); err != nil {
		return err
	}
	if err := s.awaitRequired(ctx, next.Required); err != nil {
		return err
	}
	if err := pg.WriteMarkers(s.Instance.PGData, s.currentHistory(), next.Reserved); err != nil {
		return err
	}
	if err := s.conn.Promote(ctx); err != nil {
		return err
	}
	s.observe(ctx)
	return s.confirm(next.Epoch)
}

// leavePatience is how long a host that shuts down in good order may be neither
// a member nor confirmed down.
const leavePatience = 5 * time.Second

// verdict says whether this host may be promoted. It waits for a peer that is
// just leaving: a refusal costs a stop and a start.
func (s *Supervisor) verdict(ctx context.Context) (ha.Verdict, error) {
	progress := advance{at: time.Now()}
	for began := time.Now(); ; {
		if err := s.refresh(ctx); err != nil {
			return ha.Verdict{}, err
		}
		// The positions are asked for after the view: by then nobody can acknowledge more.
		catching, err := s.gather(ctx)
		if err != nil {
			return ha.Verdict{}, err
		}
		verdict := ha.Promotable(s.candidate())
		if catching && progress.stuck(s.seen.look.Position()) {
			return verdict, s.setScore(ctx, ha.LaggingScore) // the other shall be promoted
		}
		leaving := slices.ContainsFunc(others(s.view, s.Instance.Node), func(m ha.Membership) bool { return m.Unclean })
		leaving = leaving || ha.Elects(s.candidate()) // a peer may be about to answer
		if verdict.OK || !catching && (!leaving || time.Since(began) > leavePatience) {
			return verdict, nil
		}
		select {
		case <-ctx.Done():
			return verdict, nil
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// awaitServer waits until PostgreSQL answers. Where the activation waits to be
// chosen, this is the choice.
func (s *Supervisor) awaitServer(ctx context.Context) error {
	granted := false
	for {
		s.observe(ctx)
		switch {
		case s.seen.role == ha.Standby, s.seen.role == ha.Primary:
			return nil
		case s.seen.progress.Phase == control.PhaseFailed:
			return errors.New(s.seen.progress.Detail)
		case s.seen.progress.Phase == control.PhaseWaiting && !granted:
			if err := os.WriteFile(config.Grant(s.Instance.Name), nil, 0o600); err != nil {
				return fmt.Errorf("cannot let the activation go on: %w", err)
			}
			granted = true
		}
		s.show(ctx)
		select {
		case <-ctx.Done():
			return fmt.Errorf("not promoted: PostgreSQL is %s (%s)", s.seen.role, s.seen.progress.Phase)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// announce records the promotion, and again, of a higher rank, once every
// member knows of it: one recorded in a split that does not get so far is
// outvoted by the one that does.
func (s *Supervisor) announce(ctx context.Context, next ha.Promotion) error {
	if next.Epoch != s.view.Epoch { // as it is where one that was begun is gone on with
		if err := s.record(ctx, next); err != nil {
			return err
		}
	}
	if err := s.spread(ctx, next.Epoch); err != nil {
		return err
	}
	return s.write(ctx, ha.KnownRank, cluster.Record{})
}

func (s *Supervisor) record(ctx context.Context, next ha.Promotion) error {
	if err := s.write(ctx, ha.PromotionRank, cluster.Record{Epoch: &next.Epoch, InSync: next.InSync}); err != nil {
		return err
	}
	s.view.Epoch, s.view.Spare = next.Epoch, 0
	for i := range s.view.Nodes {
		s.view.Nodes[i].InSync = next.InSync[s.view.Nodes[i].Node]
	}
	s.memory.Promoted(time.Now(), others(s.view, s.Instance.Node))
	// What was accepted holds for this promotion alone.
	if err := os.Remove(config.AcceptLoss(s.Instance.Name)); err != nil && !errors.Is(err, os.ErrNotExist) {
		s.Log.Warn("the next promotion, too, would accept a loss", "error", err)
	}
	return nil
}

// peerPatience is how long a peer may take to show its copy of the records. One
// that is cut off or hangs is not a member any more soon after.
const peerPatience = time.Second

// spread returns when no peer can act on an older record: each has the new one
// in its copy, or is confirmed down. Without that a promotion recorded in the
// moment of a split would be known on this side alone, and the other side,
// should it win the fencing, would go on where the old record says.
func (s *Supervisor) spread(ctx context.Context, epoch ha.Epoch) error {
	for {
		peer, err := s.ignorant(ctx, epoch)
		if peer == "" || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s does not show that it knows of epoch %d", peer, epoch.Number)
		case <-time.After(20 * time.Millisecond):
		}
		if err := s.refresh(ctx); err != nil {
			return err
		}
	}
}

// ignorant is a peer that may not know of the epoch, "" if there is none.
func (s *Supervisor) ignorant(ctx context.Context, epoch ha.Epoch) (string, error) {
	copies, missed := 1, ""
	for _, peer := range others(s.view, s.Instance.Node) {
		if peer.Unclean && s.view.Fencing {
			return peer.Node, fmt.Errorf("%s may be running, and may not know of epoch %d", peer.Node, epoch.Number)
		}
		if !peer.Online {
			missed = peer.Node
			continue
		}
		asking, cancel := context.WithTimeout(ctx, peerPatience)
		knows, err := s.Cluster.Knows(asking, peer.Node, epoch)
		cancel()
		if err != nil {
			s.Log.Warn("a peer does not show its records", "peer", peer.Node, "error", err)
		}
		if !knows {
			return peer.Node, nil
		}
		copies++
	}
	if !ha.KnownByEnough(copies, len(s.view.Nodes)) {
		return missed, nil
	}
	return "", nil
}

// confirm compares what PostgreSQL did with what was recorded.
func (s *Supervisor) confirm(epoch ha.Epoch) error {
	if s.seen.role != ha.Primary {
		return fmt.Errorf("PostgreSQL is %s after its promotion: %w", s.seen.role, s.seen.err)
	}
	if got := s.seen.look.Timeline; got != epoch.Timeline {
		return fmt.Errorf("PostgreSQL went to timeline %d, recorded is %d: another host may use it", got, epoch.Timeline)
	}
	s.know(epoch)
	s.Log.Info(fmt.Sprintf("primary on timeline %d", epoch.Timeline), "PGTWIN_ROLE", "primary", "PGTWIN_EPOCH", epoch.Number)
	s.houseAt = time.Time{}
	s.changed = time.Now()
	return nil
}
