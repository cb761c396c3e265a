package pg

import (
	"context"
	"errors"
	"fmt"

	"pgtwin/internal/ha"
)

// Identity is what a server tells on a connection in replication mode, which belongs to no database: no
// database has to be there, and no setting of a role or database is in force.
type Identity struct {
	Standby  bool // in recovery
	System   uint64
	Timeline ha.Timeline
	// Position is how far its WAL goes: flushed on a primary; on a standby received, or replayed where
	// it has received nothing on that timeline. A standby may have more that it has not read yet.
	Position ha.LSN
}

// AskRole asks a server who it is on a connection in replication mode, for where Connect is refused:
// database postgres dropped (3D000) or closed (55000), CONNECT revoked (42501), all connections but
// those of walsenders taken (53300), a lock on pg_database. Over the socket, t is the superuser's, for
// whom pg_hba.conf has a rule (hbaConf). A lock on pg_authid stops every new session, this too.
func AskRole(ctx context.Context, t Target) (Identity, error) {
	r, err := connectReplication(ctx, t)
	if err != nil {
		return Identity{}, fmt.Errorf("cannot ask %s for its role: %w", t, brief(err))
	}
	defer r.close(ctx)
	identity, err := r.identify(ctx)
	if err != nil {
		return Identity{}, fmt.Errorf("cannot ask %s for its role: %w", t, brief(err))
	}
	return identity, nil
}

// identify asks on a session in replication mode. PostgreSQL reports the role unasked since version 14
// (manual, "Asynchronous Operations": in_hot_standby).
func (r *replicationSession) identify(ctx context.Context) (i Identity, err error) {
	switch r.session.ParameterStatus("in_hot_standby") {
	case "on":
		i.Standby = true
	case "off":
	default:
		return i, errors.New("the server does not tell whether it is in recovery")
	}
	i.System, i.Timeline, i.Position, err = r.identifySystem(ctx)
	return i, err
}

// AskSynchronous asks for synchronous_standby_names in force on a connection in replication mode, as
// AskRole does (manual, "Streaming Replication Protocol": SHOW).
func AskSynchronous(ctx context.Context, t Target) (string, error) {
	r, err := connectReplication(ctx, t)
	var row [][]byte
	if err == nil {
		defer r.close(ctx)
		row, err = r.command(ctx, "SHOW synchronous_standby_names")
	}
	if err == nil && len(row) == 0 {
		err = errors.New("no column came back")
	}
	if err != nil {
		return "", fmt.Errorf("cannot ask %s whom commits wait for: %w", t, brief(err))
	}
	return string(row[0]), nil
}
