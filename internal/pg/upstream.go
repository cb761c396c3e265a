package pg

import (
	"cmp"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"pgtwin/internal/ha"
)

// AskPrimary asks the server that this node is to follow who it is and what its
// history is. A server that is in recovery is an error: it is no primary. Where it
// gives no session in a database in half of the time, or refuses it, a connection in
// replication mode tells the rest: Checkpointed is then false, Oldest 0 and Slots nil,
// which all mean that they are not known.
func AskPrimary(ctx context.Context, t Target) (ha.Upstream, error) {
	upstream, err := askPrimary(ctx, t)
	if err != nil {
		return ha.Upstream{}, fmt.Errorf("cannot ask the primary: %w", brief(err))
	}
	return upstream, nil
}

func askPrimary(ctx context.Context, t Target) (ha.Upstream, error) {
	upstream, checkpoint, why := askDatabase(ctx, t)
	if errors.Is(why, errStandby) {
		return ha.Upstream{}, why
	}
	r, err := connectReplication(ctx, t)
	if err != nil {
		return ha.Upstream{}, cmp.Or(why, err)
	}
	defer r.close(ctx)
	identity, err := r.identify(ctx)
	if err != nil {
		return ha.Upstream{}, err
	}
	if identity.Standby {
		return ha.Upstream{}, fmt.Errorf("%s: %w", t, errStandby)
	}
	if why != nil {
		upstream.Refused = clip(why.Error(), reasonLimit)
	}
	upstream.System, upstream.Position = identity.System, identity.Position
	upstream.Checkpointed = checkpoint == identity.Timeline
	upstream.History, err = r.history(ctx, identity.Timeline)
	return upstream, err
}

var errStandby = errors.New("the server is a standby")

// askDatabase asks what takes a session in a database, in half of the time that there is. Without an
// answer everything is zero, which is no timeline.
func askDatabase(ctx context.Context, t Target) (u ha.Upstream, checkpoint ha.Timeline, err error) {
	ctx, cancel := halfOf(ctx)
	defer cancel()
	conn, err := ConnectServer(ctx, t)
	if err != nil {
		return ha.Upstream{}, 0, err
	}
	defer conn.Close(ctx)
	u, checkpoint, err = conn.upstream(ctx)
	if err != nil {
		return ha.Upstream{}, 0, err
	}
	return u, checkpoint, nil
}

// halfOf leaves half of the time for another attempt.
func halfOf(ctx context.Context) (context.Context, context.CancelFunc) {
	limit := defaultTimeout
	if deadline, ok := ctx.Deadline(); ok {
		limit = min(limit, time.Until(deadline)/2)
	}
	return context.WithTimeout(ctx, limit)
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
		return u, 0, fmt.Errorf("%s: %w", c.target, errStandby)
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
