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
		return fmt.Errorf("cannot checkpoint on %s: %w", c.target, brief(err))
	}
	return nil
}

// Reload makes the server read its configuration again; it does so a moment later (Look.ConfLoaded).
func (c *Conn) Reload(ctx context.Context) error {
	return c.exec(ctx, "reload the configuration", "SELECT pg_reload_conf()")
}

// SystemSet says whether a setting's file is the one that ALTER SYSTEM writes.
func SystemSet(file string) bool { return filepath.Base(file) == "postgresql.auto.conf" }
