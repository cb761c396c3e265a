//go:build lab

package e2e

import (
	"context"
	"errors"
	"testing"
	"time"

	"pgtwin/test/e2e/cluster"
	"pgtwin/test/e2e/event"
	"pgtwin/test/lab"
)

// TestThreeHosts plays what needs a third host: two standbys that commits wait for.
func TestThreeHosts(t *testing.T) {
	tree, err := cluster.Tree(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	s := newStage(t, cluster.Options{Hosts: 3, Notify: true, Tree: tree, Log: t.Output()})
	s.play(scenario{"cold start", coldStart})
	s.events(primaryOfThreeLost)
}

// primaryOfThreeLost powers off the primary's host: one of the two others takes over, the third follows it.
func primaryOfThreeLost(c *cluster.Cluster) event.Event {
	var lost, next *lab.Host
	return event.Event{Name: "primary of three powered off", Limit: 20 * time.Second, Steps: []event.Step{
		step("the primary's host loses its power", func(ctx context.Context) (err error) {
			if lost, err = c.Primary(ctx); err != nil {
				return err
			}
			return lost.PowerOff(ctx)
		}),
		step("one of the others takes over", func(ctx context.Context) (err error) {
			next, err = c.AwaitPrimary(ctx, nil)
			return err
		}),
		step("the third follows it, in sync", func(ctx context.Context) error {
			return c.AwaitStandby(ctx, third(c, lost, next))
		}),
		step("the lost host boots and follows, too", func(ctx context.Context) error {
			return errors.Join(lost.Boot(ctx), c.AwaitStandby(ctx, lost))
		}),
		step("nothing has failed", c.AwaitCalm),
	}}
}

// third is the host that is neither of two.
func third(c *cluster.Cluster, a, b *lab.Host) *lab.Host {
	for _, h := range c.Hosts() {
		if h.Name() != a.Name() && h.Name() != b.Name() {
			return h
		}
	}
	return a
}
