package pg

import (
	"context"
	"fmt"
	"path/filepath"
	"time"
)

const promotionPoll = 5 * time.Millisecond

// Promote makes a standby a primary and waits until it takes writes. A server that is a primary
// already is promoted. The wait ends with ctx, the promotion does not.
func (c *Conn) Promote(ctx context.Context) error {
	standby, err := c.inRecovery(ctx)
	if err != nil || !standby {
		return err
	}
	err = c.exec(ctx, "promote", "SELECT pg_promote(wait => false)")
	if err != nil && !hasCode(err, "55000") { // 55000: a promotion asked for earlier has just ended
		return err
	}
	tick := time.NewTicker(promotionPoll)
	defer tick.Stop()
	for {
		if standby, err = c.inRecovery(ctx); err != nil || !standby {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("cannot see the promotion of %s end: %w", c.target, ctx.Err())
		case <-tick.C:
		}
	}
}

func (c *Conn) inRecovery(ctx context.Context) (standby bool, err error) {
	if err = c.session.QueryRow(ctx, "SELECT pg_is_in_recovery()").Scan(&standby); err != nil {
		err = fmt.Errorf("cannot ask %s for its role: %w", c.target, brief(err))
	}
	return standby, err
}

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
