package pg

import (
	"context"
	"fmt"

	"pgtwin/internal/ha"
)

// AskPrimary asks the server that this node is to follow who it is and what its
// history is. A server that is in recovery is an error: it is no primary.
func AskPrimary(ctx context.Context, t Target) (ha.Upstream, error) {
	upstream, err := askPrimary(ctx, t)
	if err != nil {
		return ha.Upstream{}, fmt.Errorf("cannot ask the primary: %w", err)
	}
	return upstream, nil
}

func askPrimary(ctx context.Context, t Target) (ha.Upstream, error) {
	conn, err := Connect(ctx, t)
	if err != nil {
		return ha.Upstream{}, err
	}
	defer conn.Close(ctx)
	var standby bool
	var checkpoint int64
	// The control file is read by everybody's functions (manual, "Control Data
	// Functions"), so the replication user needs no more than to log in.
	const question = "select pg_is_in_recovery(), timeline_id from pg_control_checkpoint()"
	if err := conn.session.QueryRow(ctx, question).Scan(&standby, &checkpoint); err != nil {
		return ha.Upstream{}, err
	}
	if standby {
		return ha.Upstream{}, fmt.Errorf("the server at %s is a standby", t)
	}
	system, tl, position, err := IdentifySystem(ctx, t)
	if err != nil {
		return ha.Upstream{}, err
	}
	history, err := ReplicationHistory(ctx, t, tl)
	if err != nil {
		return ha.Upstream{}, err
	}
	return ha.Upstream{System: system, History: history, Position: position, Checkpointed: ha.Timeline(checkpoint) == tl}, nil
}
