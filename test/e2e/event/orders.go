package event

import (
	"context"
	"errors"
	"fmt"
	"time"

	"pgtwin/test/e2e/cluster"
	"pgtwin/test/lab"
)

// PrimaryOutOfService is maintenance of the primary's host as Pacemaker wants it done.
func PrimaryOutOfService(c *cluster.Cluster) Event {
	var host *lab.Host
	return Event{Name: "primary's host out of service and back", Limit: 5 * time.Second, Steps: []Step{
		{Text: "the primary's host is taken out of service", Do: onPrimary(c, &host, func(ctx context.Context, h *lab.Host) error { return c.Standby(ctx, h, true) })},
		{Text: "the other host takes over", Do: func(ctx context.Context) error {
			_, err := c.AwaitPrimary(ctx, c.Other(host))
			return err
		}},
		{Text: "PostgreSQL on the host stops", Calm: 2 * time.Second, Do: func(ctx context.Context) error { return c.AwaitGone(ctx, host) }},
		{Text: "the host is put back into service", Calm: 2 * time.Second, Do: func(ctx context.Context) error { return c.Standby(ctx, host, false) }},
		{Text: "it is back as a streaming standby, in sync", Calm: 2 * time.Second, Do: func(ctx context.Context) error { return c.AwaitStandby(ctx, host) }},
		{Text: "nothing has failed", Calm: 2 * time.Second, Do: c.AwaitCalm},
	}}
}

// PacemakerRestarted is an upgrade of Pacemaker under maintenance mode: the database goes on without it.
func PacemakerRestarted(c *cluster.Cluster) Event {
	var hit *lab.Host
	var server int
	return Event{Name: "Pacemaker restarted in maintenance mode", Limit: time.Second, Steps: []Step{
		{Text: "maintenance mode is switched on", Do: onPrimary(c, &hit, func(ctx context.Context, h *lab.Host) (err error) {
			if server, err = cluster.Postmaster(ctx, h); err != nil {
				return err
			}
			return c.Maintenance(ctx, true)
		})},
		{Text: "Pacemaker is restarted on both hosts", Do: func(ctx context.Context) error {
			var failed error
			for _, h := range c.Hosts() {
				_, err := h.Run(ctx, "systemctl", "restart", "pacemaker.service")
				failed = errors.Join(failed, err)
			}
			return failed
		}},
		{Text: "maintenance mode is switched off, and nothing has failed", Do: func(ctx context.Context) error {
			if err := c.AwaitMembers(ctx); err != nil {
				return err
			}
			return errors.Join(c.Maintenance(ctx, false), c.AwaitCalm(ctx))
		}},
		{Text: "PostgreSQL is the same process, still primary", Do: func(ctx context.Context) error { return samePrimary(ctx, c, hit, server) }},
	}}
}

// LaggingSwitchover moves the primary to a standby that has received everything and replayed little of it.
func LaggingSwitchover(c *cluster.Cluster) Event {
	var old *lab.Host
	return Event{Name: "switchover to a lagging standby", Limit: 20 * time.Second, Steps: []Step{
		{Text: "the standby stops replaying, and the primary writes 200000 rows", Do: onPrimary(c, &old, func(ctx context.Context, h *lab.Host) error {
			if _, err := cluster.SQL(ctx, c.Other(h), "select pg_wal_replay_pause()"); err != nil {
				return err
			}
			_, err := cluster.SQL(ctx, h, "create table bulk as select i, md5(i::text) from generate_series(1, 200000) as i")
			return err
		})},
		{Text: "the promoted role is ordered onto it", Do: func(ctx context.Context) error { return c.Move(ctx, c.Other(old)) }},
		{Text: "it is primary, with every row", Do: func(ctx context.Context) error {
			if _, err := c.AwaitPrimary(ctx, c.Other(old)); err != nil {
				return err
			}
			rows, err := cluster.SQL(ctx, c.Other(old), "select count(*) from bulk; drop table bulk")
			if err == nil && rows != "200000" {
				err = fmt.Errorf("there are %s rows", rows)
			}
			return err
		}},
		{Text: "the old primary follows, in sync", Calm: 2 * time.Second, Do: func(ctx context.Context) error {
			return errors.Join(c.AwaitStandby(ctx, old), c.Clear(ctx))
		}},
	}}
}

// PromotionKilled is an agent that dies half-way through a promotion. What it has begun is finished or begun again.
func PromotionKilled(c *cluster.Cluster) Event {
	var old *lab.Host
	return Event{Name: "agent killed during a promotion", Limit: 60 * time.Second, Steps: []Step{
		{Text: "the promoted role is ordered onto the other host, where the agent is killed", Do: onPrimary(c, &old, func(ctx context.Context, h *lab.Host) error {
			killed, err := Lurk(ctx, c.Other(h), strike(agentPromotes))
			if err != nil {
				return err
			}
			return errors.Join(c.Move(ctx, c.Other(h)), killed())
		})},
		{Text: "there are a primary and a standby in sync", Do: func(ctx context.Context) error {
			if err := c.Clear(ctx); err != nil {
				return err
			}
			_, _, err := c.AwaitBoth(ctx)
			return err
		}},
	}}
}
