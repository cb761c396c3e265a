package pg

import (
	"context"
	"fmt"
	"strconv"

	"github.com/jackc/pgx/v5/pgconn"

	"pgtwin/internal/ha"
)

// replicationSession is a connection in (physical) replication mode, which belongs to no database.
type replicationSession struct{ session *pgconn.PgConn }

func connectReplication(ctx context.Context, t Target) (*replicationSession, error) {
	t.Database = "replication" // the entry to take from the password file; the server does not look at it
	config, err := configure(t)
	if err != nil {
		return nil, err
	}
	config.RuntimeParams["replication"] = "true"
	session, err := pgconn.ConnectConfig(ctx, &config.Config)
	if hasCode(err, "42704") && t.Major > oldestMajor { // see Connect
		t.Major = 0
		return connectReplication(ctx, t)
	}
	if err != nil {
		return nil, err
	}
	return &replicationSession{session}, nil
}

func (r *replicationSession) close(ctx context.Context) { r.session.Close(ctx) }

// IdentifySystem asks a server, as a standby would, which database it is, on which timeline, and how
// far its WAL goes (flushed on a primary, received or replayed on a standby).
func IdentifySystem(ctx context.Context, t Target) (system uint64, tl ha.Timeline, lsn ha.LSN, err error) {
	r, err := connectReplication(ctx, t)
	if err == nil {
		defer r.close(ctx)
		system, tl, lsn, err = r.identifySystem(ctx)
	}
	if err != nil {
		return 0, 0, 0, fmt.Errorf("cannot identify %s: %w", t, brief(err))
	}
	return system, tl, lsn, nil
}

func (r *replicationSession) identifySystem(ctx context.Context) (system uint64, tl ha.Timeline, lsn ha.LSN, err error) {
	row, err := r.command(ctx, "IDENTIFY_SYSTEM")
	if err == nil && len(row) < 3 {
		err = fmt.Errorf("%d columns came back", len(row))
	}
	if err != nil {
		return 0, 0, 0, err
	}
	return parseIdentity(string(row[0]), string(row[1]), string(row[2]))
}

func parseIdentity(system, tl, lsn string) (uint64, ha.Timeline, ha.LSN, error) {
	id, err := strconv.ParseUint(system, 10, 64)
	if err != nil {
		return 0, 0, 0, err
	}
	timeline, err := strconv.ParseUint(tl, 10, 32)
	if err != nil {
		return 0, 0, 0, err
	}
	position, err := ha.ParseLSN(lsn)
	return id, ha.Timeline(timeline), position, err
}

// ReplicationHistory fetches a timeline's history from a server. Timeline 1 has none and is not
// asked for.
func ReplicationHistory(ctx context.Context, t Target, tl ha.Timeline) (ha.History, error) {
	if tl == 1 {
		return ha.History{Timeline: 1}, nil
	}
	r, err := connectReplication(ctx, t)
	if err != nil {
		return ha.History{}, fmt.Errorf("cannot fetch the history of timeline %d from %s: %w", tl, t, brief(err))
	}
	defer r.close(ctx)
	history, err := r.history(ctx, tl)
	if err != nil {
		return ha.History{}, fmt.Errorf("cannot fetch the history of timeline %d from %s: %w", tl, t, brief(err))
	}
	return history, nil
}

// history fetches a timeline's history; timeline 1 has none.
func (r *replicationSession) history(ctx context.Context, tl ha.Timeline) (ha.History, error) {
	if tl == 1 {
		return ha.History{Timeline: 1}, nil
	}
	row, err := r.command(ctx, "TIMELINE_HISTORY "+strconv.FormatUint(uint64(tl), 10))
	if err == nil && len(row) < 2 {
		err = fmt.Errorf("%d columns came back", len(row))
	}
	if err != nil {
		return ha.History{}, err
	}
	return ParseHistory(tl, string(row[1]))
}

// command runs one replication command and answers its one row.
func (r *replicationSession) command(ctx context.Context, command string) (row [][]byte, err error) {
	results, err := r.session.Exec(ctx, command).ReadAll()
	if err != nil {
		return nil, err
	}
	if len(results) != 1 || len(results[0].Rows) != 1 {
		return nil, fmt.Errorf("%s: not one row came back", command)
	}
	return results[0].Rows[0], nil
}
