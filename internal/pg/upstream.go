package pg

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

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
	upstream, checkpoint, err := conn.upstream(ctx)
	if err != nil {
		return ha.Upstream{}, err
	}
	system, tl, position, err := IdentifySystem(ctx, t)
	if err != nil {
		return ha.Upstream{}, err
	}
	history, err := ReplicationHistory(ctx, t, tl)
	if err != nil {
		return ha.Upstream{}, err
	}
	upstream.System, upstream.History, upstream.Position, upstream.Checkpointed = system, history, position, checkpoint == tl
	return upstream, nil
}

//go:embed upstream.sql
var upstreamSQL string

// upstream asks what the replication protocol does not tell. The control file and the slots are
// everybody's to read (manual, "Control Data Functions"), so the replication user needs no more than to log in.
func (c *Conn) upstream(ctx context.Context) (u ha.Upstream, checkpoint ha.Timeline, err error) {
	var answer []byte
	if err := c.session.QueryRow(ctx, upstreamSQL).Scan(&answer); err != nil {
		return u, 0, err
	}
	var row struct {
		Standby    bool
		Checkpoint ha.Timeline
		Slots      []ha.Slot
	}
	if err := json.Unmarshal(answer, &row); err != nil {
		return u, 0, err
	}
	if row.Standby {
		return u, 0, fmt.Errorf("the server at %s is a standby", c.target)
	}
	u.Slots = row.Slots
	u.Oldest, err = c.oldestWAL(ctx)
	return u, row.Checkpoint, err
}

// oldestWAL is where the WAL begins that the server still has, 0 for a role that may not look
// (EnsureReplicationRole has not been here yet). WAL is removed by position, whatever its timeline
// (RemoveOldXlogFiles in xlog.c): the lowest segment number counts.
func (c *Conn) oldestWAL(ctx context.Context) (ha.LSN, error) {
	var segment string
	var size int64
	err := c.session.QueryRow(ctx, `SELECT coalesce(min(substr(name, 9)), ''), pg_size_bytes(current_setting('wal_segment_size'))
		FROM pg_ls_dir('pg_wal', true, false) AS name WHERE name ~ '^[0-9A-F]{24}$'`).Scan(&segment, &size)
	if hasCode(err, "42501") || err == nil && segment == "" { // insufficient_privilege
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return segmentStart(segment, size)
}

// segmentStart is where a segment begins. Its number is in two parts of eight digits, of which the
// lower counts the segments in 4 GB.
func segmentStart(number string, size int64) (ha.LSN, error) {
	high, errHigh := strconv.ParseUint(number[:len(number)/2], 16, 32)
	low, errLow := strconv.ParseUint(number[len(number)/2:], 16, 32)
	if err := errors.Join(errHigh, errLow); err != nil {
		return 0, fmt.Errorf("cannot read segment number %q: %w", number, err)
	}
	return ha.LSN(high<<32 + low*uint64(size)), nil
}
