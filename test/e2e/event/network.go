package event

import (
	"context"
	"errors"
	"fmt"
	"time"

	"pgtwin/internal/ha"
	"pgtwin/test/e2e/cluster"
	"pgtwin/test/lab"
)

// postgresPort is where the hosts replicate.
const postgresPort = 5432

// commitsWait is the longest that commits wait for a standby that is lost: sync_timeout, 10 s, and what it takes to notice.
const commitsWait = 15 * time.Second

// ReplicationCut is the loss of the replication link alone, in a direction seen from the standby. The cluster is whole, so
// nobody is fenced or promoted: the standby is put on record as behind, and commits go on.
func ReplicationCut(c *cluster.Cluster, d lab.Direction) Event {
	var standby *lab.Host
	return Event{Name: "replication link cut, " + string(d), Limit: commitsWait, Steps: []Step{
		{Text: "no replication gets through", Do: onStandby(c, &standby, func(ctx context.Context, h *lab.Host) error {
			return h.Cut(ctx, d, lab.Among(postgresPort))
		})},
		{Text: "the standby is put on record as behind, and commits go on without it", Do: func(ctx context.Context) error {
			return awaitAlone(ctx, c, c.Other(standby))
		}},
		{Text: "it is not promoted", Do: func(ctx context.Context) error {
			_, err := c.AwaitPrimary(ctx, c.Other(standby))
			return err
		}},
		{Text: "the link is back, and the standby in sync, without a second gap", Calm: 2 * time.Second, Do: func(ctx context.Context) error {
			return errors.Join(standby.Heal(ctx), c.AwaitStandby(ctx, standby))
		}},
		{Text: "nothing has failed", Calm: 2 * time.Second, Do: c.AwaitCalm},
	}}
}

// awaitAlone returns when commits on the primary wait for nobody.
func awaitAlone(ctx context.Context, c *cluster.Cluster, primary *lab.Host) error {
	return cluster.Await(ctx, "commits without a standby", func(ctx context.Context) error {
		st, err := cluster.Status(ctx, primary)
		switch {
		case err != nil:
			return err
		case st.Role != ha.Primary:
			return fmt.Errorf("%s is %s", primary.Name(), st.Role)
		case st.Sync != "":
			return fmt.Errorf("commits wait for %s", st.Sync)
		}
		return nil
	})
}

// MembershipCut is the loss of Corosync's link alone: each host believes the other dead, and both are well. One is fenced.
func MembershipCut(c *cluster.Cluster, d lab.Direction) Event {
	return split(c, "cluster link cut, "+string(d), func(ctx context.Context, h *lab.Host) error { return h.Cut(ctx, d, lab.Membership()) })
}

// HostCut is the loss of every link of the primary's host.
func HostCut(c *cluster.Cluster) Event {
	return split(c, "primary's host cut off", func(ctx context.Context, h *lab.Host) error { return h.Cut(ctx, lab.Both) })
}

// PrimaryPreferred is a split that the primary's host survives, because the fencing of it is delayed.
func PrimaryPreferred(c *cluster.Cluster) Event {
	var hit *lab.Host
	var server int
	return Event{Name: "cluster link cut, primary preferred", Limit: 10 * time.Second, Steps: []Step{
		{Text: "fencing the primary's host is delayed", Do: func(ctx context.Context) error { return c.PreferPrimary(ctx, 3*time.Second) }},
		{Text: "the hosts lose sight of each other", Do: onPrimary(c, &hit, func(ctx context.Context, h *lab.Host) (err error) {
			if server, err = cluster.Postmaster(ctx, h); err != nil {
				return err
			}
			return h.Cut(ctx, lab.Both, lab.Membership())
		})},
		{Text: "the standby's host is fenced", Do: func(ctx context.Context) error { return c.AwaitOff(ctx, c.Other(hit)) }},
		{Text: "writes go on, on the same primary", Do: func(ctx context.Context) error {
			return errors.Join(hit.Heal(ctx), samePrimary(ctx, c, hit, server))
		}},
		{Text: "the fenced host boots", Calm: 2 * time.Second, Do: func(ctx context.Context) error { return c.Other(hit).Boot(ctx) }},
		{Text: "it is back as a streaming standby, in sync", Calm: 2 * time.Second, Do: func(ctx context.Context) error {
			return c.AwaitStandby(ctx, c.Other(hit))
		}},
		{Text: "who wins is left open again", Calm: 2 * time.Second, Do: func(ctx context.Context) error { return c.PreferPrimary(ctx, 0) }},
		{Text: "nothing is left to repair", Calm: 2 * time.Second, Do: c.AwaitCalm},
	}}
}

// split is an event after which one of the hosts, it is not known which, has been fenced.
func split(c *cluster.Cluster, name string, do blow) Event {
	var hit, lost *lab.Host
	return Event{Name: name, Limit: 20 * time.Second, Steps: []Step{
		{Text: "the hosts lose sight of each other", Do: onPrimary(c, &hit, do)},
		{Text: "one of them is fenced", Do: func(ctx context.Context) error {
			return cluster.Await(ctx, "a host to be fenced", func(context.Context) error {
				for _, h := range c.Hosts() {
					if !h.Running() {
						lost = h
						return nil
					}
				}
				return errors.New("both are running")
			})
		}},
		// The survivor may be the one that was cut off, from its clients too.
		{Text: "the links are healed", Do: func(ctx context.Context) error { return hit.Heal(ctx) }},
		{Text: "the other is primary", Do: func(ctx context.Context) error {
			_, err := c.AwaitPrimary(ctx, c.Other(lost))
			return err
		}},
		{Text: "the fenced host boots", Calm: 2 * time.Second, Do: func(ctx context.Context) error { return lost.Boot(ctx) }},
		{Text: "it is back as a streaming standby, in sync", Calm: 2 * time.Second, Do: func(ctx context.Context) error {
			return c.AwaitStandby(ctx, lost)
		}},
		{Text: "nothing is left to repair", Calm: 2 * time.Second, Do: c.AwaitCalm},
	}}
}
