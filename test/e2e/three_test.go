//go:build lab

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgtwin/internal/control"
	"pgtwin/internal/ha"
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
	s.play(scenario{"quorum commit is asked for", askForQuorum})
	s.events(primaryOfAQuorumLost, postmasterOfAQuorumKilled)
}

// primaryOfThreeLost powers off the primary's host: one of the two others takes over, the third follows it.
func primaryOfThreeLost(c *cluster.Cluster) event.Event {
	return oneOfThree(c, "primary of three powered off", 20*time.Second, "the primary's host loses its power",
		func(ctx context.Context, h *lab.Host) error { return h.PowerOff(ctx) },
		func(ctx context.Context, h *lab.Host) error { return h.Boot(ctx) })
}

// postmasterOfAQuorumKilled kills the primary's server alone, so that nothing is fenced and all hosts are there to be compared.
func postmasterOfAQuorumKilled(c *cluster.Cluster) event.Event {
	return oneOfThree(c, "postmaster of a quorum killed", 10*time.Second, "the primary's postmaster is killed",
		func(ctx context.Context, h *lab.Host) error {
			pid, err := cluster.Postmaster(ctx, h)
			if err != nil {
				return err
			}
			return cluster.Kill(ctx, h, pid)
		},
		func(context.Context, *lab.Host) error { return nil })
}

// oneOfThree is an event after which another host is primary, and the one that was hit follows it like the third.
func oneOfThree(c *cluster.Cluster, name string, limit time.Duration, text string, hit, help func(context.Context, *lab.Host) error) event.Event {
	var lost, next *lab.Host
	var began time.Time
	return event.Event{Name: name, Limit: limit, Steps: []event.Step{
		step(text, func(ctx context.Context) (err error) {
			began = time.Now()
			if lost, err = c.Primary(ctx); err != nil {
				return err
			}
			return hit(ctx, lost)
		}),
		step("one of the others takes over", func(ctx context.Context) error {
			return cluster.Await(ctx, "another primary", func(ctx context.Context) (err error) {
				if next, err = c.Primary(ctx); err == nil && next.Name() == lost.Name() {
					err = fmt.Errorf("it is %s", lost.Name())
				}
				return err
			})
		}),
		step("it has the address", func(ctx context.Context) error {
			_, err := c.AwaitPrimary(ctx, next)
			return err
		}),
		step("the third follows it, in sync", func(ctx context.Context) error {
			return c.AwaitStandby(ctx, third(c, lost, next))
		}),
		step("the host that was hit follows, too", func(ctx context.Context) error {
			return errors.Join(help(ctx, lost), c.AwaitStandby(ctx, lost))
		}),
		step("nothing has failed", func(ctx context.Context) error { return calmOfThree(ctx, c, third(c, lost, next), began) }),
	}}
}

// calmOfThree returns when the cluster is at rest. A third host that had more than the one that was promoted, of what nobody
// had an answer for, was reported to Pacemaker to be rewound: that is cleaned up, as an administrator would.
func calmOfThree(ctx context.Context, c *cluster.Cluster, third *lab.Host, began time.Time) error {
	out, err := third.Run(ctx, "pgtwin", "history", "--output", "json")
	if err != nil {
		return err
	}
	var seen []control.Event
	if err := json.Unmarshal([]byte(out), &seen); err != nil {
		return err
	}
	rewound := func(e control.Event) bool {
		return e.Kind == control.EventRejoin && e.Course == ha.Rewind && e.At.After(began)
	}
	if slices.ContainsFunc(seen, rewound) {
		if _, err := third.Run(ctx, "crm_resource", "--cleanup", "--node", third.Name()); err != nil {
			return err
		}
	}
	return c.AwaitCalm(ctx)
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

// askForQuorum sets synchronous_standby_names where administrators do, which clusters without pgtwin need, too.
func askForQuorum(s *scene) {
	primary, _ := s.hosts()
	set := func(ctx context.Context, value string, hosts ...*lab.Host) error {
		for _, h := range hosts {
			line := "synchronous_standby_names = '" + value + "'\n"
			if _, err := h.RunInput(ctx, line, "tee", "--append", cluster.DataDir+"/postgresql.conf"); err != nil {
				return err
			}
		}
		return nil
	}
	s.tell(
		step("a setting that cannot be read is not followed, and the status says so", func(ctx context.Context) error {
			if err := set(ctx, "ANY 1 (h1", primary); err != nil {
				return err
			}
			return cluster.Await(ctx, "a warning", func(ctx context.Context) error {
				st, err := cluster.Status(ctx, primary)
				if err != nil {
					return err
				}
				return errors.Join(mention("the status", strings.Join(st.Warnings, "\n"), "is not followed", "every standby that is complete"),
					mention("the setting in force", st.Sync, "FIRST 2 ("))
			})
		}),
		step("synchronous_standby_names is set in postgresql.conf on every host", func(ctx context.Context) error {
			return set(ctx, "ANY 1 (h1, h2, h3)", s.c.Hosts()...)
		}),
		step("commits wait for any one of the two standbys", func(ctx context.Context) error { return awaitQuorum(ctx, s.c) }),
	)
}

// awaitQuorum returns when commits wait for one of two standbys.
func awaitQuorum(ctx context.Context, c *cluster.Cluster) error {
	return cluster.Await(ctx, "commits that wait for any one of two", func(ctx context.Context) error {
		primary, err := c.Primary(ctx)
		if err != nil {
			return err
		}
		st, err := cluster.Status(ctx, primary)
		if err == nil && !strings.HasPrefix(st.Sync, "ANY 1 (") {
			err = fmt.Errorf("on %s they wait for %s", primary.Name(), st.Sync)
		}
		return err
	})
}

// primaryOfAQuorumLost lets one of two standbys lag, which holds nobody up, and then powers off the primary's host: the
// other standby has everything, and is the one to be promoted.
func primaryOfAQuorumLost(c *cluster.Cluster) event.Event {
	var lost, complete, lagging *lab.Host
	return event.Event{Name: "primary of a quorum powered off", Limit: 20 * time.Second, Steps: []event.Step{
		step("one standby's receiver hangs, and holds no commit up", func(ctx context.Context) (err error) {
			if lost, err = c.Primary(ctx); err != nil {
				return err
			}
			complete = c.Other(lost)
			lagging = third(c, lost, complete)
			return signalReceiver(ctx, lagging, "STOP")
		}),
		{Text: "commits go on, and it ranks behind the other standby", Calm: time.Second, Do: func(ctx context.Context) error {
			before, err := rows(ctx, lost)
			if err != nil {
				return err
			}
			return cluster.Await(ctx, "writes, and a lower score", func(ctx context.Context) error {
				now, err := rows(ctx, lost)
				if err != nil {
					return err
				}
				st, err := cluster.Status(ctx, lagging)
				if err == nil && (now < before+100 || st.Score != ha.LaggingScore) {
					err = fmt.Errorf("%d rows more, the score is %d", now-before, st.Score)
				}
				return err
			})
		}},
		step("the primary's host loses its power, while the cluster has both standbys on record", func(ctx context.Context) error {
			for _, h := range []*lab.Host{complete, lagging} {
				st, err := cluster.Status(ctx, h)
				if err != nil {
					return err
				}
				if !st.InSync {
					return fmt.Errorf("%s is on record as behind already", h.Name())
				}
			}
			return lost.PowerOff(ctx)
		}),
		step("the standby that has everything is promoted", func(ctx context.Context) error {
			_, err := c.AwaitPrimary(ctx, complete)
			return err
		}),
		step("the receiver goes on, and its host follows, in sync", func(ctx context.Context) error {
			return errors.Join(signalReceiver(ctx, lagging, "CONT"), c.AwaitStandby(ctx, lagging))
		}),
		step("the lost host boots and follows, too", func(ctx context.Context) error {
			return errors.Join(lost.Boot(ctx), c.AwaitStandby(ctx, lost))
		}),
		step("commits wait for any one of two again", func(ctx context.Context) error { return awaitQuorum(ctx, c) }),
		step("nothing has failed", c.AwaitCalm),
	}}
}

// signalReceiver sends a signal to a standby's WAL receiver. One that has ended needs none to go on.
func signalReceiver(ctx context.Context, h *lab.Host, signal string) error {
	_, err := h.Run(ctx, "pkill", "-"+signal, "-f", "^postgres: .*walreceiver")
	if signal == "CONT" && cluster.ExitCode(err) == 1 {
		return nil
	}
	return err
}

// rows is how many the clients see: those that are acknowledged.
func rows(ctx context.Context, primary *lab.Host) (int, error) {
	out, err := cluster.SQLIn(ctx, primary, cluster.Ledger, "select count(*) from ledger")
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(out)
}
