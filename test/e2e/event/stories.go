package event

import (
	"context"
	"fmt"
	"time"

	"pgtwin/test/e2e/cluster"
	"pgtwin/test/lab"
)

// ColdStart is how a cluster gets its first database, from nothing but the configuration.
func ColdStart(c *cluster.Cluster) []Step {
	var primary *lab.Host
	return []Step{
		{Text: "the configuration is loaded", Do: c.Configure},
		{Text: "the host that Pacemaker chose makes the database and becomes primary", Do: func(ctx context.Context) (err error) {
			primary, err = c.AwaitPrimary(ctx, nil)
			return err
		}},
		{Text: "the other host clones it and streams, in sync", Do: func(ctx context.Context) error {
			return c.AwaitStandby(ctx, c.Other(primary))
		}},
		{Text: "nothing has failed", Do: c.AwaitCalm},
		{Text: "clients are let in", Do: c.Admit},
	}
}

// PostmasterKilled is the crash of the database alone: the host and the cluster on it live on.
func PostmasterKilled(c *cluster.Cluster) Event {
	return takeover(c, "postmaster killed", 5*time.Second, "the primary's postmaster is killed", killPostmaster)
}

// Switchover is an order, nothing is broken.
func Switchover(c *cluster.Cluster) Event {
	var old *lab.Host
	return Event{Name: "switchover", Limit: 5 * time.Second, Steps: []Step{
		{Text: "the promoted role is ordered onto the other host", Do: func(ctx context.Context) (err error) {
			if old, err = c.Primary(ctx); err != nil {
				return err
			}
			return c.Move(ctx, c.Other(old))
		}},
		{Text: "the other host is primary", Do: func(ctx context.Context) error {
			_, err := c.AwaitPrimary(ctx, c.Other(old))
			return err
		}},
		{Text: "the old primary follows, in sync", Calm: 2 * time.Second, Do: func(ctx context.Context) error {
			return c.AwaitStandby(ctx, old)
		}},
		{Text: "the order is taken back and everything stays", Calm: 2 * time.Second, Do: func(ctx context.Context) error {
			if err := c.Clear(ctx); err != nil {
				return err
			}
			if err := c.AwaitCalm(ctx); err != nil {
				return err
			}
			_, err := c.AwaitPrimary(ctx, c.Other(old))
			return err
		}},
	}}
}

// HostPoweredOff is the loss of a whole host. It is fenced before the other one is promoted.
func HostPoweredOff(c *cluster.Cluster) Event {
	var lost *lab.Host
	// Corosync's token of 1 s and its consensus, fencing, promotion and the client's own timeouts.
	return Event{Name: "host powered off and back", Limit: 10 * time.Second, Steps: []Step{
		{Text: "the primary's host loses its power", Do: func(ctx context.Context) (err error) {
			if lost, err = c.Primary(ctx); err != nil {
				return err
			}
			return lost.PowerOff(ctx)
		}},
		{Text: "it is fenced and the other host takes over", Do: func(ctx context.Context) error {
			_, err := c.AwaitPrimary(ctx, c.Other(lost))
			return err
		}},
		{Text: "the lost host boots", Calm: 2 * time.Second, Do: func(ctx context.Context) error { return lost.Boot(ctx) }},
		{Text: "it is back as a streaming standby, in sync", Calm: 2 * time.Second, Do: func(ctx context.Context) error {
			return c.AwaitStandby(ctx, lost)
		}},
		{Text: "nothing is left to repair", Calm: 2 * time.Second, Do: c.AwaitCalm},
	}}
}

// StandbyRestarted is maintenance of the host that does not matter to the clients.
func StandbyRestarted(c *cluster.Cluster) Event {
	var standby *lab.Host
	return Event{Name: "standby restarted", Limit: 2 * time.Second, Steps: []Step{
		{Text: "the standby's host is taken out of service", Do: func(ctx context.Context) error {
			primary, err := c.Primary(ctx)
			if err != nil {
				return err
			}
			standby = c.Other(primary)
			return c.Standby(ctx, standby, true)
		}},
		{Text: "its PostgreSQL stops, the primary's commits go on without it", Do: func(ctx context.Context) error {
			return c.AwaitGone(ctx, standby)
		}},
		{Text: "nobody but Pacemaker can start it", Do: func(ctx context.Context) error { return notByHand(ctx, standby) }},
		{Text: "the host is put back into service", Do: func(ctx context.Context) error { return c.Standby(ctx, standby, false) }},
		{Text: "it streams again, in sync", Do: func(ctx context.Context) error { return c.AwaitStandby(ctx, standby) }},
		{Text: "nothing has failed", Do: c.AwaitCalm},
	}}
}

// HostRebooted is maintenance of the primary's host by somebody who does not think of the cluster: systemd stops Pacemaker
// first, and Pacemaker stops the database.
func HostRebooted(c *cluster.Cluster) Event {
	var host *lab.Host
	fenced := 0
	return Event{Name: "primary's host rebooted", Limit: 10 * time.Second, Steps: []Step{
		{Text: "systemctl reboot on the primary's host", Do: func(ctx context.Context) (err error) {
			if host, err = c.Primary(ctx); err != nil {
				return err
			}
			if fenced, err = c.Fenced(host); err != nil {
				return err
			}
			_, err = host.Run(ctx, "systemctl", "reboot", "--no-block")
			return err
		}},
		{Text: "the other host takes over", Do: func(ctx context.Context) error {
			_, err := c.AwaitPrimary(ctx, c.Other(host))
			return err
		}},
		{Text: "the host goes down in good order, nobody fences it", Calm: 2 * time.Second, Do: func(ctx context.Context) error {
			if err := c.AwaitOff(ctx, host); err != nil {
				return err
			}
			now, err := c.Fenced(host)
			if err == nil && now != fenced {
				err = fmt.Errorf("%s was fenced", host.Name())
			}
			return err
		}},
		{Text: "it boots", Calm: 2 * time.Second, Do: func(ctx context.Context) error { return host.Boot(ctx) }},
		{Text: "it is back as a streaming standby, in sync", Calm: 2 * time.Second, Do: func(ctx context.Context) error {
			return c.AwaitStandby(ctx, host)
		}},
		{Text: "nothing has failed", Calm: 2 * time.Second, Do: c.AwaitCalm},
	}}
}

// SupervisorKilled is a fault of pgtwin itself: the database must not notice.
func SupervisorKilled(c *cluster.Cluster) Event {
	return undisturbed(c, "supervisor killed", "the primary's supervisor is killed", func(ctx context.Context, h *lab.Host) error {
		pid, err := cluster.MainPID(ctx, h, cluster.Watcher)
		if err != nil {
			return err
		}
		return cluster.Kill(ctx, h, pid)
	})
}

// SupervisorRestarted is what an upgrade of pgtwin does.
func SupervisorRestarted(c *cluster.Cluster) Event {
	return undisturbed(c, "supervisor restarted", "systemd reads its units again and restarts the supervisor", func(ctx context.Context, h *lab.Host) error {
		if _, err := h.Run(ctx, "systemctl", "daemon-reload"); err != nil {
			return err
		}
		_, err := h.Run(ctx, "systemctl", "restart", cluster.Watcher)
		return err
	})
}

// undisturbed is an event after which the supervisor is another process, PostgreSQL the same, and nothing has failed.
func undisturbed(c *cluster.Cluster, name, text string, do func(context.Context, *lab.Host) error) Event {
	var primary *lab.Host
	var server, supervisor int
	return Event{Name: name, Limit: time.Second, Steps: []Step{
		{Text: text, Do: func(ctx context.Context) (err error) {
			if primary, err = c.Primary(ctx); err != nil {
				return err
			}
			if server, err = cluster.Postmaster(ctx, primary); err != nil {
				return err
			}
			if supervisor, err = cluster.MainPID(ctx, primary, cluster.Watcher); err != nil {
				return err
			}
			return do(ctx, primary)
		}},
		{Text: "systemd brings the supervisor back", Do: func(ctx context.Context) error {
			return cluster.Await(ctx, "a new supervisor", func(ctx context.Context) error {
				now, err := cluster.MainPID(ctx, primary, cluster.Watcher)
				if err == nil && (now == 0 || now == supervisor) {
					err = fmt.Errorf("its process is %d, it was %d", now, supervisor)
				}
				return err
			})
		}},
		{Text: "it finds its bearings, no action has failed", Do: c.AwaitCalm},
		{Text: "PostgreSQL is the same process, still primary", Do: func(ctx context.Context) error {
			now, err := cluster.Postmaster(ctx, primary)
			if err == nil && now != server {
				err = fmt.Errorf("process %d has become %d", server, now)
			}
			if err == nil {
				_, err = c.AwaitPrimary(ctx, primary)
			}
			return err
		}},
	}}
}

func killPostmaster(ctx context.Context, h *lab.Host) error {
	pid, err := cluster.Postmaster(ctx, h)
	if err != nil {
		return err
	}
	return cluster.Kill(ctx, h, pid)
}

// notByHand tries to start the database where Pacemaker has stopped it.
func notByHand(ctx context.Context, h *lab.Host) error {
	// A condition that is not met is no failure to systemctl: what counts is what runs then.
	_, _ = h.Run(ctx, "systemctl", "start", cluster.Unit)
	state, err := cluster.Property(ctx, h, cluster.Unit, "ActiveState")
	if err != nil {
		return err
	}
	running, err := cluster.Processes(ctx, h)
	if err != nil {
		return err
	}
	if state == "active" || state == "activating" || len(running) > 0 {
		return fmt.Errorf("systemctl start on %s left the unit %s with %d processes of PostgreSQL", h.Name(), state, len(running))
	}
	return nil
}
