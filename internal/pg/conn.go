package pg

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"

	"github.com/jackc/pgx/v5"
)

// Conn is a session of ours on a server. It serves one goroutine at a time. A context that ends
// during a question closes it: see Closed.
type Conn struct {
	session *pgx.Conn
	target  Target
}

// Connect opens a session that cannot hang the cluster: it never waits for a standby, and statements,
// locks and idle transactions have limits.
func Connect(ctx context.Context, t Target) (*Conn, error) {
	config, err := configure(t)
	if err != nil {
		return nil, err
	}
	session, err := pgx.ConnectConfig(ctx, config)
	if hasCode(err, "42704") && t.Major > oldestMajor { // undefined_object: a setting that this server does not know
		t.Major = 0
		return Connect(ctx, t)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot connect to %s: %w", t, brief(err))
	}
	return &Conn{session: session, target: t}, nil
}

// ConnectServer opens a session on a server for questions that any database answers: in the target's
// database or, where that has been dropped, closed or is otherwise refused, in template1. The error is
// that of the target's database.
func ConnectServer(ctx context.Context, t Target) (*Conn, error) {
	conn, err := Connect(ctx, t)
	if err == nil || !elsewhere(err) || t.Database == otherDatabase {
		return conn, err
	}
	t.Database = otherDatabase
	if conn, other := Connect(ctx, t); other == nil {
		return conn, nil
	}
	return nil, err
}

// DatabaseOf is the database in which ConnectServer finds a session: the target's, or template1.
func DatabaseOf(ctx context.Context, t Target) (string, error) {
	conn, err := ConnectServer(ctx, t)
	if err != nil {
		return "", err
	}
	defer conn.Close(ctx)
	return conn.target.Database, nil
}

// otherDatabase is the one that every cluster has besides postgres (initdb(1)).
const otherDatabase = "template1"

// Database is where the session is.
func (c *Conn) Database() string { return c.target.Database }

// Close ends the session politely, as far as ctx allows.
func (c *Conn) Close(ctx context.Context) error { return c.session.Close(ctx) }

// Closed says whether the session is over and a new one must be opened.
func (c *Conn) Closed() bool { return c.session.IsClosed() }

// configure leaves nothing to the environment: pgx looks for PG* variables and files in the home
// directory for each keyword that is not given, so each is. PGSERVICE alone cannot be masked; it is
// refused rather than obeyed.
func configure(t Target) (*pgx.ConnConfig, error) {
	if os.Getenv("PGSERVICE") != "" {
		return nil, errors.New("cannot connect to PostgreSQL: PGSERVICE is set in the environment of this process; unset it")
	}
	passfile := t.PassFile
	if passfile == "" {
		passfile = os.DevNull
	}
	masked := conninfo("host", t.Host, "port", strconv.Itoa(t.Port), "user", t.User, "passfile", passfile,
		"sslmode", "prefer", "sslsni", "1", "sslcertmode", "disable", "target_session_attrs", "any",
		"min_protocol_version", "3.0", "max_protocol_version", "3.0", "channel_binding", "prefer") +
		" connect_timeout=5 password='' sslrootcert='' sslnegotiation='' require_auth='' dbname="
	config, err := pgx.ParseConfig(masked + "'" + conninfoEscapes.Replace(t.Database) + "'")
	if err != nil {
		return nil, fmt.Errorf("cannot connect to %s: %w", t, err)
	}
	config.ConnectTimeout = orDefault(t.ConnectTimeout)
	config.RuntimeParams = sessionSettings(t)
	return config, nil
}

// exec runs a statement that answers nothing of interest; doing completes "cannot ...".
func (c *Conn) exec(ctx context.Context, doing, sql string, args ...any) error {
	if _, err := c.session.Exec(ctx, sql, args...); err != nil {
		return fmt.Errorf("cannot %s on %s: %w", doing, c.target, brief(err))
	}
	return nil
}
