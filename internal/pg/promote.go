package pg

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5"
)

const promotionPoll = 5 * time.Millisecond

// ConflictPoll is how often a promotion that is under way looks for sessions that hold up its replay.
const ConflictPoll = 100 * time.Millisecond

// Promote makes a standby a primary and waits until it takes writes. A server that is a primary
// already is promoted. Sessions that hold up its replay are ended. The wait ends with ctx, the
// promotion does not.
func (c *Conn) Promote(ctx context.Context) error {
	standby, err := c.InRecovery(ctx)
	if err != nil || !standby {
		return err
	}
	err = c.exec(ctx, "promote", "SELECT pg_promote(wait => false)")
	if err != nil && !hasCode(err, "55000") { // 55000: a promotion asked for earlier has just ended
		return err
	}
	tick := time.NewTicker(promotionPoll)
	defer tick.Stop()
	for cleared := time.Now(); ; {
		if standby, err = c.InRecovery(ctx); err != nil || !standby {
			return err
		}
		if time.Since(cleared) > ConflictPoll {
			if _, err := c.EndConflicts(ctx); err != nil && c.Closed() {
				return err
			}
			cleared = time.Now()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("cannot see the promotion of %s end: %w", c.target, ctx.Err())
		case <-tick.C:
		}
	}
}

// InRecovery says whether the server is a standby. The question looks at no catalog and waits for no
// lock: every answer of PostgreSQL 14 and later tells a session that the recovery has ended
// (in_hot_standby, ReportChangedGUCOptions in guc.c).
func (c *Conn) InRecovery(ctx context.Context) (standby bool, err error) {
	if err = c.session.Ping(ctx); err == nil {
		standby, err = hotStandby(c.session.PgConn().ParameterStatus("in_hot_standby"))
	}
	if err != nil {
		return false, fmt.Errorf("cannot ask %s for its role: %w", c.target, err)
	}
	return standby, nil
}

// hotStandby reads the parameter in_hot_standby as the server reports it.
func hotStandby(reported string) (bool, error) {
	if reported != "on" && reported != "off" {
		return false, fmt.Errorf("the server reports in_hot_standby as %.10q", reported)
	}
	return reported == "on", nil
}

// promoteFile asks a postmaster that gets SIGUSR1 for the promotion (PROMOTE_SIGNAL_FILE in xlog.h).
func promoteFile(pgdata string) string { return filepath.Join(pgdata, "promote") }

// RequestPromotion writes the file that makes SIGUSR1 to the postmaster the order to promote, as
// pg_ctl promote does. A file that an earlier request left is replaced.
func RequestPromotion(pgdata string) error {
	uid, gid, err := Owner(pgdata)
	if err != nil {
		return err
	}
	if err := WithdrawPromotion(pgdata); err != nil {
		return err
	}
	// The database's user owns the directory: O_EXCL follows no link that is put there.
	file, err := os.OpenFile(promoteFile(pgdata), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("cannot request the promotion: %w", err)
	}
	if err := errors.Join(file.Chown(int(uid), int(gid)), file.Close()); err != nil {
		return errors.Join(fmt.Errorf("cannot request the promotion: %w", err), WithdrawPromotion(pgdata))
	}
	return nil
}

// WithdrawPromotion removes a request that PostgreSQL has not taken: with it any later SIGUSR1, which
// the postmaster's children send it for reasons of their own, would promote the server.
func WithdrawPromotion(pgdata string) error {
	if err := removeIfThere(promoteFile(pgdata)); err != nil {
		return fmt.Errorf("cannot withdraw a request for a promotion: %w", err)
	}
	return nil
}

// ResumeReplay ends a pause of the replay that was asked for by pg_wal_replay_pause.
func (c *Conn) ResumeReplay(ctx context.Context) error {
	return c.exec(ctx, "resume the replay", "SELECT pg_wal_replay_resume()")
}

// Session is a session of somebody else's on the server.
type Session struct {
	PID         int
	User        string // "role OID" where the name cannot be read
	Application string // as the client has named itself
	Type        string // for example client backend
	Since       time.Time
}

// String names the session for a log, without the text of its query.
func (s Session) String() string {
	return fmt.Sprintf("process %d of %s (%s, application %.64q, since %s)", s.PID, s.User, s.Type, s.Application, s.Since.Format(time.DateTime))
}

//go:embed conflicts.sql
var conflictsSQL string

// EndConflicts ends the sessions that the startup process of a standby waits for, and answers which:
// PostgreSQL waits for them as long as max_standby_streaming_delay and max_standby_archive_delay say,
// also while it is being promoted.
func (c *Conn) EndConflicts(ctx context.Context) ([]Session, error) {
	rows, _ := c.session.Query(ctx, conflictsSQL)
	ended, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (s Session, err error) {
		var role uint32
		err = row.Scan(&s.PID, &role, &s.Application, &s.Type, &s.Since)
		s.User = fmt.Sprintf("role %d", role)
		return s, err
	})
	if err != nil {
		return nil, fmt.Errorf("cannot end the sessions that hold up the replay of %s: %w", c.target, err)
	}
	for i := range ended {
		// Only for the log, and after the sessions have been ended: the name is read under a lock on pg_authid.
		var name string
		if c.session.QueryRow(ctx, "SELECT pg_get_userbyid(substr($1, 6)::oid)::text", ended[i].User).Scan(&name) == nil {
			ended[i].User = name
		}
	}
	return ended, nil
}
