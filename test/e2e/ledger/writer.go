package ledger

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Schema makes the tables that writers and watchers use, for the role ledger. It can be applied again.
const Schema = `
create table if not exists ledger (writer text not null, number bigint not null);
create table if not exists probe (host text not null);
grant select, insert on ledger, probe to ledger;
`

// Fingerprint asks for the contents of the tables, in short.
const Fingerprint = `select md5(coalesce(string_agg(writer || ' ' || number, ',' order by writer, number), '')), count(*),
	(select count(*) from probe) from ledger`

// Writer is a client that commits one numbered row after the other, every 20 ms, and after any failure
// connects anew at once. It never stops trying.
type Writer struct {
	*Book
	login  Login
	name   string // of its rows
	cancel context.CancelFunc
	done   chan error
	warned bool // the server added a warning to its last answer
}

// Start starts a writer whose rows bear the login's name and the time, and whose book is in dir. Stop ends it.
func Start(ctx context.Context, login Login, dir string) (*Writer, error) {
	name := fmt.Sprintf("%s-%d", login.Name, time.Now().UnixNano())
	book, err := OpenBook(filepath.Join(dir, name))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	w := &Writer{Book: book, login: login, name: name, cancel: cancel, done: make(chan error, 1)}
	go func() { w.done <- w.run(ctx) }()
	return w, nil
}

// Stop ends the writer and returns when it has ended. The error is one of the book's: a database that does not
// answer is what the writer is there for.
func (w *Writer) Stop() error {
	w.cancel()
	return errors.Join(<-w.done, w.Close())
}

func (w *Writer) run(ctx context.Context) error {
	tick := time.NewTicker(pace)
	defer tick.Stop()
	sync := time.NewTicker(time.Second)
	defer sync.Stop()
	var conn *pgx.Conn
	defer func() { hangUp(conn) }()
	for number := int64(1); ; {
		select {
		case <-ctx.Done():
			return w.sync()
		case <-sync.C:
			if err := w.sync(); err != nil {
				return err
			}
		case <-tick.C:
			if conn == nil {
				if conn = w.connect(ctx); conn == nil {
					pause(ctx)
				}
				continue
			}
			outcome := w.commit(ctx, conn, number)
			if err := w.Enter(Note{number, outcome, time.Now()}); err != nil {
				return err
			}
			number++
			if outcome != Acknowledged {
				hangUp(conn)
				conn = nil
			}
		}
	}
}

// connect returns nil when there is no server that takes writes.
func (w *Writer) connect(ctx context.Context) *pgx.Conn {
	conn, err := w.login.connect(ctx, func(*pgconn.PgConn, *pgconn.Notice) { w.warned = true })
	if err != nil {
		return nil
	}
	return conn
}

func (w *Writer) commit(ctx context.Context, conn *pgx.Conn, number int64) Outcome {
	ctx, cancel := context.WithTimeout(ctx, statementTimeout)
	defer cancel()
	w.warned = false
	_, err := conn.Exec(ctx, "insert into ledger values ($1, $2)", w.name, number)
	return outcomeOf(err, w.warned)
}

// outcomeOf judges an answer. A warning beside a success is how a server says that it gave up waiting for its
// standby ("... might not have been replicated", syncrep.c): an honest client does not count on that row.
func outcomeOf(err error, warned bool) Outcome {
	var refusal *pgconn.PgError
	switch {
	case err == nil && warned:
		return Unsure
	case err == nil:
		return Acknowledged
	case pgconn.SafeToRetry(err):
		return Refused // nothing was sent
	case errors.As(err, &refusal) && refusal.SeverityUnlocalized == "ERROR":
		return Refused
	}
	// Also FATAL: a session that is ended while it waits for the standby has committed.
	return Unsure
}

// hangUp ends a connection without waiting for a server that may be gone.
func hangUp(conn *pgx.Conn) {
	if conn == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), pace)
	defer cancel()
	_ = conn.Close(ctx)
}

// Rows reads back the numbers of the writer's rows from one host, primary or standby.
func (w *Writer) Rows(ctx context.Context, host string) ([]int64, error) {
	login := w.login
	login.Hosts = []string{host}
	conn, err := login.connect(ctx, nil)
	if err != nil {
		return nil, fmt.Errorf("cannot read the rows of %s: %w", w.name, err)
	}
	defer hangUp(conn)
	rows, err := conn.Query(ctx, "select number from ledger where writer = $1 order by number", w.name)
	if err != nil {
		return nil, fmt.Errorf("cannot read the rows of %s on %s: %w", w.name, host, err)
	}
	numbers, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		return nil, fmt.Errorf("cannot read the rows of %s on %s: %w", w.name, host, err)
	}
	return numbers, nil
}
