package ledger

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/sys/unix"
)

// A client with sensible settings: it does not wait for a dead host longer than it has to.
const (
	connectTimeout   = 500 * time.Millisecond // per host
	statementTimeout = time.Second
	pace             = 20 * time.Millisecond
	// Clients pause before they try again, or the logins alone keep the hosts busy that are to fail over.
	reconnectPause = 60 * time.Millisecond
)

// Login is how a client gets to the database.
type Login struct {
	User, Password string
	Hosts          []string // tried in order until one takes writes, as libpq does; with one host that one is it
	Port           int      // of all hosts
	Name           string   // application_name
	Database       string   // "": postgres
}

// config is the connection's configuration. The password is nowhere but in it.
func (l Login) config() (*pgx.ConnConfig, error) {
	text := fmt.Sprintf("host=%s port=%d user=%s dbname=%s sslmode=disable application_name=%s",
		strings.Join(l.Hosts, ","), l.Port, l.User, cmp.Or(l.Database, "postgres"), l.Name)
	if len(l.Hosts) > 1 {
		text += " target_session_attrs=read-write"
	}
	c, err := pgx.ParseConfig(text)
	if err != nil {
		return nil, fmt.Errorf("cannot understand the connection string: %w", err)
	}
	c.Password = l.Password
	c.ConnectTimeout = connectTimeout
	c.DialFunc = (&net.Dialer{Control: userTimeout}).DialContext
	c.DefaultQueryExecMode = pgx.QueryExecModeExec // one round trip, nothing to prepare
	return c, nil
}

// connect logs in, within the timeout for each host; notice, which may be nil, hears the server's warnings.
func (l Login) connect(ctx context.Context, notice pgconn.NoticeHandler) (*pgx.Conn, error) {
	c, err := l.config()
	if err != nil {
		return nil, err
	}
	c.OnNotice = notice
	ctx, cancel := context.WithTimeout(ctx, time.Duration(len(l.Hosts)+1)*connectTimeout)
	defer cancel()
	return pgx.ConnectConfig(ctx, c)
}

// userTimeout bounds how long the kernel waits for acknowledgements of a peer that is gone (tcp(7)).
func userTimeout(_, _ string, raw syscall.RawConn) error {
	var set error
	err := raw.Control(func(fd uintptr) {
		set = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(statementTimeout.Milliseconds()))
	})
	if err != nil {
		return err
	}
	return set
}

// pause lets a while pass before the next attempt to connect.
func pause(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(reconnectPause):
	}
}
