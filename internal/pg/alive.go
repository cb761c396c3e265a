package pg

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// sqlState is the SQLSTATE with which the server itself answered, in an error; "" where the error is
// not an answer of the server: nobody answered, or not in time.
func sqlState(err error) string {
	var answer *pgconn.PgError
	if errors.As(err, &answer) {
		return answer.Code
	}
	return ""
}

// Refusals that tell of a server's state, and not that it serves (manual, "PostgreSQL Error Codes").
const (
	adminShutdown    = "57P01"
	crashShutdown    = "57P02"
	cannotConnectNow = "57P03"
)

// Serves says whether an error is the answer of a server that is up. One that starts, that shuts down,
// or that takes no connections in its state, answers, too, but that proves nothing: it may do so for
// ever.
func Serves(err error) bool {
	code := sqlState(err)
	return code != "" && code != adminShutdown && code != crashShutdown && code != cannotConnectNow
}

// RefusesAll says whether the server answered that it takes no connections in its present state.
func RefusesAll(err error) bool { return sqlState(err) == cannotConnectNow }

// ConnectAnyDatabase opens a session as Connect does, in template1 where the server refuses the
// target's database: it was dropped (3D000), takes no connections (55000), or CONNECT was revoked
// (42501).
func ConnectAnyDatabase(ctx context.Context, t Target) (*Conn, error) {
	conn, err := Connect(ctx, t)
	switch sqlState(err) {
	case "3D000", "55000", "42501":
		t.Database = "template1"
		return Connect(ctx, t)
	}
	return conn, err
}

// AskStandby asks a server for its role by a session in replication mode, which belongs to no
// database: no lock on pg_database, no event trigger and no database can stand in its way.
func AskStandby(ctx context.Context, t Target) (standby bool, err error) {
	t.Database = "replication"
	config, err := configure(t)
	if err != nil {
		return false, err
	}
	config.RuntimeParams["replication"] = "true"
	session, err := pgconn.ConnectConfig(ctx, &config.Config)
	if err != nil {
		return false, fmt.Errorf("cannot ask %s for its role: %w", t, err)
	}
	defer session.Close(ctx)
	return hotStandby(session.ParameterStatus("in_hot_standby"))
}

// Pulse is what of a data directory changes while its server writes WAL. Two that are equal say
// nothing: a server without work writes none.
type Pulse struct {
	Written time.Time // newest change of a WAL segment
	Size    int64     // of the segment that was changed last, bytes
	Control Control
}

// ReadPulse reads the pulse. It hangs where the disk does.
func ReadPulse(pgdata string) (p Pulse, err error) {
	entries, err := os.ReadDir(filepath.Join(pgdata, "pg_wal"))
	if err != nil {
		return p, fmt.Errorf("cannot see whether WAL is written: %w", err)
	}
	for _, e := range entries {
		if len(e.Name()) != 24 { // of a segment
			continue
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) { // recycled meanwhile
			continue
		}
		if err != nil {
			return p, fmt.Errorf("cannot see whether WAL is written: %w", err)
		}
		if info.ModTime().After(p.Written) {
			p.Written, p.Size = info.ModTime(), info.Size()
		}
	}
	p.Control, err = ReadControl(pgdata)
	return p, err
}
