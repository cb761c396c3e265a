package pg

import (
	"context"
	"errors"
	"fmt"

	"pgtwin/internal/ha"
)

// AskPosition asks a standby of the database how far it has WAL. One that has not
// read to the end of its own since its start does not know, which is an error: its
// receiver is asked to run only then (WaitForWALToBecomeAvailable in xlogrecovery.c).
// A connection in replication mode is no substitute, because it does not tell this.
func AskPosition(ctx context.Context, t Target, system uint64) (ha.LSN, error) {
	at, err := askPosition(ctx, t, system)
	if err != nil {
		return 0, fmt.Errorf("cannot ask a standby for its position: %w", brief(err))
	}
	return at, nil
}

func askPosition(ctx context.Context, t Target, system uint64) (ha.LSN, error) {
	conn, err := ConnectServer(ctx, t)
	if err != nil {
		return 0, err
	}
	defer conn.Close(ctx)
	// All of it is open to the replication user.
	const question = `SELECT pg_is_in_recovery(), pg_last_wal_receive_lsn() IS NOT NULL,
		coalesce(greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()), '0/0')::text,
		system_identifier FROM pg_control_system()`
	var standby, read bool
	var at string
	var identifier int64
	if err := conn.session.QueryRow(ctx, question).Scan(&standby, &read, &at, &identifier); err != nil {
		return 0, err
	}
	switch {
	case !standby:
		return 0, fmt.Errorf("%s is no standby", t)
	case uint64(identifier) != system:
		return 0, fmt.Errorf("%s has another database: system identifier %d, expected %d", t, uint64(identifier), system)
	case !read:
		return 0, errors.New("it has not read all of its WAL yet")
	}
	return ha.ParseLSN(at)
}
