package event

import (
	"context"
	"errors"
	"fmt"
	"time"

	"pgtwin/test/e2e/cluster"
	"pgtwin/test/lab"
)

// StandbyPoweredOff is the loss of the standby's host. Commits wait until it is fenced.
func StandbyPoweredOff(c *cluster.Cluster) Event {
	var lost *lab.Host
	return Event{Name: "standby's host powered off and back", Limit: commitsWait, Steps: []Step{
		{Text: "the standby's host loses its power", Do: onStandby(c, &lost, func(ctx context.Context, h *lab.Host) error { return h.PowerOff(ctx) })},
		{Text: "commits go on without it", Do: func(ctx context.Context) error { return awaitAlone(ctx, c, c.Other(lost)) }},
		{Text: "the lost host boots", Calm: 2 * time.Second, Do: func(ctx context.Context) error { return lost.Boot(ctx) }},
		{Text: "it is back as a streaming standby, in sync", Calm: 2 * time.Second, Do: func(ctx context.Context) error {
			return c.AwaitStandby(ctx, lost)
		}},
		{Text: "nothing is left to repair", Calm: 2 * time.Second, Do: c.AwaitCalm},
	}}
}

// BothPoweredOff is an outage of both hosts at once. They come back one after the other, that of the primary first or last.
func BothPoweredOff(c *cluster.Cluster, primaryFirst bool) Event {
	name := "both powered off, standby's host back first"
	if primaryFirst {
		name = "both powered off, primary's host back first"
	}
	var primary *lab.Host
	order := func() (first, second *lab.Host) {
		if primaryFirst {
			return primary, c.Other(primary)
		}
		return c.Other(primary), primary
	}
	return Event{Name: name, Limit: 3 * time.Minute, Steps: []Step{
		{Text: "both hosts lose their power", Do: onPrimary(c, &primary, func(ctx context.Context, h *lab.Host) error {
			return errors.Join(h.PowerOff(ctx), c.Other(h).PowerOff(ctx))
		})},
		{Text: "one boots", Do: func(ctx context.Context) error {
			first, _ := order()
			return first.Boot(ctx)
		}},
		{Text: "the other boots", Do: func(ctx context.Context) error {
			_, second := order()
			return second.Boot(ctx)
		}},
		{Text: "there are a primary and a standby in sync", Do: func(ctx context.Context) error {
			_, _, err := c.AwaitBoth(ctx)
			return err
		}},
		{Text: "nothing is left to repair", Calm: 2 * time.Second, Do: c.AwaitCalm},
	}}
}

// StandbyRebooted is maintenance of the standby's host by somebody who does not think of the cluster.
func StandbyRebooted(c *cluster.Cluster) Event {
	var host *lab.Host
	return Event{Name: "standby's host rebooted", Limit: 2 * time.Second, Steps: []Step{
		{Text: "systemctl reboot on the standby's host", Do: onStandby(c, &host, inHost("systemctl", "reboot", "--no-block"))},
		{Text: "it goes down", Do: func(ctx context.Context) error { return c.AwaitOff(ctx, host) }},
		{Text: "it boots", Do: func(ctx context.Context) error { return host.Boot(ctx) }},
		{Text: "it is back as a streaming standby, in sync", Do: func(ctx context.Context) error { return c.AwaitStandby(ctx, host) }},
		{Text: "nothing has failed", Do: c.AwaitCalm},
	}}
}

// ClusterRestarted stops the whole cluster, the standby's host first, and starts it in the same order: the standby, which the
// primary went on without, has to wait for it.
func ClusterRestarted(c *cluster.Cluster) Event {
	var primary *lab.Host
	systemctl := func(ctx context.Context, h *lab.Host, verb string, units ...string) error {
		_, err := h.Run(ctx, append([]string{"systemctl", verb}, units...)...)
		return err
	}
	return Event{Name: "cluster stopped and started in the other order", Limit: 2 * time.Minute, Steps: []Step{
		{Text: "the cluster is stopped on the standby's host, then on the primary's", Do: onPrimary(c, &primary, func(ctx context.Context, h *lab.Host) error {
			return errors.Join(
				systemctl(ctx, c.Other(h), "stop", "pacemaker", "corosync"),
				systemctl(ctx, h, "stop", "pacemaker", "corosync"))
		})},
		{Text: "it is started on the standby's host, then on the primary's", Do: func(ctx context.Context) error {
			return errors.Join(
				systemctl(ctx, c.Other(primary), "start", "corosync", "pacemaker"),
				systemctl(ctx, primary, "start", "corosync", "pacemaker"))
		}},
		{Text: "the primary is primary again", Do: func(ctx context.Context) error {
			_, err := c.AwaitPrimary(ctx, primary)
			return err
		}},
		{Text: "the standby is in sync", Calm: 2 * time.Second, Do: func(ctx context.Context) error {
			return c.AwaitStandby(ctx, c.Other(primary))
		}},
		{Text: "nothing has failed", Calm: 2 * time.Second, Do: c.AwaitCalm},
	}}
}

// PacemakerKilled is the death of every process of Pacemaker on a host, the primary's or the standby's. It comes back, or the
// host is fenced.
func PacemakerKilled(c *cluster.Cluster, primarys bool) Event {
	name, on := "Pacemaker killed on the standby's host", onStandby
	if primarys {
		name, on = "Pacemaker killed on the primary's host", onPrimary
	}
	const unit = "pacemaker.service"
	var hit *lab.Host
	old := 0
	return Event{Name: name, Limit: 20 * time.Second, Steps: []Step{
		{Text: "every process of Pacemaker is killed", Do: on(c, &hit, func(ctx context.Context, h *lab.Host) (err error) {
			if old, err = cluster.MainPID(ctx, h, unit); err != nil {
				return err
			}
			_, err = h.Run(ctx, "systemctl", "kill", "--signal=KILL", unit)
			return err
		})},
		{Text: "it is back, or its host was fenced", Do: func(ctx context.Context) error {
			return cluster.Await(ctx, "Pacemaker", func(ctx context.Context) error {
				if !hit.Running() {
					return nil
				}
				now, err := cluster.MainPID(ctx, hit, unit)
				if err == nil && (now == 0 || now == old) {
					err = fmt.Errorf("its process is %d, it was %d", now, old)
				}
				return err
			})
		}},
		{Text: "there are a primary and a standby in sync, after a boot if the host was fenced", Do: func(ctx context.Context) error {
			return awaitBothBooting(ctx, c, hit)
		}},
	}}
}

// awaitBothBooting also boots h when it is found fenced.
func awaitBothBooting(ctx context.Context, c *cluster.Cluster, h *lab.Host) error {
	return cluster.Await(ctx, "a primary and a standby in sync", func(ctx context.Context) error {
		if !h.Running() {
			if err := h.Boot(ctx); err != nil {
				return err
			}
		}
		return c.Whole(ctx)
	})
}
