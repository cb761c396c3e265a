package supervisor

import (
	"context"
	"fmt"
	"time"

	"pgtwin/internal/control"
	"pgtwin/internal/ha"
	"pgtwin/internal/instance"
	"pgtwin/internal/pg"
	"pgtwin/internal/postmaster"
)

const (
	// lifeTimeout bounds each sign of life that is looked for after a look has failed.
	lifeTimeout = time.Second
	// answerPause is how long an error that the server itself answered stands for the next looks, too:
	// PostgreSQL writes a line into its log for each.
	answerPause = 2 * time.Second
	// enoughLooks is how many looks in a row must find no sign of life before a server counts as hung. A
	// pause of the whole machine, as a hypervisor makes it, lets one look fail.
	enoughLooks = 3
)

// silence is how long nothing has shown that the server is alive. The zero value is: it is.
type silence struct {
	looks  int           // in a row without a sign of life
	lasted time.Duration // the time that these looks, and the pauses between them, may have taken
	ended  time.Time     // of the last of them
}

// note adds a look. It counts for as long as it may take and no longer: what goes beyond is a pause of
// this process or of the machine, in which the server could not answer either.
func (q *silence) note(began, ended time.Time) {
	if q.looks > 0 {
		began = q.ended
	}
	q.looks++
	q.lasted += min(ended.Sub(began), lookTimeout+2*lifeTimeout)
	q.ended = ended
}

// hungFor is how long the server has hung, 0 while that is not certain.
func (q *silence) hungFor() time.Duration {
	if q.looks < enoughLooks {
		return 0
	}
	return q.lasted
}

// question asks the server about itself, on the session that is kept, or on a new one. An answer that
// is an error leaves the session as it is.
func (s *Supervisor) question(ctx context.Context) (look pg.Look, err error) {
	if s.refusal != nil && time.Since(s.refusedAt) < answerPause {
		return look, s.refusal
	}
	s.refusal = nil
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	for attempt := range 2 {
		if err = s.connect(ctx); err != nil {
			break
		}
		if look, err = s.conn.Look(ctx); err == nil || pg.Serves(err) && !s.conn.Closed() {
			break
		}
		s.disconnect()
		if attempt > 0 || ctx.Err() != nil {
			break
		}
	}
	if pg.Serves(err) {
		s.refusal, s.refusedAt = err, time.Now()
	}
	return look, err
}

// judge looks for other signs of life of a server that did not answer the question: an error that the
// server itself answers, the session that is kept, a session in replication mode, WAL that goes on
// being written. The role is what the first of them tells that can. A server that shows life and a
// role is one that runs, and that is not seen well: what else is known of it is of an earlier look.
func (s *Supervisor) judge(ctx context.Context, seen *observation) {
	began := seen.at
	seen.role = ha.Unknown // it runs, so it is not down, whatever cannot be found out
	alive := pg.Serves(seen.err)
	role := s.askRole(ctx, &alive)
	var p pulse
	if role == ha.Unknown || !s.remembers(role) {
		p = s.feel(ctx)
		alive = alive || s.beats(p, seen.err)
		if role == ha.Unknown {
			role = p.role()
		}
	}
	if !alive {
		s.silence.note(began, time.Now())
		return
	}
	s.silence = silence{}
	switch {
	case role == ha.Unknown:
	case s.remembers(role):
		seen.role, seen.blind, seen.hold = role, true, s.seen.hold
	case p.err == nil:
		seen.role, seen.blind, seen.look = role, true, s.lookOfFiles(p, role)
	}
}

// askRole asks for the role alone, by questions that wait for no lock on a catalog.
func (s *Supervisor) askRole(ctx context.Context, alive *bool) ha.Role {
	ctx, cancel := context.WithTimeout(ctx, lifeTimeout)
	defer cancel()
	var standby bool
	var err error
	switch {
	case s.conn != nil:
		if standby, err = s.conn.InRecovery(ctx); err != nil && s.conn.Closed() {
			s.disconnect()
		}
	case *alive: // it has refused a session a moment ago
		return ha.Unknown
	default:
		var identity pg.Identity
		identity, err = pg.AskRole(ctx, instance.Local(s.Instance))
		standby = identity.Standby
	}
	switch {
	case err != nil:
		*alive = *alive || pg.Serves(err)
		return ha.Unknown
	case standby:
		*alive = true
		return ha.Standby
	}
	*alive = true
	return ha.Primary
}

// remembers says whether the latest look is of the server that runs, in this role.
func (s *Supervisor) remembers(role ha.Role) bool {
	return s.lookedAt != nil && s.server != nil && s.lookedAt.PID == s.server.PID && s.lookedAt.StartTime == s.server.StartTime &&
		s.seen.look.InRecovery == (role == ha.Standby)
}

// pulse is what files and processes tell of the server.
type pulse struct {
	files    pg.Pulse
	children postmaster.Children
	accepts  bool // by the pid file
	err      error
}

var errNoPulse = fmt.Errorf("the disk has not answered for %s", lifeTimeout)

// feel reads files and processes beside the loop, because a read hangs where the disk does. One that
// hangs is waited for as long as the supervisor runs, and what it finds is not used: it may be of a
// server before this one.
func (s *Supervisor) feel(ctx context.Context) pulse {
	ctx, cancel := context.WithTimeout(ctx, lifeTimeout)
	defer cancel()
	if s.pulses == nil {
		s.pulses = make(chan pulse, 1)
	}
	if s.feeling {
		if _, ended := s.awaitPulse(ctx); !ended {
			return pulse{err: errNoPulse}
		}
	}
	s.feeling = true
	pgdata := s.Instance.PGData
	s.background.Go(func() { s.pulses <- readPulse(pgdata) })
	p, ended := s.awaitPulse(ctx)
	if !ended {
		return pulse{err: errNoPulse}
	}
	return p
}

// awaitPulse waits for the read that has begun.
func (s *Supervisor) awaitPulse(ctx context.Context) (p pulse, ended bool) {
	select {
	case p = <-s.pulses:
		s.feeling = false
		return p, true
	case <-ctx.Done():
		return p, false
	}
}

func readPulse(pgdata string) (p pulse) {
	if p.files, p.err = pg.ReadPulse(pgdata); p.err != nil {
		return p
	}
	if p.children, p.err = postmaster.ReadChildren(pgdata); p.err != nil {
		return p
	}
	p.accepts, p.err = pg.Accepts(pgdata)
	return p
}

// role is what the control file and the processes agree on.
func (p pulse) role() ha.Role {
	state := p.files.Control.State
	switch {
	case p.err != nil:
		return ha.Unknown
	case state == pg.InArchiveRecovery && p.children.Recovering:
		return ha.Standby
	case state == pg.InProduction && p.children.Writing && !p.children.Recovering:
		return ha.Primary
	}
	return ha.Unknown
}

// beats says whether the pulse is a sign of life: WAL that goes on being written. A server that refuses
// every session for its state shows no life by that, but for a standby with hot_standby=off, which
// never has any.
func (s *Supervisor) beats(p pulse, refusal error) bool {
	before := s.pulse
	if p.err != nil {
		return false
	}
	s.pulse = &p.files
	if pg.RefusesAll(refusal) {
		return p.accepts && p.role() == ha.Standby
	}
	return before != nil && *before != p.files
}

// lookOfFiles is what stands for a look at a server that has never answered. Positions are the least
// that is certain.
func (s *Supervisor) lookOfFiles(p pulse, role ha.Role) pg.Look {
	c := p.files.Control
	look := pg.Look{System: c.System, Timeline: c.Reached(), InRecovery: role == ha.Standby}
	if major, err := pg.MajorVersion(s.Instance.PGData); err == nil {
		look.Version = major * 10000 // server_version_num without the minor version
	}
	if role == ha.Primary {
		look.Written, look.Flushed = c.Checkpoint, c.Checkpoint
		return look
	}
	look.Redo, look.Replayed = c.Redo, max(c.Checkpoint, c.MinRecovery)
	if at, ok := pg.SegmentStart(p.children.Segment, c.SegmentSize); ok {
		look.Replayed = max(look.Replayed, at)
	}
	return look
}

// noteFailure logs why the server does not answer, once for each reason.
func (s *Supervisor) noteFailure(seen *observation) {
	failure := ""
	if seen.err != nil && seen.progress.Phase != control.PhaseStarting {
		failure = seen.err.Error()
	}
	if failure == s.failure {
		return
	}
	before := s.failure
	s.failure = failure
	switch {
	case failure == "":
		s.Log.Info("PostgreSQL answers again", "before", before)
	default:
		s.Log.Warn("PostgreSQL does not answer pgtwin's question: "+failure, "role", string(seen.role))
	}
}
