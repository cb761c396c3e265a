package pg

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"
)

// Authenticate tries a credential by a connection of a standby's kind, which belongs to no database. It
// takes nothing from the target's password file.
func Authenticate(ctx context.Context, t Target, c Credential) error {
	t.User, t.Database, t.PassFile = c.User, "replication", ""
	config, err := configure(t)
	if err != nil {
		return err
	}
	config.Password = string(c.Password)
	config.RuntimeParams["replication"] = "true"
	session, err := pgconn.ConnectConfig(ctx, &config.Config)
	if err != nil {
		return fmt.Errorf("cannot connect to %s: %w", t, err)
	}
	return session.Close(ctx)
}

// Refused says whether a server refused a connection because of who asked: the role has another password,
// none, or one that has expired, does not exist (28P01, auth_failed in auth.c), or no rule of pg_hba.conf
// is for it, it may not log in or not replicate (28000, 42501).
func Refused(err error) bool {
	return hasCode(err, "28P01") || hasCode(err, "28000") || hasCode(err, "42501")
}

// ConnectAnywhere is Connect, but takes the database template1 where the target's is missing (3D000) or takes
// no connections (55000): roles belong to no database.
func ConnectAnywhere(ctx context.Context, t Target) (*Conn, error) {
	c, err := Connect(ctx, t)
	if hasCode(err, "3D000") || hasCode(err, "55000") {
		t.Database = "template1"
		return Connect(ctx, t)
	}
	return c, err
}
