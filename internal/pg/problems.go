package pg

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// expiryWarning is how long before its end a password's validity is a problem.
const expiryWarning = 7 * 24 * time.Hour

// connectionsPerPeer is what one standby may have open at once while it is cloned: pg_basebackup's two
// connections and a question of its own.
const connectionsPerPeer = 3

// storedRole is a role as the catalogs have it.
type storedRole struct {
	exists, login, replication bool
	verifier                   string
	limit, databaseLimit       int        // -1: none
	until                      *time.Time // nil: for ever
	settings                   []string   // of those that a replication connection may fail by
	database                   string     // of the session
	missing                    []string   // privileges there
}

// RoleProblems says in words what keeps the peers from connecting with a credential of the password file
// passFile, now or soon, and what to do about it. It changes nothing, see EnsureReplicationRole for what is
// repaired; what is left is the administrator's policy, or is refused. peers is how many standbys there may be.
func (c *Conn) RoleProblems(ctx context.Context, credential Credential, passFile string, peers int) ([]string, error) {
	role, err := c.readRole(ctx, credential.User)
	if err != nil {
		return nil, fmt.Errorf("cannot look at replication role %s on %s: %w", credential.User, c.target, err)
	}
	return slices.Concat(role.lacks(credential, passFile), role.passwordProblems(credential, passFile),
		role.limits(credential.User, peers)), nil
}

//go:embed role.sql
var roleSQL string

func (c *Conn) readRole(ctx context.Context, name string) (r storedRole, err error) {
	var seconds *float64
	err = c.session.QueryRow(ctx, roleSQL, name).Scan(&r.exists, &r.login, &r.replication, &r.verifier, &r.limit, &r.databaseLimit,
		&seconds, &r.settings, &r.database)
	if err != nil {
		return r, err
	}
	if seconds != nil {
		until := time.Unix(int64(*seconds), 0)
		r.until = &until
	}
	r.missing, err = c.missingGrants(ctx, name)
	return r, err
}

// lacks names the rights that the role has not got.
func (r storedRole) lacks(c Credential, passFile string) (all []string) {
	add := func(format string, a ...any) {
		text := fmt.Sprintf(format, a...)
		if !c.Managed {
			text += fmt.Sprintf(", or add a line whose database is \"replication\" to %s, so that pgtwin prepares the role", passFile)
		}
		all = append(all, text)
	}
	name := quoteName(c.User)
	if r.database != "postgres" {
		all = append(all, "the database postgres is missing or takes no connections: pg_rewind and questions of other hosts may need it;"+
			" CREATE DATABASE postgres TEMPLATE template0 (until then pgtwin is in template1, from which no other is made), or ALTER DATABASE postgres ALLOW_CONNECTIONS true")
	}
	if !r.exists {
		add("standbys cannot connect: the role %s of %s does not exist: CREATE ROLE %s LOGIN REPLICATION PASSWORD ...", c.User, passFile, name)
		return all
	}
	if !r.login {
		add("standbys cannot connect: the role %s may not log in: ALTER ROLE %s LOGIN", c.User, name)
	}
	if !r.replication {
		add("standbys cannot connect: the role %s lacks REPLICATION: ALTER ROLE %s REPLICATION", c.User, name)
	}
	if len(r.missing) > 0 {
		var grants []string
		for _, privilege := range r.missing {
			grants = append(grants, fmt.Sprintf("GRANT %s TO %s", privilege, name))
		}
		add("a primary that was replaced can perhaps not be rewound: the role %s lacks privileges in the database %s: %s",
			c.User, r.database, strings.Join(grants, "; "))
	}
	return all
}

// passwordProblems are about the password alone.
func (r storedRole) passwordProblems(c Credential, passFile string) (all []string) {
	name := quoteName(c.User)
	again := fmt.Sprintf("set it with password_encryption = 'scram-sha-256': ALTER ROLE %s PASSWORD ...", name)
	switch {
	case !r.exists:
		return nil
	case r.verifier == "":
		all = append(all, fmt.Sprintf("standbys cannot connect: the role %s has no password: %s", c.User, again))
	case strings.HasPrefix(r.verifier, "md5"):
		all = append(all, fmt.Sprintf("standbys cannot connect: the password of %s is stored as md5, and pgtwin's pg_hba.conf asks for scram-sha-256: %s", c.User, again))
	case !strings.HasPrefix(r.verifier, "SCRAM-SHA-256$"):
		all = append(all, fmt.Sprintf("standbys cannot connect: the password of %s is not stored as scram-sha-256: %s", c.User, again))
	case !verifies(r.verifier, c.Password):
		all = append(all, fmt.Sprintf("the password of %s in %s is not the role's: pgtwin changes neither;"+
			" write the role's password into that file on every host, or ALTER ROLE %s PASSWORD to the file's", c.User, passFile, name))
	}
	switch forever := fmt.Sprintf("ALTER ROLE %s VALID UNTIL 'infinity'", name); {
	case r.until == nil:
	case time.Until(*r.until) <= 0:
		all = append(all, fmt.Sprintf("standbys cannot connect: the password of %s expired at %s: %s, or a new password", c.User, stamp(*r.until), forever))
	case time.Until(*r.until) < expiryWarning:
		all = append(all, fmt.Sprintf("the password of %s expires at %s, and then no standby can connect: %s, or a later date", c.User, stamp(*r.until), forever))
	}
	return all
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 MST") }

// limits are the role's and the database's numbers of connections, and settings of the role.
func (r storedRole) limits(user string, peers int) (all []string) {
	need := connectionsPerPeer * max(1, peers)
	if r.exists && r.limit >= 0 && r.limit < need {
		all = append(all, fmt.Sprintf("the role %s has CONNECTION LIMIT %d, and standbys may need %d connections: ALTER ROLE %s CONNECTION LIMIT %d or more",
			user, r.limit, need, quoteName(user), need))
	}
	if r.databaseLimit >= 0 && r.databaseLimit < need {
		all = append(all, fmt.Sprintf("the database %s has CONNECTION LIMIT %d, and other hosts may need %d connections to it: ALTER DATABASE %s CONNECTION LIMIT %d or more",
			r.database, r.databaseLimit, need, r.database, need))
	}
	if len(r.settings) > 0 {
		all = append(all, fmt.Sprintf("the role %s has settings that replication may fail by: %s; ALTER ROLE %s RESET each of them",
			user, strings.Join(r.settings, ", "), quoteName(user)))
	}
	return all
}

// HasPassword says whether a role has the password of a credential, as far as the catalogs of this server show;
// those of a standby may be old.
func (c *Conn) HasPassword(ctx context.Context, credential Credential) (bool, error) {
	var stored string
	err := c.session.QueryRow(ctx, "SELECT coalesce(rolpassword, '') FROM pg_authid WHERE rolname = $1", credential.User).Scan(&stored)
	if errors.Is(err, pgx.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("cannot look at replication role %s on %s: %w", credential.User, c.target, err)
	}
	return verifies(stored, credential.Password), nil
}
