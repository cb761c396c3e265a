package pg

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Reclaim takes back what ALTER SYSTEM has set of these names on the server of pgdata, and lets it read
// its configuration. Where PostgreSQL refuses ALTER SYSTEM (allow_alter_system=off of 17, a file with a
// syntax error, a name that this version does not know) the file is replaced instead.
func (c *Conn) Reclaim(ctx context.Context, pgdata string, names []string) error {
	for _, name := range names {
		if err := c.exec(ctx, "take back ALTER SYSTEM SET "+name, "ALTER SYSTEM RESET "+pgx.Identifier{name}.Sanitize()); err != nil {
			if _, err := RemoveRecoverySettings(pgdata, names); err != nil {
				return err
			}
			break
		}
	}
	return c.Reload(ctx)
}

// loweredShown is how many roles and databases are named at most.
const loweredShown = 10

// LoweredDurability names the roles and databases whose sessions commit without a standby's word,
// because ALTER ROLE or ALTER DATABASE has lowered their synchronous_commit: in one sentence each, with
// the statement that undoes it.
func (c *Conn) LoweredDurability(ctx context.Context) ([]string, error) {
	const question = `SELECT coalesce(d.datname, ''), coalesce(r.rolname, ''), substr(s.option, 20)
		FROM (SELECT setdatabase, setrole, unnest(setconfig) AS option FROM pg_catalog.pg_db_role_setting) AS s
		LEFT JOIN pg_catalog.pg_database AS d ON d.oid = s.setdatabase
		LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = s.setrole
		WHERE s.option LIKE 'synchronous\_commit=%' ORDER BY 1, 2`
	rows, err := c.session.Query(ctx, question)
	if err != nil {
		return nil, fmt.Errorf("cannot ask %s whose commits do not wait for standbys: %w", c.target, err)
	}
	defer rows.Close()
	var all []string
	more := 0
	for rows.Next() {
		var database, role, value string
		if err := rows.Scan(&database, &role, &value); err != nil {
			return nil, err
		}
		switch {
		case !LowersCommit(value):
		case len(all) == loweredShown:
			more++
		default:
			all = append(all, loweredSentence(database, role, value))
		}
	}
	if more > 0 {
		all = append(all, fmt.Sprintf("%d more roles or databases have synchronous_commit lowered (pg_db_role_setting)", more))
	}
	return all, rows.Err()
}

func loweredSentence(database, role, value string) string {
	whose, undo := "role "+quoteName(role), "ALTER ROLE "+quoteName(role)+" RESET synchronous_commit"
	switch {
	case role == "" && database == "":
		whose, undo = "every role", "ALTER ROLE ALL RESET synchronous_commit"
	case role == "":
		whose, undo = "database "+quoteName(database), "ALTER DATABASE "+quoteName(database)+" RESET synchronous_commit"
	case database != "":
		whose += " in database " + quoteName(database)
		undo = "ALTER ROLE " + quoteName(role) + " IN DATABASE " + quoteName(database) + " RESET synchronous_commit"
	}
	return harmless(fmt.Sprintf("%s has synchronous_commit = %s: its commits are acknowledged before a standby has them, and a failover loses those; %s undoes it",
		whose, value, undo))
}

// OtherIdentity names the settings by which sessions of a role act as another one: role and
// session_authorization, of the role itself, of all roles or of a database. pgtwin's own sessions do not
// heed them; the administrator's tools do.
func (c *Conn) OtherIdentity(ctx context.Context, user string) ([]string, error) {
	const question = `SELECT coalesce('database ' || quote_ident(d.datname), 'role ' || quote_ident(r.rolname), 'every role'), s.option
		FROM (SELECT setdatabase, setrole, unnest(setconfig) AS option FROM pg_catalog.pg_db_role_setting) AS s
		LEFT JOIN pg_catalog.pg_database AS d ON d.oid = s.setdatabase
		LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = s.setrole
		WHERE s.option ~ '^(role|session_authorization)=' AND (r.rolname IS NULL OR r.rolname = $1) ORDER BY 1, 2 LIMIT 5`
	rows, err := c.session.Query(ctx, question, user)
	if err != nil {
		return nil, fmt.Errorf("cannot ask %s for the settings of role %s: %w", c.target, user, err)
	}
	defer rows.Close()
	var all []string
	for rows.Next() {
		var whose, option string
		if err := rows.Scan(&whose, &option); err != nil {
			return nil, err
		}
		name, value, _ := strings.Cut(option, "=")
		all = append(all, harmless(fmt.Sprintf("%s has %s = %s: tools that log in as %s act as another role, and may be refused; ALTER ROLE or ALTER DATABASE ... RESET %s undoes it",
			whose, name, value, user, name)))
	}
	return all, rows.Err()
}

// harmless replaces what would break a line of a terminal or of the journal.
func harmless(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return '?'
		}
		return r
	}, text)
}
