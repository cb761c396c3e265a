package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"pgtwin/internal/control"
	"pgtwin/internal/ha"
	"pgtwin/test/lab"
)

// poll is how often a condition is looked at: seldom enough not to disturb what the clients measure meanwhile.
const poll = 300 * time.Millisecond

// crmPause keeps crm_mon, which takes 0.1 s of a processor, away from the failover that the clients measure.
const crmPause = 1500 * time.Millisecond

// Await looks again and again until missing returns nil. Where the context ends first, the error says what was missing.
func Await(ctx context.Context, what string, missing func(context.Context) error) error {
	tick := time.NewTicker(poll)
	defer tick.Stop()
	last := errors.New("not looked at")
	for {
		// A look that the deadline has interrupted says less than the one before it.
		err := missing(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() == nil {
			last = err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("cannot wait any longer for %s: %w", what, last)
		}
	}
}

// AwaitPrimary returns when h is primary, by its own and by Pacemaker's account, and has the virtual address. With nil
// any host will do.
func (c *Cluster) AwaitPrimary(ctx context.Context, h *lab.Host) (*lab.Host, error) {
	found := h
	var ask time.Time
	err := Await(ctx, "a primary with the virtual address", func(ctx context.Context) error {
		primary, err := c.Primary(ctx)
		if err != nil {
			return err
		}
		if h != nil && primary.Name() != h.Name() {
			return fmt.Errorf("%s is primary", primary.Name())
		}
		if ask.IsZero() {
			ask = time.Now().Add(crmPause)
		}
		if time.Now().Before(ask) {
			return errors.New("crm_mon has not been asked yet")
		}
		ask = time.Now().Add(crmPause)
		view, err := c.View(ctx)
		if err != nil {
			return err
		}
		if role, on := view.Role(primary.Name()), view.AddressOn(); role != "Promoted" || on != primary.Name() {
			return fmt.Errorf("on the primary %s Pacemaker has the database %q, and the virtual address on %q", primary.Name(), role, on)
		}
		found = primary
		return nil
	})
	return found, err
}

// AwaitStandby returns when h streams from the primary, commits wait for it, and the cluster has it on record as holding
// every acknowledged commit.
func (c *Cluster) AwaitStandby(ctx context.Context, h *lab.Host) error {
	return Await(ctx, h.Name()+" as a standby in sync", func(ctx context.Context) error {
		standby, err := Status(ctx, h)
		if err != nil {
			return err
		}
		primary, err := c.Primary(ctx)
		if err != nil {
			return err
		}
		active, err := Status(ctx, primary)
		if err != nil {
			return err
		}
		return Complete(standby, active)
	})
}

// Complete says what is missing to a standby that could take over without a loss.
func Complete(standby, primary control.State) error {
	switch {
	case primary.Role != ha.Primary:
		return fmt.Errorf("%s is %s, not primary", primary.Node, primary.Role)
	case standby.Role != ha.Standby:
		return fmt.Errorf("%s is %s (%s: %s), not a standby", standby.Node, standby.Role, standby.Phase, standby.Detail)
	case !standby.Receiving:
		return fmt.Errorf("%s does not receive", standby.Node)
	case standby.Timeline != primary.Timeline:
		return fmt.Errorf("%s is on timeline %d, %s on %d", standby.Node, standby.Timeline, primary.Node, primary.Timeline)
	case !standby.InSync || standby.Score < 1:
		return fmt.Errorf("%s is not on record as complete (in sync: %t, score %d)", standby.Node, standby.InSync, standby.Score)
	case primary.Sync == "":
		return fmt.Errorf("commits on %s wait for nobody", primary.Node)
	}
	for _, s := range primary.Standbys {
		if s.Node == standby.Node && s.State == "streaming" && (s.Sync == "sync" || s.Sync == "quorum") {
			return nil
		}
	}
	return fmt.Errorf("%s does not see %s streaming in sync: %+v", primary.Node, standby.Node, primary.Standbys)
}

// AwaitBoth returns when there are a primary with the virtual address and a standby in sync.
func (c *Cluster) AwaitBoth(ctx context.Context) (primary, standby *lab.Host, err error) {
	if primary, err = c.AwaitPrimary(ctx, nil); err != nil {
		return nil, nil, err
	}
	standby = c.Other(primary)
	return primary, standby, c.AwaitStandby(ctx, standby)
}

// InSync says what is missing to a primary and all other hosts as its standbys in sync.
func (c *Cluster) InSync(ctx context.Context) error {
	primary, err := c.Primary(ctx)
	if err != nil {
		return err
	}
	active, err := Status(ctx, primary)
	if err != nil {
		return err
	}
	for _, h := range c.Hosts() {
		if h.Name() == primary.Name() {
			continue
		}
		standby, err := Status(ctx, h)
		if err != nil {
			return err
		}
		if err := Complete(standby, active); err != nil {
			return err
		}
	}
	return nil
}

// AwaitReplayed returns when the standby shows every row that the primary has now.
func (c *Cluster) AwaitReplayed(ctx context.Context, primary, standby *lab.Host) error {
	end, err := SQL(ctx, primary, "select pg_current_wal_insert_lsn()")
	if err != nil {
		return err
	}
	return Await(ctx, standby.Name()+" to replay "+end, func(ctx context.Context) error {
		done, err := SQL(ctx, standby, fmt.Sprintf("select pg_last_wal_replay_lsn() >= '%s'", end))
		if err == nil && done != "t" {
			err = errors.New("it is behind")
		}
		return err
	})
}

// AwaitOff returns when h has gone down.
func (c *Cluster) AwaitOff(ctx context.Context, h *lab.Host) error {
	return Await(ctx, h.Name()+" to go down", func(context.Context) error {
		if h.Running() {
			return errors.New("it is running")
		}
		return nil
	})
}

// AwaitGone returns when no PostgreSQL runs on h and Pacemaker has it stopped.
func (c *Cluster) AwaitGone(ctx context.Context, h *lab.Host) error {
	return Await(ctx, "the end of PostgreSQL on "+h.Name(), func(ctx context.Context) error {
		view, err := c.View(ctx)
		if err != nil {
			return err
		}
		if role := view.Role(h.Name()); role != "" && role != "Stopped" {
			return fmt.Errorf("it is still %s to Pacemaker", role)
		}
		left, err := Processes(ctx, h)
		if err == nil && len(left) > 0 {
			err = fmt.Errorf("%d processes are left", len(left))
		}
		return err
	})
}
