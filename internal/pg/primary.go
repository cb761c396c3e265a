package pg

import (
	"context"
	"fmt"
	"path/filepath"
)

// Checkpoint writes a checkpoint (a restart point on a standby) at once. It takes as long as it
// takes: only ctx limits it, not the statement timeout.
func (c *Conn) Checkpoint(ctx context.Context) error {
	// Two statements in one message are one transaction, to which SET LOCAL is confined.
	_, err := c.session.PgConn().Exec(ctx, "SET LOCAL statement_timeout = 0; CHECKPOINT").ReadAll()
	if err != nil {
		return fmt.Errorf("cannot checkpoint on %s: %w", c.target, err)
	}
	return nil
}

// Reload makes the server read its configuration again; it does so a moment later (Look.ConfLoaded).
func (c *Conn) Reload(ctx context.Context) error {
	return c.exec(ctx, "reload the configuration", "SELECT pg_reload_conf()")
}

// ReclaimSynchronous takes back an ALTER SYSTEM SET synchronous_standby_names, which wins over every
// configuration file.
func (c *Conn) ReclaimSynchronous(ctx context.Context) error {
	const doing = "take back ALTER SYSTEM SET synchronous_standby_names"
	if err := c.exec(ctx, doing, "ALTER SYSTEM RESET synchronous_standby_names"); err != nil {
		return err
	}
	return c.Reload(ctx)
}

// ReclaimUpstream takes back what ALTER SYSTEM has made of a standby's connection to its primary.
func (c *Conn) ReclaimUpstream(ctx context.Context) error {
	for _, statement := range []string{"ALTER SYSTEM RESET primary_conninfo", "ALTER SYSTEM RESET primary_slot_name"} {
		if err := c.exec(ctx, "take back the connection to the primary", statement); err != nil {
			return err
		}
	}
	return c.Reload(ctx)
}

// SystemSet says whether a setting's file is the one that ALTER SYSTEM writes.
func SystemSet(file string) bool { return filepath.Base(file) == "postgresql.auto.conf" }
