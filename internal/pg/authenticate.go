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
	if hasCode(err, "42704") && t.Major > oldestMajor { // see Connect
		t.Major = 0
		return Authenticate(ctx, t, c)
	}
	if err != nil {
		return fmt.Errorf("cannot connect to %s: %w", t, brief(err))
	}
	return session.Close(ctx)
}

// Refused says whether a server refused a connection because of who asked: the role has another password,
// none, or one that has expired, does not exist (28P01, auth_failed in auth.c), or no rule of pg_hba.conf
// is for it, it may not log in or not replicate (28000, 42501).
func Refused(err error) bool {
	return hasCode(err, "28P01") || hasCode(err, "28000") || hasCode(err, "42501")
}
