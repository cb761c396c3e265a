package event

import (
	"context"
	"errors"
	"fmt"
	"time"

	"pgtwin/test/e2e/cluster"
	"pgtwin/test/lab"
)

// What pgtwin's own work consists of, as pkill(1) finds it by its command line. The brackets keep a pattern from finding the
// shell that looks for it.
const (
	agentMonitors = "heartbeat/pgtwin monito[r]"
	agentPromotes = "heartbeat/pgtwin promot[e]"
	agentDemotes  = "heartbeat/pgtwin demot[e]"
	agentStops    = "heartbeat/pgtwin sto[p]"
	helperRuns    = "pgtwin-helper ru[n]"
	podmanService = "podman .*system servic[e]"
)

// strike waits for a process and kills it the moment it is there.
func strike(pattern string) string {
	return fmt.Sprintf("until pkill -KILL --full '%s'; do sleep 0.01; done", pattern)
}

// Lurk starts a script on a host that waits for its moment; the returned function waits for its end. Nothing from outside the
// host is as quick. It outlives the step in which it begins, but not by much.
func Lurk(ctx context.Context, h *lab.Host, script string) (done func() error, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stepTime)
	lurker := h.Command(ctx, "sh", "-c", script)
	if err := lurker.Start(); err != nil {
		cancel()
		return nil, fmt.Errorf("cannot lurk on %s: %w", h.Name(), err)
	}
	return func() error {
		defer cancel()
		if err := lurker.Wait(); err != nil {
			return fmt.Errorf("waited in vain on %s for the moment to strike: %w", h.Name(), errors.Join(err, ctx.Err()))
		}
		return nil
	}, nil
}

// KilledDuringProbe is a primary that dies while Pacemaker waits for a probe of it: the demotion, and with it the promotion of
// the other host, cannot begin before that probe has ended.
func KilledDuringProbe(c *cluster.Cluster) Event {
	return takeover(c, "postmaster killed during a probe", 10*time.Second, "the primary's postmaster is killed while a probe asks for it", killDuringProbe)
}

// KilledDuringProbeAlone is the same without a host that could take over. What is reported as failed while Pacemaker has no
// result of it, it would recover for ever.
func KilledDuringProbeAlone(c *cluster.Cluster) Event {
	var hit *lab.Host
	var server int
	return Event{Name: "only postmaster killed during a probe", Limit: 15 * time.Second, Steps: []Step{
		{Text: "the standby's host is taken out of service", Do: onPrimary(c, &hit, func(ctx context.Context, h *lab.Host) error {
			return errors.Join(c.Standby(ctx, c.Other(h), true), c.AwaitGone(ctx, c.Other(h)))
		})},
		{Text: "the primary's postmaster is killed while a probe asks for it", Do: func(ctx context.Context) error { return killDuringProbe(ctx, hit) }},
		{Text: "it recovers in place", Do: func(ctx context.Context) error {
			if _, err := c.AwaitPrimary(ctx, hit); err != nil {
				return err
			}
			var err error
			server, err = cluster.Postmaster(ctx, hit)
			return err
		}},
		{Text: "the other host is back in service, in sync", Calm: 2 * time.Second, Do: func(ctx context.Context) error {
			if err := c.Standby(ctx, c.Other(hit), false); err != nil {
				return err
			}
			return c.AwaitStandby(ctx, c.Other(hit))
		}},
		{Text: "PostgreSQL on the primary is the same process", Do: func(ctx context.Context) error { return samePrimary(ctx, c, hit, server) }},
	}}
}

func killDuringProbe(ctx context.Context, h *lab.Host) (err error) {
	signal := func(name string) error {
		_, err := h.Run(ctx, "systemctl", "kill", "--kill-whom=main", "--signal="+name, cluster.Watcher)
		return err
	}
	// The supervisor does not answer until it is let go.
	if err := signal("STOP"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, signal("CONT")) }()
	probed, err := Lurk(ctx, h, fmt.Sprintf("until pgrep --full '%s'; do sleep 0.01; done", agentMonitors))
	if err != nil {
		return err
	}
	if _, err := h.Run(ctx, "crm_resource", "--refresh", "--resource", cluster.Resource, "--node", h.Name()); err != nil {
		return err
	}
	if err := probed(); err != nil {
		return err
	}
	return killPostmaster(ctx, h)
}

// DemotionKilled is an agent that dies half-way through a demotion: to Pacemaker the demotion has failed, and it recovers.
func DemotionKilled(c *cluster.Cluster) Event {
	var hit *lab.Host
	return Event{Name: "agent killed during a demotion", Limit: 60 * time.Second, Steps: []Step{
		{Text: "the promoted role is ordered onto the other host, and the agent is killed that demotes", Do: onPrimary(c, &hit, func(ctx context.Context, h *lab.Host) error {
			killed, err := Lurk(ctx, h, strike(agentDemotes))
			if err != nil {
				return err
			}
			return errors.Join(c.Move(ctx, c.Other(h)), killed())
		})},
		{Text: "there are a primary and a standby in sync", Do: func(ctx context.Context) error {
			if err := c.Clear(ctx); err != nil {
				return err
			}
			return awaitBothBooting(ctx, c, hit)
		}},
	}}
}

// StopKilled is an agent that dies half-way through a stop. A stop that failed proves nothing, so Pacemaker fences the host.
func StopKilled(c *cluster.Cluster) Event {
	var hit *lab.Host
	return Event{Name: "agent killed during a stop", Limit: 60 * time.Second, Steps: []Step{
		{Text: "the primary's host is taken out of service, and the agent is killed that stops", Do: onPrimary(c, &hit, func(ctx context.Context, h *lab.Host) error {
			killed, err := Lurk(ctx, h, strike(agentStops))
			if err != nil {
				return err
			}
			return errors.Join(c.Standby(ctx, h, true), killed())
		})},
		{Text: "the other host takes over", Do: func(ctx context.Context) error {
			_, err := c.AwaitPrimary(ctx, c.Other(hit))
			return err
		}},
		{Text: "the host is fenced", Calm: 2 * time.Second, Do: func(ctx context.Context) error { return c.AwaitOff(ctx, hit) }},
		{Text: "it is put back into service and boots", Calm: 2 * time.Second, Do: func(ctx context.Context) error {
			if err := c.Standby(ctx, hit, false); err != nil {
				return err
			}
			return hit.Boot(ctx)
		}},
		{Text: "it is back as a streaming standby, in sync", Calm: 2 * time.Second, Do: func(ctx context.Context) error { return c.AwaitStandby(ctx, hit) }},
		{Text: "nothing is left to repair", Calm: 2 * time.Second, Do: c.AwaitCalm},
	}}
}

// podmanInStart is podman's service in a start, and not in the cleaning up before it.
const podmanInStart = "until pgrep --full '" + helperRuns + "'; do sleep 0.01; done; until pkill -KILL --full '" + podmanService + "'; do sleep 0.01; done"

// HelperKilled is the death of the helper while it starts a standby.
func HelperKilled(c *cluster.Cluster) Event {
	return startKilled(c, "helper killed during a start", "pgtwin-helper is killed that starts it anew", strike(helperRuns))
}

// PodmanKilled is the death of the service through which a container is started: it is the unit's own.
func PodmanKilled(c *cluster.Cluster) Event {
	return startKilled(c, "podman's service killed during a start", "podman's service is killed that starts it anew", podmanInStart)
}

// startKilled is a death in the midst of the start of a standby.
func startKilled(c *cluster.Cluster, name, text, script string) Event {
	var hit *lab.Host
	return Event{Name: name, Limit: commitsWait, Steps: []Step{
		{Text: "the standby's postmaster is killed, and " + text, Do: onStandby(c, &hit, func(ctx context.Context, h *lab.Host) error {
			killed, err := Lurk(ctx, h, script)
			if err != nil {
				return err
			}
			return errors.Join(killPostmaster(ctx, h), killed())
		})},
		{Text: "it is back, in sync", Do: func(ctx context.Context) error { return c.AwaitStandby(ctx, hit) }},
	}}
}

// PodmanKilledInRewind is the death of podman's service while it runs pg_rewind for the old primary: nothing of the job may
// work on in the data directory when the next one begins.
func PodmanKilledInRewind(c *cluster.Cluster) Event {
	return rewindKilled(c, "podman's service killed during a rewind", "podman's service is killed", podmanService)
}

// HelperKilledInRewind is the death of the helper meanwhile: to Pacemaker the database has failed, and the next activation finds
// it half done.
func HelperKilledInRewind(c *cluster.Cluster) Event {
	return rewindKilled(c, "helper killed during a rewind", "pgtwin-helper is killed", helperRuns)
}

// rewindKilled is a death in the midst of the rewind of an old primary.
func rewindKilled(c *cluster.Cluster, name, text, pattern string) Event {
	var hit *lab.Host
	script := "until pgrep --exact pg_rewind; do sleep 0.01; done; pkill -KILL --full '" + pattern + "'"
	var killed func() error
	return Event{Name: name, Limit: 10 * time.Second, Steps: []Step{
		{Text: "the primary's postmaster is killed", Do: onPrimary(c, &hit, func(ctx context.Context, h *lab.Host) (err error) {
			if killed, err = Lurk(ctx, h, script); err != nil {
				return err
			}
			return killPostmaster(ctx, h)
		})},
		{Text: "the other host takes over", Do: func(ctx context.Context) error {
			_, err := c.AwaitPrimary(ctx, c.Other(hit))
			return err
		}},
		{Text: text + " while the old primary is rewound", Calm: 2 * time.Second, Do: func(context.Context) error { return killed() }},
		{Text: "it is back as a streaming standby, in sync", Calm: 2 * time.Second, Do: func(ctx context.Context) error { return c.AwaitStandby(ctx, hit) }},
	}}
}

// SystemPodmanKilled is the death of the system's own service of podman, with which pgtwin has nothing to do.
func SystemPodmanKilled(c *cluster.Cluster) Event {
	return unaffected(c, "system's podman service killed", "the system's podman service is killed",
		func(ctx context.Context, h *lab.Host) error {
			for _, argv := range [][]string{{"systemctl", "start", "podman.service"}, {"systemctl", "kill", "--signal=KILL", "podman.service"}} {
				if _, err := h.Run(ctx, argv...); err != nil {
					return err
				}
			}
			return check(ctx, h)
		})
}
