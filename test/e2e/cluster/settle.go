package cluster

import (
	"context"
	"errors"

	"pgtwin/test/lab"
)

// Settle brings the cluster back to the state in which every scenario begins: all hosts on and connected, nothing ordered,
// nothing failed, a primary with the virtual address and a standby in sync.
func (c *Cluster) Settle(ctx context.Context) error {
	for _, h := range c.Hosts() {
		if h.Running() && h.Frozen() {
			if err := h.Thaw(ctx); err != nil {
				return err
			}
		}
		// Pacemaker may have ended for good, as it does on a host that was fenced and did not notice.
		if h.Running() && !pacemakerRuns(ctx, h) {
			if err := h.PowerOff(ctx); err != nil {
				return err
			}
		}
		if !h.Running() { // also what was fenced meanwhile
			if err := h.Boot(ctx); err != nil {
				return err
			}
		}
		if err := h.Heal(ctx); err != nil {
			return err
		}
	}
	if err := c.takeBackOrders(ctx); err != nil {
		return err
	}
	return Await(ctx, "the cluster to settle", func(ctx context.Context) error {
		view, err := c.View(ctx)
		if err != nil {
			return err
		}
		if err := view.Failed(); err != nil {
			return errors.Join(err, c.crm(ctx, "crm_resource", "--cleanup"))
		}
		return c.calm(ctx, view)
	})
}

// pacemakerRuns says whether Pacemaker runs on a host, or is about to.
func pacemakerRuns(ctx context.Context, h *lab.Host) bool {
	state, err := Property(ctx, h, "pacemaker.service", "ActiveState")
	return err != nil || state != "inactive" && state != "failed"
}

// AwaitCalm returns when the cluster has come to rest by itself: without a failed action that is not forgotten, a primary
// with the virtual address, a standby in sync.
func (c *Cluster) AwaitCalm(ctx context.Context) error {
	return Await(ctx, "a cluster at rest", func(ctx context.Context) error {
		view, err := c.View(ctx)
		if err != nil {
			return err
		}
		return c.calm(ctx, view)
	})
}

func (c *Cluster) calm(ctx context.Context, view View) error {
	if err := view.Calm(); err != nil {
		return err
	}
	return c.serves(ctx, view)
}

func (c *Cluster) serves(ctx context.Context, view View) error {
	primary, err := c.Primary(ctx)
	if err != nil {
		return err
	}
	if on := view.AddressOn(); on != primary.Name() {
		return errors.New("the virtual address is on " + on + ", the primary on " + primary.Name())
	}
	return c.InSync(ctx)
}

// takeBackOrders ends what scenarios have ordered of Pacemaker.
func (c *Cluster) takeBackOrders(ctx context.Context) error {
	view, err := c.View(ctx)
	if err != nil {
		return err
	}
	for _, n := range view.Nodes {
		if !n.Standby {
			continue
		}
		h, err := c.Host(n.Name)
		if err != nil {
			return err
		}
		if err := c.Standby(ctx, h, false); err != nil {
			return err
		}
	}
	return errors.Join(c.Clear(ctx), c.SetTarget(ctx, "Started"), c.Maintenance(ctx, false))
}
