package event

import (
	"context"
	"errors"
	"fmt"
	"path"
	"time"

	"pgtwin/test/e2e/cluster"
	"pgtwin/test/lab"
)

// PasswordRotated changes the replication role's password in both orders, and lets the standby log in anew each time.
func PasswordRotated(c *cluster.Cluster) Event {
	var first *lab.Host
	files := func(ctx context.Context) error {
		return errors.Join(c.WritePassFile(ctx, c.Hosts()[0]), c.WritePassFile(ctx, c.Hosts()[1]))
	}
	relogin := func(ctx context.Context) error {
		_, err := cluster.SQL(ctx, first, "select pg_terminate_backend(pid) from pg_stat_replication")
		return errors.Join(err, c.AwaitStandby(ctx, c.Other(first)))
	}
	return Event{Name: "password of the replication role rotated", Limit: 15 * time.Second, Steps: []Step{
		{Text: "the new password is written into both password files", Do: func(ctx context.Context) (err error) {
			if first, err = c.Primary(ctx); err != nil {
				return err
			}
			c.NewSecret()
			return files(ctx)
		}},
		{Text: "the role gets it", Do: func(ctx context.Context) error { return c.AlterPassword(ctx, first) }},
		{Text: "the standby, logged out, streams again in sync", Do: relogin},
		{Text: "the role gets another one first", Do: func(ctx context.Context) error {
			c.NewSecret()
			return c.AlterPassword(ctx, first)
		}},
		{Text: "the standby is logged out, and the files follow", Do: func(ctx context.Context) error {
			_, err := cluster.SQL(ctx, first, "select pg_terminate_backend(pid) from pg_stat_replication")
			return errors.Join(err, files(ctx), c.AwaitStandby(ctx, c.Other(first)))
		}},
		{Text: "the primary's postmaster is killed, and the other host takes over", Do: func(ctx context.Context) error {
			if err := killPostmaster(ctx, first); err != nil {
				return err
			}
			_, err := c.AwaitPrimary(ctx, c.Other(first))
			return err
		}},
		{Text: "the old primary is back with the new password, in sync", Do: func(ctx context.Context) error { return c.AwaitStandby(ctx, first) }},
		{Text: "nothing has failed", Do: c.AwaitCalm},
	}}
}

// linkedDir is where a configuration management puts PostgreSQL's files.
const linkedDir = "/etc/pgtwin-linked"

// ConfigurationLinked keeps the administrator's files outside the data directory, where only links lead to them: a base
// backup leaves those out, and pg_rewind stops at them.
func ConfigurationLinked(c *cluster.Cluster) Event {
	var first *lab.Host
	names := []string{"postgresql.conf", "pg_hba.conf"}
	linked := func(ctx context.Context, h *lab.Host) error {
		for _, name := range names {
			out, err := h.Run(ctx, "readlink", path.Join(cluster.DataDir, name))
			if err != nil {
				return fmt.Errorf("%s on %s is no link any more: %w", name, h.Name(), err)
			}
			if want := path.Join(linkedDir, name) + "\n"; out != want {
				return fmt.Errorf("%s on %s leads to %q", name, h.Name(), out)
			}
		}
		return nil
	}
	return Event{Name: "configuration files are links", Limit: 15 * time.Second, Steps: []Step{
		{Text: "postgresql.conf and pg_hba.conf of both hosts move to " + linkedDir + ", links stay", Do: func(ctx context.Context) (err error) {
			if first, err = c.Primary(ctx); err != nil {
				return err
			}
			for _, h := range c.Hosts() {
				err = errors.Join(err, inHost("install", "-d", "-o", "postgres", "-g", "postgres", linkedDir)(ctx, h))
				for _, name := range names {
					err = errors.Join(err,
						inHost("mv", path.Join(cluster.DataDir, name), linkedDir)(ctx, h),
						inHost("ln", "-s", path.Join(linkedDir, name), path.Join(cluster.DataDir, name))(ctx, h))
				}
				_, errSQL := cluster.SQL(ctx, h, "select pg_reload_conf()")
				err = errors.Join(err, errSQL)
			}
			return err
		}},
		{Text: "the primary's postmaster is killed, and the other host takes over", Do: func(ctx context.Context) error {
			if err := killPostmaster(ctx, first); err != nil {
				return err
			}
			_, err := c.AwaitPrimary(ctx, c.Other(first))
			return err
		}},
		{Text: "the old primary is back, in sync", Do: func(ctx context.Context) error { return c.AwaitStandby(ctx, first) }},
		{Text: "its links are where they were", Do: func(ctx context.Context) error { return linked(ctx, first) }},
		{Text: "the data of the standby are lost, and it is cloned", Do: func(ctx context.Context) error {
			if err := c.Standby(ctx, first, true); err != nil {
				return err
			}
			return errors.Join(c.AwaitGone(ctx, first), inHost("find", cluster.DataDir, "-mindepth", "1", "-delete")(ctx, first),
				c.Standby(ctx, first, false), c.AwaitStandby(ctx, first))
		}},
		{Text: "the clone takes over, and clients may log in", Do: func(ctx context.Context) error { return moveTo(ctx, c, first) }},
		{Text: "files take the place of the links again", Do: func(ctx context.Context) (err error) {
			for _, h := range c.Hosts() {
				for _, name := range names {
					file := path.Join(cluster.DataDir, name)
					err = errors.Join(err, inHost("cp", "--remove-destination", "--preserve", path.Join(linkedDir, name), file)(ctx, h))
				}
			}
			return err
		}},
		{Text: "nothing has failed", Do: c.AwaitCalm},
	}}
}
