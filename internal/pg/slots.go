package pg

import (
	"context"

	"pgtwin/internal/ha"
)

// EnsureSlot creates a physical slot that keeps WAL from now on, unless there is one of this name.
func (c *Conn) EnsureSlot(ctx context.Context, name string) error {
	err := c.exec(ctx, "create slot "+name, `SELECT pg_create_physical_replication_slot($1, true)
		WHERE NOT EXISTS (SELECT FROM pg_get_replication_slots() WHERE slot_name = $1)`, name)
	if hasCode(err, "42710") { // duplicate_object: another session was faster
		return nil
	}
	return err
}

// ReplaceSlot makes a slot anew, with nothing of what the old one kept. A slot in use is an error.
func (c *Conn) ReplaceSlot(ctx context.Context, name string) error {
	if err := c.DropSlot(ctx, name); err != nil {
		return err
	}
	return c.EnsureSlot(ctx, name)
}

// DropSlot drops a slot if it is there. A slot in use is an error.
func (c *Conn) DropSlot(ctx context.Context, name string) error {
	return c.exec(ctx, "drop slot "+name,
		"SELECT pg_drop_replication_slot(slot_name) FROM pg_get_replication_slots() WHERE slot_name = $1", name)
}

// AdvanceSlot lets the WAL before a position go that an idle slot keeps, as a standby must for the
// slots it holds ready. A slot that is in use, or there already, is left alone.
func (c *Conn) AdvanceSlot(ctx context.Context, name string, to ha.LSN) error {
	return c.exec(ctx, "advance slot "+name, `SELECT pg_replication_slot_advance(slot_name, $2::text::pg_lsn)
		FROM pg_get_replication_slots() WHERE slot_name = $1 AND NOT active AND restart_lsn < $2::text::pg_lsn`, name, to.String())
}
