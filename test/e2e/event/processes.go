package event

import (
	"context"
	"errors"
	"fmt"
	"time"

	"pgtwin/test/e2e/cluster"
	"pgtwin/test/e2e/ledger"
	"pgtwin/test/lab"
)

// BackendKilled is a session killed by a person or by the kernel's OOM killer. PostgreSQL then takes shared memory for
// corrupt and ends; restart_after_crash is off, so it is the cluster that decides what follows.
func BackendKilled(c *cluster.Cluster) Event {
	return takeover(c, "backend killed", 10*time.Second, "the process of a client's session is killed",
		inHost("pkill", "-KILL", "--oldest", "--full", "^postgres: .*ledger"))
}

// DatabaseHung is a server whose every process stands still: it answers nothing and ends nothing.
func DatabaseHung(c *cluster.Cluster) Event {
	// Ten seconds pass before a server that does not answer is given up, and some before it is proven dead.
	return takeover(c, "database hung", 30*time.Second, "every process of PostgreSQL on the primary's host is stopped (SIGSTOP)",
		inHost("pkill", "-STOP", "--exact", "postgres"))
}

// MainProcessKilled is the death of what keeps the container: conmon, or with docker the helper.
func MainProcessKilled(c *cluster.Cluster) Event {
	return takeover(c, "main process killed", 10*time.Second, "the main process of the primary's unit is killed",
		func(ctx context.Context, h *lab.Host) error {
			pid, err := cluster.MainPID(ctx, h, cluster.Unit)
			if err != nil {
				return err
			}
			return cluster.Kill(ctx, h, pid)
		})
}

// ContainerRemoved is what a person may do who does not know whose container that is.
func ContainerRemoved(c *cluster.Cluster) Event {
	engine := "podman"
	if c.Mode() == "docker" {
		engine = "docker"
	}
	return takeover(c, "container removed", 10*time.Second, engine+" rm --force on the primary's host", inHost(engine, "rm", "--force", cluster.Instance))
}

// StandbyKilled is a crash that clients must hardly notice: commits wait for the standby until it is back.
func StandbyKilled(c *cluster.Cluster) Event {
	var hit *lab.Host
	return Event{Name: "standby's postmaster killed", Limit: 15 * time.Second, Steps: []Step{
		{Text: "the standby's postmaster is killed", Do: onStandby(c, &hit, killPostmaster)},
		{Text: "it is back, in sync", Do: func(ctx context.Context) error { return c.AwaitStandby(ctx, hit) }},
	}}
}

// SupervisorHung is a fault of pgtwin's own that systemd's watchdog ends.
func SupervisorHung(c *cluster.Cluster) Event {
	return undisturbed(c, "supervisor hung", "the primary's supervisor is stopped (SIGSTOP)",
		inHost("systemctl", "kill", "--kill-whom=main", "--signal=STOP", cluster.Watcher))
}

// BusRestarted is an upgrade of systemd and of the message bus that the agent's orders go over.
func BusRestarted(c *cluster.Cluster) Event {
	return unaffected(c, "message bus restarted", "the D-Bus daemon is restarted, and systemd executes itself anew",
		func(ctx context.Context, h *lab.Host) error {
			for _, argv := range [][]string{{"systemctl", "restart", "dbus.service"}, {"systemctl", "daemon-reexec"}} {
				if _, err := h.Run(ctx, argv...); err != nil {
					return err
				}
			}
			return check(ctx, h)
		})
}

// check lets Pacemaker's tool run a monitor on the host now.
func check(ctx context.Context, h *lab.Host) error {
	_, err := h.Run(ctx, "crm_resource", "--resource", cluster.Resource, "--force-check")
	if code := cluster.ExitCode(err); code == 8 { // OCF_RUNNING_PROMOTED
		return nil
	}
	return fmt.Errorf("a monitor of the primary says: %w", err)
}

// ConnectionsExhausted is an application that takes every connection: the cluster must neither take the primary for dead nor
// be unable to move it.
func ConnectionsExhausted(c *cluster.Cluster) Event {
	var hit *lab.Host
	var crowd *ledger.Crowd
	return Event{Name: "connections exhausted", Limit: 10 * time.Second, Steps: []Step{
		{Text: "a crowd takes every connection of the primary", Do: onPrimary(c, &hit, func(ctx context.Context, h *lab.Host) (err error) {
			login := c.DirectClient("crowd")
			login.Hosts = []string{h.Addr()}
			crowd, err = ledger.Gather(ctx, login)
			return err
		})},
		{Text: "a monitor finds the primary", Do: func(ctx context.Context) error { return check(ctx, hit) }},
		{Text: "nothing has failed", Do: c.AwaitCalm},
		{Text: "the primary can be moved all the same", Do: func(ctx context.Context) error {
			if err := c.Move(ctx, c.Other(hit)); err != nil {
				return err
			}
			_, err := c.AwaitPrimary(ctx, c.Other(hit))
			crowd.Leave(ctx)
			return errors.Join(err, c.Clear(ctx))
		}},
		{Text: "the old primary follows, in sync", Calm: 2 * time.Second, Do: func(ctx context.Context) error { return c.AwaitStandby(ctx, hit) }},
	}}
}
