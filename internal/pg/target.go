package pg

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Target is a server to connect to. It holds no password: that comes from PassFile.
type Target struct {
	Host             string // directory of the unix socket, or an address
	Port             int
	Major            int // PostgreSQL's major version; 0: not known, then settings that only newer versions have are not sent
	User             string
	Database         string // "" for connections that replicate
	PassFile         string // "" for none; ~/.pgpass is never read
	ApplicationName  string
	ConnectTimeout   time.Duration // 0: 5 s; whole seconds, at least 2, in libpq
	StatementTimeout time.Duration // 0: 5 s; of our own sessions only
}

const defaultTimeout = 5 * time.Second

func orDefault(d time.Duration) time.Duration {
	if d == 0 {
		return defaultTimeout
	}
	return d
}

// Conninfo is the target as a libpq connection string, without a password. It ends half-open
// connections to a lost host within about 15 s (tcp(7), TCP_USER_TIMEOUT).
func (t Target) Conninfo() string {
	return conninfo(
		"host", t.Host,
		"port", strconv.Itoa(t.Port),
		"user", t.User,
		"dbname", t.Database,
		"passfile", t.PassFile,
		"application_name", t.ApplicationName,
		"connect_timeout", strconv.Itoa(int((orDefault(t.ConnectTimeout)+time.Second-1)/time.Second)),
		"sslmode", "prefer",
		"keepalives_idle", "10",
		"keepalives_interval", "5",
		"keepalives_count", "3",
		"tcp_user_timeout", "10000",
	)
}

// replicating is the target for connections in replication mode: libpq then takes the entry
// "replication" of the password file, unless another database is named.
func (t Target) replicating() Target {
	t.Database = ""
	return t
}

var conninfoEscapes = strings.NewReplacer(`\`, `\\`, `'`, `\'`)

// conninfo joins keywords and values, leaving out empty ones, and quotes as libpq wants it (manual,
// "Keyword/Value Connection Strings").
func conninfo(pairs ...string) string {
	var parts []string
	for i := 0; i < len(pairs); i += 2 {
		keyword, value := pairs[i], pairs[i+1]
		if value == "" {
			continue
		}
		if strings.ContainsAny(value, ` \'`+"\t\n") {
			value = "'" + conninfoEscapes.Replace(value) + "'"
		}
		parts = append(parts, keyword+"="+value)
	}
	return strings.Join(parts, " ")
}

// String names the target in messages.
func (t Target) String() string {
	if strings.HasPrefix(t.Host, "/") {
		return fmt.Sprintf("PostgreSQL at %s/.s.PGSQL.%d", t.Host, t.Port)
	}
	return fmt.Sprintf("PostgreSQL at %s port %d", t.Host, t.Port)
}
