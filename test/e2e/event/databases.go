package event

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"pgtwin/test/e2e/cluster"
	"pgtwin/test/lab"
)

// The events of this file are settings, roles and databases as administrators have them.

// RoleSettings are what an administrator may have set for the role and the database that pgtwin logs in to.
func RoleSettings(c *cluster.Cluster) Event {
	const hostile = `
create role reader;
alter role postgres set default_transaction_isolation = 'serializable';
alter role postgres set default_transaction_read_only = on;
alter role postgres set search_path = 'nowhere';
alter role postgres set statement_timeout = 1;
alter role postgres set role = 'reader';
alter database postgres set default_transaction_isolation = 'serializable';
alter database postgres set default_transaction_deferrable = on;
`
	const undo = `
alter role postgres reset all; alter database postgres reset all; drop role reader;
`
	var first *lab.Host
	crash := func(ctx context.Context, h *lab.Host) error { return killPostmaster(ctx, h) }
	return Event{Name: "hostile settings of a role", Limit: 15 * time.Second, Steps: []Step{
		{Text: "the superuser and its database get settings that break queries", Do: func(ctx context.Context) (err error) {
			if first, err = c.Primary(ctx); err != nil {
				return err
			}
			if _, err := cluster.SQL(ctx, first, hostile); err != nil {
				return err
			}
			return c.InSync(ctx)
		}},
		{Text: "the primary's postmaster is killed", Do: func(ctx context.Context) error { return crash(ctx, first) }},
		{Text: "the other host takes over", Do: func(ctx context.Context) error {
			_, err := c.AwaitPrimary(ctx, c.Other(first))
			return err
		}},
		{Text: "the first is back, in sync", Do: func(ctx context.Context) error { return c.AwaitStandby(ctx, first) }},
		{Text: "the second postmaster is killed, too", Do: func(ctx context.Context) error { return crash(ctx, c.Other(first)) }},
		{Text: "the first takes over", Do: func(ctx context.Context) error {
			_, err := c.AwaitPrimary(ctx, first)
			return err
		}},
		{Text: "the second is back, in sync", Do: func(ctx context.Context) error { return c.AwaitStandby(ctx, c.Other(first)) }},
		{Text: "the primary's host loses its power", Do: func(ctx context.Context) error { return first.PowerOff(ctx) }},
		{Text: "the second takes over", Do: func(ctx context.Context) error {
			_, err := c.AwaitPrimary(ctx, c.Other(first))
			return err
		}},
		{Text: "the lost host boots and is back, in sync", Do: func(ctx context.Context) error {
			return errors.Join(first.Boot(ctx), c.AwaitStandby(ctx, first))
		}},
		{Text: "the settings are taken back", Do: func(ctx context.Context) error {
			_, err := cluster.SQL(ctx, c.Other(first), undo)
			return err
		}},
		{Text: "nothing has failed", Do: c.AwaitCalm},
	}}
}

// CatalogLocked is maintenance of a shared catalog: nobody can log in, and open sessions go on.
func CatalogLocked(c *cluster.Cluster) Event {
	var hit *lab.Host
	var server int
	return Event{Name: "shared catalogs locked", Limit: time.Second, Steps: []Step{
		// The lock ends with the session, which ends by itself.
		{Text: "pg_authid and pg_database are locked for 30 s, longer than a hung server is waited for", Do: onPrimary(c, &hit, func(ctx context.Context, h *lab.Host) (err error) {
			if server, err = cluster.Postmaster(ctx, h); err != nil {
				return err
			}
			_, err = cluster.SQL(ctx, h, "begin; lock pg_authid, pg_database in access exclusive mode; select pg_sleep(30)")
			return err
		})},
		{Text: "nothing has failed", Do: c.AwaitCalm},
		{Text: "PostgreSQL is the same process, still primary", Do: func(ctx context.Context) error {
			return samePrimary(ctx, c, hit, server)
		}},
	}}
}

// DatabaseDropped takes away the database that tools log in to by default.
func DatabaseDropped(c *cluster.Cluster) Event {
	var first *lab.Host
	return Event{Name: "database postgres dropped", Limit: 10 * time.Second, Steps: []Step{
		{Text: "database postgres is dropped, sessions or not", Do: onPrimary(c, &first, func(ctx context.Context, h *lab.Host) error {
			_, err := cluster.SQLIn(ctx, h, "template1", "drop database postgres with (force)")
			return err
		})},
		{Text: "status says so, on the primary that stays", Do: func(ctx context.Context) error {
			if err := awaitStatus(ctx, first, "database postgres"); err != nil {
				return err
			}
			_, err := c.AwaitPrimary(ctx, first)
			return err
		}},
		{Text: "the primary's postmaster is killed", Do: func(ctx context.Context) error { return killPostmaster(ctx, first) }},
		{Text: "the other host takes over", Do: func(ctx context.Context) error {
			_, err := c.AwaitPrimary(ctx, c.Other(first))
			return err
		}},
		{Text: "the old primary is back, in sync", Do: func(ctx context.Context) error { return c.AwaitStandby(ctx, first) }},
		{Text: "the database is made again", Do: func(ctx context.Context) error {
			_, err := cluster.SQLIn(ctx, c.Other(first), "template1", "create database postgres template template0")
			return err
		}},
		{Text: "nothing has failed", Do: c.AwaitCalm},
	}}
}

// awaitStatus returns when a warning of the host's status has all parts.
func awaitStatus(ctx context.Context, h *lab.Host, parts ...string) error {
	return cluster.Await(ctx, fmt.Sprintf("a warning on %s of %q", h.Name(), parts), func(ctx context.Context) error {
		st, err := cluster.Status(ctx, h)
		if err != nil {
			return err
		}
		text := strings.Join(append(st.Warnings, st.Advice...), "\n")
		for _, part := range parts {
			if !strings.Contains(text, part) {
				return fmt.Errorf("%q is not in: %s", part, text)
			}
		}
		return nil
	})
}

// RestoredToATime leaves what a restore to a point in time has left: a target that was reached long ago.
func RestoredToATime(c *cluster.Cluster) Event {
	var first *lab.Host
	return Event{Name: "restored to a point in time once", Limit: 15 * time.Second, Steps: []Step{
		{Text: "recovery targets stand in postgresql.auto.conf and postgresql.conf of both hosts", Do: func(ctx context.Context) (err error) {
			if first, err = c.Primary(ctx); err != nil {
				return err
			}
			for _, h := range c.Hosts() {
				_, errSQL := cluster.SQL(ctx, h, "alter system set recovery_target_time = '2023-01-27 10:00:00+00'; alter system set recovery_target_action = 'promote'")
				_, errFile := h.RunInput(ctx, "recovery_target_inclusive = off\nrecovery_target_timeline = 'current'\n", "tee", "--append", cluster.DataDir+"/postgresql.conf")
				err = errors.Join(err, errSQL, errFile)
			}
			return err
		}},
		{Text: "the standby's postmaster is killed, and the standby is back, in sync", Do: func(ctx context.Context) error {
			return restartByCrash(ctx, c, c.Other(first))
		}},
		{Text: "the primary's postmaster is killed", Do: func(ctx context.Context) error { return killPostmaster(ctx, first) }},
		{Text: "the other host takes over", Do: func(ctx context.Context) error {
			_, err := c.AwaitPrimary(ctx, c.Other(first))
			return err
		}},
		{Text: "the old primary is back, in sync", Do: func(ctx context.Context) error { return c.AwaitStandby(ctx, first) }},
		{Text: "no server has a target", Do: func(ctx context.Context) error {
			for _, h := range c.Hosts() {
				out, err := cluster.SQL(ctx, h, "select current_setting('recovery_target_time') || current_setting('recovery_target_action')")
				if err == nil && out != "pause" {
					err = fmt.Errorf("on %s they are %q", h.Name(), out)
				}
				if err != nil {
					return err
				}
			}
			return nil
		}},
		{Text: "the lines are taken out of postgresql.conf again", Do: func(ctx context.Context) error {
			for _, h := range c.Hosts() {
				if _, err := h.Run(ctx, "sed", "-i", "/^recovery_target/d", cluster.DataDir+"/postgresql.conf"); err != nil {
					return err
				}
			}
			return nil
		}},
		// The crash of the standby is on Pacemaker's list of failures until that is cleaned up.
		{Text: "the cluster is whole", Do: func(ctx context.Context) error {
			return cluster.Await(ctx, "a whole cluster", c.Whole)
		}},
	}}
}

// restartByCrash kills a standby's postmaster and returns when another one is in sync.
func restartByCrash(ctx context.Context, c *cluster.Cluster, standby *lab.Host) error {
	before, err := cluster.Postmaster(ctx, standby)
	if err != nil {
		return err
	}
	if err := cluster.Kill(ctx, standby, before); err != nil {
		return err
	}
	err = cluster.Await(ctx, "another postmaster", func(ctx context.Context) error {
		now, err := cluster.Postmaster(ctx, standby)
		if err == nil && now == before {
			err = errors.New("it is the same")
		}
		return err
	})
	if err != nil {
		return err
	}
	return c.AwaitStandby(ctx, standby)
}

// ConnectionsRaised raises max_connections the usual way, on one host and then on both, with failovers between.
func ConnectionsRaised(c *cluster.Cluster) Event {
	var first *lab.Host
	return Event{Name: "max_connections raised", Limit: 15 * time.Second, Steps: []Step{
		{Text: "max_connections is raised on the primary alone", Do: onPrimary(c, &first, func(ctx context.Context, h *lab.Host) error {
			_, err := cluster.SQL(ctx, h, "alter system set max_connections = 300")
			return err
		})},
		{Text: "status says that it waits for a restart", Do: func(ctx context.Context) error {
			if _, err := cluster.SQL(ctx, first, "select pg_reload_conf()"); err != nil {
				return err
			}
			return awaitStatus(ctx, first, "max_connections")
		}},
		{Text: "the primary role goes to the other host and back", Do: func(ctx context.Context) error {
			return errors.Join(moveTo(ctx, c, c.Other(first)), moveTo(ctx, c, first))
		}},
		{Text: "the standby has what its primary has, and is complete", Do: func(ctx context.Context) error {
			if err := c.AwaitStandby(ctx, c.Other(first)); err != nil {
				return err
			}
			return bothShow(ctx, c, "max_connections", "300")
		}},
		{Text: "the primary's postmaster is killed", Do: func(ctx context.Context) error { return killPostmaster(ctx, first) }},
		{Text: "the other host takes over", Do: func(ctx context.Context) error {
			_, err := c.AwaitPrimary(ctx, c.Other(first))
			return err
		}},
		{Text: "the old primary is back, in sync", Do: func(ctx context.Context) error { return c.AwaitStandby(ctx, first) }},
		// The restart of the standby whose replay was held is on Pacemaker's list of failures until that is cleaned up.
		{Text: "the cluster is whole", Do: func(ctx context.Context) error {
			return cluster.Await(ctx, "a whole cluster", c.Whole)
		}},
	}}
}

// ConnectionsLowered takes the raise back on both hosts. The lower value has to come into use, although every server starts
// as a standby and a standby may not have less than its primary had.
func ConnectionsLowered(c *cluster.Cluster) Event {
	return Event{Name: "max_connections lowered", Limit: time.Minute, Steps: []Step{
		{Text: "the setting is taken back on both hosts", Do: func(ctx context.Context) (err error) {
			for _, h := range c.Hosts() {
				_, errSQL := cluster.SQL(ctx, h, "alter system reset max_connections")
				err = errors.Join(err, errSQL)
			}
			return err
		}},
		{Text: "the primary's postmaster is killed, and the other host takes over", Do: func(ctx context.Context) error {
			first, err := c.Primary(ctx)
			if err != nil {
				return err
			}
			if err := killPostmaster(ctx, first); err != nil {
				return err
			}
			if _, err := c.AwaitPrimary(ctx, c.Other(first)); err != nil {
				return err
			}
			return c.AwaitStandby(ctx, first)
		}},
		{Text: "the database is stopped on both hosts, and started", Do: func(ctx context.Context) error {
			if err := c.SetTarget(ctx, "Stopped"); err != nil {
				return err
			}
			if err := errors.Join(c.AwaitGone(ctx, c.Hosts()[0]), c.AwaitGone(ctx, c.Hosts()[1])); err != nil {
				return err
			}
			if err := c.SetTarget(ctx, "Started"); err != nil {
				return err
			}
			_, _, err := c.AwaitBoth(ctx)
			return err
		}},
		{Text: "the standby is restarted", Do: func(ctx context.Context) error {
			primary, err := c.Primary(ctx)
			if err != nil {
				return err
			}
			standby := c.Other(primary)
			if err := c.Standby(ctx, standby, true); err != nil {
				return err
			}
			return errors.Join(c.AwaitGone(ctx, standby), c.Standby(ctx, standby, false), c.AwaitStandby(ctx, standby))
		}},
		{Text: "both have the lower value", Do: func(ctx context.Context) error { return bothShow(ctx, c, "max_connections", "100") }},
		{Text: "nothing has failed", Do: c.AwaitCalm},
	}}
}

// moveTo orders the promoted role onto a host and takes the order back when everything is in sync.
func moveTo(ctx context.Context, c *cluster.Cluster, h *lab.Host) error {
	if err := c.Move(ctx, h); err != nil {
		return err
	}
	if _, err := c.AwaitPrimary(ctx, h); err != nil {
		return err
	}
	return errors.Join(c.Clear(ctx), c.AwaitStandby(ctx, c.Other(h)))
}

// bothShow waits until both servers have a value of a setting in use.
func bothShow(ctx context.Context, c *cluster.Cluster, name, want string) error {
	return cluster.Await(ctx, name+" = "+want+" on both hosts", func(ctx context.Context) error {
		for _, h := range c.Hosts() {
			got, err := cluster.SQL(ctx, h, "show "+name)
			if err == nil && got != want {
				err = fmt.Errorf("%s has %s", h.Name(), got)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// PromotedByHand is an administrator who knows PostgreSQL and not the cluster.
func PromotedByHand(c *cluster.Cluster) Event {
	var standby *lab.Host
	return Event{Name: "standby promoted by hand", Limit: 15 * time.Second, Steps: []Step{
		{Text: "pg_promote() is called on the standby", Do: onStandby(c, &standby, func(ctx context.Context, h *lab.Host) error {
			_, err := cluster.SQL(ctx, h, "select pg_promote(wait => false)")
			return err
		})},
		{Text: "it is brought back onto the primary's history, in sync", Do: func(ctx context.Context) error {
			return cluster.Await(ctx, "its return", func(ctx context.Context) error {
				history, err := standby.Run(ctx, "pgtwin", "history")
				if err == nil && !strings.Contains(history, "by hand") {
					err = fmt.Errorf("pgtwin history does not say so: %s", history)
				}
				return errors.Join(err, c.Whole(ctx))
			})
		}},
	}}
}
