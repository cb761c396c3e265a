package corpus

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// connect is the connection of the administrator, or of a client, over a host's socket.
func connect(ctx context.Context, socketDir string, port int, database string) (*pgx.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	c, err := pgx.ParseConfig("user=postgres sslmode=disable")
	if err != nil {
		return nil, err
	}
	c.Host, c.Port, c.Database, c.Password = socketDir, uint16(port), database, ""
	c.Fallbacks = nil
	// What the folder sets for roles and databases is not to hit the test's own sessions.
	c.RuntimeParams = map[string]string{"application_name": "corpus", "default_transaction_read_only": "off", "role": "none",
		"default_transaction_isolation": "read committed", "search_path": "public", "statement_timeout": "0", "lock_timeout": "0",
		"idle_in_transaction_session_timeout": "0", "idle_session_timeout": "0", "session_preload_libraries": "", "local_preload_libraries": "",
		"session_replication_role": "origin", "client_min_messages": "notice", "default_tablespace": ""}
	return pgx.ConnectConfig(ctx, c)
}

func execute(ctx context.Context, conn *pgx.Conn, statements []string) error {
	for _, sql := range statements {
		if _, err := conn.PgConn().Exec(ctx, sql).ReadAll(); err != nil {
			return fmt.Errorf("%s: %w", sql, err)
		}
	}
	return nil
}

// value is the first value of the first row, as text; NULL is "".
func value(ctx context.Context, conn *pgx.Conn, sql string) (string, error) {
	results, err := conn.PgConn().Exec(ctx, sql).ReadAll()
	if err != nil {
		return "", fmt.Errorf("%s: %w", sql, err)
	}
	last := results[len(results)-1]
	if len(last.Rows) != 1 || len(last.Rows[0]) != 1 {
		return "", fmt.Errorf("%s: %d rows, one of one value is wanted", sql, len(last.Rows))
	}
	return string(last.Rows[0][0]), nil
}

// ledger writes rows on the primary and remembers those whose commit was acknowledged.
type ledger struct {
	primary  func() (socketDir string, port int) // "" while there is none
	database string

	mu    sync.Mutex
	acked []int
	next  int
	err   error // the latest
}

const table = "corpus_ledger"

func (l *ledger) run(ctx context.Context) {
	for ctx.Err() == nil {
		if err := l.session(ctx); err != nil {
			l.mu.Lock()
			l.err = err
			l.mu.Unlock()
		}
		select {
		case <-ctx.Done():
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (l *ledger) session(ctx context.Context) error {
	dir, port := l.primary()
	if dir == "" {
		return errors.New("there is no primary")
	}
	conn, err := connect(ctx, dir, port, l.database)
	if err != nil {
		return err
	}
	defer conn.Close(context.Background())
	if _, err := conn.PgConn().Exec(ctx, "select from "+table+" limit 1").ReadAll(); err != nil { // DDL may be refused
		if _, err := conn.PgConn().Exec(ctx, "create table if not exists "+table+" (n integer)").ReadAll(); err != nil {
			return err
		}
	}
	for {
		l.mu.Lock()
		n := l.next
		l.next++
		l.mu.Unlock()
		if _, err := conn.PgConn().Exec(ctx, "insert into "+table+" values ("+strconv.Itoa(n)+")").ReadAll(); err != nil {
			return err
		}
		l.mu.Lock()
		l.acked = append(l.acked, n)
		l.mu.Unlock()
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// acknowledged is how many rows have been, and what the client was told last.
func (l *ledger) acknowledged() (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.acked), l.err
}

// lost are the rows that were acknowledged by now and that conn does not see.
func (l *ledger) lost(ctx context.Context, rows func(context.Context) (map[int]bool, error)) ([]int, error) {
	l.mu.Lock()
	acked := append([]int(nil), l.acked...)
	l.mu.Unlock()
	there, err := rows(ctx)
	if err != nil {
		return nil, err
	}
	var lost []int
	for _, n := range acked {
		if !there[n] {
			lost = append(lost, n)
		}
	}
	return lost, nil
}

func rowsOf(ctx context.Context, conn *pgx.Conn) (map[int]bool, error) {
	results, err := conn.PgConn().Exec(ctx, "select n from "+table).ReadAll()
	if err != nil {
		return nil, err
	}
	there := map[int]bool{}
	for _, row := range results[0].Rows {
		n, err := strconv.Atoi(string(row[0]))
		if err != nil {
			return nil, err
		}
		there[n] = true
	}
	return there, nil
}
