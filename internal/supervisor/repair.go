package supervisor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"pgtwin/internal/config"
	"pgtwin/internal/control"
	"pgtwin/internal/ha"
)

const (
	// inquiryPeriod is how often the primary is asked during an outage, and
	// inquiryStart how long it has to last for that.
	inquiryPeriod = 5 * time.Second
	inquiryStart  = 2 * time.Second
	// drySpell is how long a standby may do something else than wait for WAL, its
	// next attempt at getting some for example, and still count as waiting.
	drySpell = 2 * time.Second
)

// outage is what there is to know about a replication that does not come.
func (s *Supervisor) outage(f ha.Facts) ha.Outage {
	now, look := s.seen.at, s.seen.look
	if look.AwaitsWAL {
		s.awaited = now
	}
	if s.receives() && f.Held == "" && now.Sub(s.stream.since) > ha.RepairMemory {
		s.forgetRepairs()
	}
	s.dry = firstTime(s.dry, s.seen.at, s.seen.role == ha.Standby && f.Epoch.Node != s.Instance.Node && !s.receives() && !s.seen.replays &&
		now.Sub(s.awaited) < drySpell && ha.PrimaryServes(f))
	o := ha.Outage{
		Reached: max(look.Received, look.Replayed), Archive: look.Archive,
		Idle: time.Since(s.repairs.Last), Repairs: s.repairs, Limit: s.Instance.ReplicationFailureThreshold,
	}
	if s.dry.IsZero() || look.Receiver.Streaming() {
		return o
	}
	if o.For = time.Since(s.dry); o.For > inquiryStart {
		s.inquire(inquiryPeriod)
	}
	if s.inquiry.at.After(s.dry) {
		o.Primary = s.answered(2*inquiryPeriod + lookTimeout)
	}
	return o
}

// stream is a standby's connection to its upstream. One that is refused, for
// lack of the WAL that is asked for, has the state streaming for a moment, too.
type stream struct {
	pid   int // of the receiver, 0 for none
	since time.Time
}

// streamProof is from when on a connection is taken for one that works.
const streamProof = time.Second

func (c *stream) note(seen observation) {
	pid := 0
	if seen.role == ha.Standby && seen.look.Receiver.Streaming() {
		pid = seen.look.Receiver.PID
	}
	if pid != c.pid {
		*c = stream{pid, seen.at}
	}
}

func (s *Supervisor) receives() bool {
	return s.stream.pid != 0 && s.seen.at.Sub(s.stream.since) >= streamProof
}

// complain says why nothing is received.
func (s *Supervisor) complain(f ha.Facts) string {
	text := ha.Complaint(f)
	if asked := s.inquiry.at.After(s.dry) && !s.dry.IsZero(); text != "" && asked && s.inquiry.err != nil && f.DivergedFor == 0 {
		text += ": " + explainRefusal(s.inquiry)
	}
	return text
}

// reconnect writes and loads anew by what this standby follows its primary.
func (s *Supervisor) reconnect(ctx context.Context, a ha.Action) error {
	s.repairs.Reconnects++
	s.repairs.Last = time.Now()
	s.Log.Warn(fmt.Sprintf("connecting to %s anew: %s", a.Node, a.Why), "attempt", s.repairs.Reconnects, "of", s.Instance.ReplicationFailureThreshold)
	return errors.Join(s.keepRepairs(), s.configure(ctx, a.Node, nil, 0))
}

// noteStuck leaves word, for the next activation, of WAL that the primary has no
// more.
func (s *Supervisor) noteStuck() error {
	s.repairs.Stuck = max(s.seen.look.Received, s.seen.look.Replayed)
	return s.keepRepairs()
}

// countRestart counts that this standby was reported to Pacemaker as failed.
func (s *Supervisor) countRestart() {
	s.repairs.Restarts++
	s.repairs.Last = time.Now()
	if err := s.keepRepairs(); err != nil {
		s.Log.Warn("a restart is not counted", "error", err)
	}
}

func (s *Supervisor) keepRepairs() error {
	return control.WriteJSON(config.RepairsFile(s.Instance.Name), s.repairs, 0o644)
}

func (s *Supervisor) forgetRepairs() {
	if s.repairs == (ha.Repairs{}) {
		return
	}
	if err := os.Remove(config.RepairsFile(s.Instance.Name)); err != nil && !errors.Is(err, os.ErrNotExist) {
		s.Log.Warn("cannot forget the repairs", "error", err)
		return
	}
	s.Log.Info("replication goes well again", "reconnects", s.repairs.Reconnects, "restarts", s.repairs.Restarts)
	s.repairs = ha.Repairs{}
}

// recallRepairs goes on counting where another supervisor has stopped.
func (s *Supervisor) recallRepairs() {
	err := control.ReadJSON(config.RepairsFile(s.Instance.Name), &s.repairs)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		s.Log.Warn("the repairs are counted anew", "error", err)
	}
}
