package event

import (
	"context"
	"fmt"
	"time"

	"pgtwin/test/e2e/cluster"
	"pgtwin/test/lab"
)

// blow is what happens to one host.
type blow func(context.Context, *lab.Host) error

// onPrimary deals a blow to the primary's host, which is kept in hit.
func onPrimary(c *cluster.Cluster, hit **lab.Host, do blow) func(context.Context) error {
	return func(ctx context.Context) (err error) {
		if *hit, err = c.Primary(ctx); err != nil {
			return err
		}
		return do(ctx, *hit)
	}
}

// onStandby deals a blow to the standby's host, which is kept in hit.
func onStandby(c *cluster.Cluster, hit **lab.Host, do blow) func(context.Context) error {
	return func(ctx context.Context) error {
		primary, err := c.Primary(ctx)
		if err != nil {
			return err
		}
		*hit = c.Other(primary)
		return do(ctx, *hit)
	}
}

// takeover is an event after which the other host is primary, and the host that was hit its standby.
func takeover(c *cluster.Cluster, name string, limit time.Duration, text string, do blow) Event {
	var hit *lab.Host
	return Event{Name: name, Limit: limit, Steps: []Step{
		{Text: text, Do: onPrimary(c, &hit, do)},
		{Text: "the other host takes over", Do: func(ctx context.Context) error {
			_, err := c.AwaitPrimary(ctx, c.Other(hit))
			return err
		}},
		{Text: "the old primary is back as a streaming standby, in sync", Calm: 2 * time.Second, Do: func(ctx context.Context) error {
			return c.AwaitStandby(ctx, hit)
		}},
	}}
}

// unaffected is an event on the primary's host of which the database must not notice anything.
func unaffected(c *cluster.Cluster, name, text string, do blow) Event {
	var hit *lab.Host
	var server int
	return Event{Name: name, Limit: time.Second, Steps: []Step{
		{Text: text, Do: onPrimary(c, &hit, func(ctx context.Context, h *lab.Host) (err error) {
			if server, err = cluster.Postmaster(ctx, h); err != nil {
				return err
			}
			return do(ctx, h)
		})},
		{Text: "nothing has failed", Do: c.AwaitCalm},
		{Text: "PostgreSQL is the same process, still primary", Do: func(ctx context.Context) error {
			return samePrimary(ctx, c, hit, server)
		}},
	}}
}

func samePrimary(ctx context.Context, c *cluster.Cluster, h *lab.Host, server int) error {
	now, err := cluster.Postmaster(ctx, h)
	if err == nil && now != server {
		err = fmt.Errorf("process %d has become %d", server, now)
	}
	if err == nil {
		_, err = c.AwaitPrimary(ctx, h)
	}
	return err
}

// inHost is a blow that is a program in the host.
func inHost(argv ...string) blow {
	return func(ctx context.Context, h *lab.Host) error {
		_, err := h.Run(ctx, argv...)
		return err
	}
}
