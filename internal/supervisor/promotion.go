package supervisor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"

	"pgtwin/internal/ha"
	"pgtwin/internal/pg"
	"pgtwin/internal/postmaster"
)

const (
	promotionPoll = 5 * time.Millisecond
	// feedPeriod is how often systemd's watchdog (WatchdogSec=20 in the unit) is fed while the loop stands still.
	feedPeriod = 3 * time.Second
	// conflictTimeout bounds the question which sessions hold up the replay.
	conflictTimeout = time.Second
	// standstill is how long a promotion without a session may show no progress before the clients of this
	// standby are ended, where the startup process does not say that it waits (update_process_title=off).
	standstill = 2 * time.Second
	// hurry is how long a promotion looks for no commands that hang: an ordinary one is over before.
	hurry = time.Second
)

// feed tells systemd that the loop stands still, but does not hang.
func (s *Supervisor) feed() {
	if _, err := daemon.SdNotify(false, daemon.SdNotifyWatchdog); err != nil {
		s.Log.Warn("cannot feed the watchdog", "error", err)
	}
	s.fedAt = time.Now()
}

// feedIfDue feeds the watchdog in a wait that goes round often.
func (s *Supervisor) feedIfDue() {
	if time.Since(s.fedAt) > feedPeriod {
		s.feed()
	}
}

// fed does what may take long, and is bounded by a context, while the watchdog is fed.
func (s *Supervisor) fed(do func() error) error {
	done := make(chan error, 1)
	s.background.Go(func() { done <- do() })
	for {
		select {
		case err := <-done:
			return err
		case <-time.After(feedPeriod):
			s.feed()
		}
	}
}

// promoteServer promotes the standby by PostgreSQL's own signal, which needs no session and no database,
// and waits until it takes writes. Sessions that hold up the replay are ended.
func (s *Supervisor) promoteServer(ctx context.Context) (err error) {
	server := s.server
	if server == nil {
		return errors.New("cannot promote PostgreSQL: it has ended")
	}
	s.resume(ctx)
	if err := pg.RequestPromotion(s.Instance.PGData); err != nil {
		return err
	}
	if err := server.Signal(unix.SIGUSR1); err != nil {
		return errors.Join(fmt.Errorf("cannot promote PostgreSQL: %w", err), pg.WithdrawPromotion(s.Instance.PGData))
	}
	way := obstruction{began: time.Now(), looked: time.Now()}
	tick := time.NewTicker(promotionPoll)
	defer tick.Stop()
	for {
		if done, err := s.isPromoted(ctx); done || err != nil {
			return errors.Join(err, pg.WithdrawPromotion(s.Instance.PGData))
		}
		if !server.Alive() {
			return errors.Join(errors.New("PostgreSQL ended during its promotion: see its log"), pg.WithdrawPromotion(s.Instance.PGData))
		}
		if time.Since(way.looked) > pg.ConflictPoll {
			s.clear(ctx, &way)
			if time.Since(way.began) > hurry {
				s.endCommands(&way)
			}
			way.looked = time.Now()
		}
		s.feedIfDue()
		select {
		case <-ctx.Done():
			// PostgreSQL has the request and goes on.
			return fmt.Errorf("cannot see the promotion end: %w", ctx.Err())
		case <-tick.C:
		}
	}
}

// openPatience is how long after a promotion the postmaster may refuse sessions: it learns of the end of
// the recovery when the startup process ends.
const openPatience = 5 * time.Second

// awaitPrimary observes until the server shows that it is a primary.
func (s *Supervisor) awaitPrimary(ctx context.Context) {
	for end := time.Now().Add(openPatience); ; {
		if s.observe(ctx); s.seen.role == ha.Primary || time.Now().After(end) {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(promotionPoll):
		}
	}
}

// resume ends a pause by hand. The order to promote ends it as well, but a paused replay looks for that
// order once a second only (recoveryPausesHere).
func (s *Supervisor) resume(ctx context.Context) {
	if s.conn == nil || s.seen.blind || !s.seen.look.ReplayPaused {
		return
	}
	s.Log.Warn("resuming the replay, which somebody has paused (pg_wal_replay_pause)")
	ctx, cancel := context.WithTimeout(ctx, conflictTimeout)
	defer cancel()
	if err := s.conn.ResumeReplay(ctx); err != nil {
		s.Log.Warn("the promotion is left to resume the replay", "error", err)
	}
}

// isPromoted says whether PostgreSQL is in production by the control file and, where there is a session,
// lets it write, which is a moment later.
func (s *Supervisor) isPromoted(ctx context.Context) (bool, error) {
	control, err := pg.ReadControl(s.Instance.PGData)
	if err != nil || control.State != pg.InProduction {
		return false, err
	}
	if s.conn == nil {
		return true, nil
	}
	ctx, cancel := context.WithTimeout(ctx, lifeTimeout)
	defer cancel()
	standby, err := s.conn.InRecovery(ctx)
	if err != nil && s.conn.Closed() {
		s.disconnect() // it was ended: the control file alone tells
	}
	return err == nil && !standby, nil
}

// obstruction is what is known of the sessions that hold up a promotion.
type obstruction struct {
	began  time.Time
	looked time.Time // for sessions in the way
	before pg.Control
	at     string    // WAL segment that was replayed at the latest look
	since  time.Time // since when neither has changed

	commands postmaster.Commands
}

// endCommands ends commands of the administrator's that hang.
func (s *Supervisor) endCommands(way *obstruction) {
	hung, err := way.commands.EndHung(s.Instance.PGData, pg.Guard)
	if err != nil {
		s.Log.Debug("cannot look for commands that hold up the promotion", "error", err)
	}
	for _, p := range hung {
		s.Log.Warn(fmt.Sprintf("ended %q (process %d), which held up the promotion: restore_command or archive_cleanup_command hangs", p.Program(), p.PID))
	}
}

// clear ends the sessions that the startup process waits for, and names them.
func (s *Supervisor) clear(ctx context.Context, way *obstruction) {
	if s.conn != nil {
		ctx, cancel := context.WithTimeout(ctx, conflictTimeout)
		defer cancel()
		ended, err := s.conn.EndConflicts(ctx)
		for _, session := range ended {
			s.Log.Warn("ended a session that held up the promotion: " + session.String())
		}
		if err == nil {
			return
		}
		s.Log.Debug("sessions that hold up the promotion are looked for among the processes", "error", err)
		if s.conn.Closed() {
			s.disconnect()
		}
	}
	s.clearProcesses(way)
}

// clearProcesses does without a session. It cannot tell which of the clients is in the way.
func (s *Supervisor) clearProcesses(way *obstruction) {
	control, errControl := pg.ReadControl(s.Instance.PGData)
	children, err := postmaster.ReadChildren(s.Instance.PGData)
	if err = errors.Join(errControl, err); err != nil {
		s.Log.Debug("cannot look for sessions that hold up the promotion", "error", err)
		return
	}
	if control != way.before || children.Segment != way.at || way.since.IsZero() {
		way.before, way.at, way.since = control, children.Segment, time.Now()
	}
	if !children.Recovering || !children.Waiting && time.Since(way.since) < standstill {
		return
	}
	for _, client := range children.Clients {
		if err := client.Signal(unix.SIGTERM); err != nil { // as pg_terminate_backend does
			s.Log.Debug("a client has ended by itself", "process", client.PID, "error", err)
			continue
		}
		s.Log.Warn("ended a session that may hold up the promotion: process " + client.String())
	}
	way.since = time.Now()
}

// missed is an error where the new timeline begins before the end of the WAL that had been received.
func (s *Supervisor) missed(epoch ha.Epoch, received ha.LSN) error {
	history, err := pg.ReadHistory(s.Instance.PGData, epoch.Timeline)
	if err != nil {
		return err
	}
	if len(history.Parents) == 0 {
		return nil
	}
	reached := history.Parents[len(history.Parents)-1]
	if received <= reached.At {
		return nil
	}
	whole, err := pg.WholeRecord(s.Instance.PGData, reached.Timeline, reached.At, received)
	if err != nil || !whole {
		return err
	}
	return fmt.Errorf("PostgreSQL ended its recovery at %s, before the end of the WAL that it had received, at %s: "+
		"commits that were acknowledged are missing, look for a recovery target in its configuration", reached.At, received)
}
