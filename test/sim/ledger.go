package sim

import (
	"fmt"

	"pgtwin/internal/ha"
)

// ledger knows what really happened, and judges it.
type ledger struct {
	w           *world
	promotions  []promotion // that took effect, in order
	commits     int         // acknowledged
	dirty       bool        // something changed that a record may be wrong for
	violation   *Violation
	unprotected bool // the configuration promises nothing across partitions
}

// promotion is one that took effect.
type promotion struct {
	host  *host
	epoch int
	on    ha.Timeline
	from  ha.LSN
	acked ha.LSN // the last acknowledged commit on this timeline
}

// Violation is a broken invariant.
type Violation struct {
	Invariant string // as design.md numbers it
	What      string
}

func (v *Violation) Error() string { return fmt.Sprintf("invariant %s: %s", v.Invariant, v.What) }

func (l *ledger) fail(invariant, format string, a ...any) {
	if l.violation == nil {
		l.violation = &Violation{invariant, fmt.Sprintf(format, a...)}
		l.w.tracef("VIOLATION %v", l.violation)
	}
}

func (l *ledger) changed() { l.dirty = true }

func (l *ledger) latest() *promotion {
	if len(l.promotions) == 0 {
		return nil
	}
	return &l.promotions[len(l.promotions)-1]
}

// acknowledged is called for every commit that a client gets an answer for.
func (l *ledger) acknowledged(s *server, at ha.LSN) {
	l.commits++
	l.dirty = true
	tl := s.data.history.Timeline
	latest := l.latest()
	if latest.on != tl && !l.unprotected {
		l.fail("2", "%s acknowledges a commit on timeline %d after %s was promoted to timeline %d", s.h.name, tl, latest.host.name, latest.on)
	}
	// The setting is looked at, not what is in force: directly after a promotion
	// the checkpointer may be late to apply it.
	if l.w.cfg.Mode == ha.Strict && s.shown.nodes != l.w.all().without(only(s.h.id)) {
		l.fail("strict", "%s acknowledges a commit that not every standby has", s.h.name)
	}
	for i := range l.promotions {
		if l.promotions[i].on == tl {
			l.promotions[i].acked = max(l.promotions[i].acked, at)
		}
	}
}

// promoted is called when a promotion has taken effect.
func (l *ledger) promoted(s *server) {
	h := s.h
	tl := s.data.history.Timeline
	parent := s.data.history.Parents[len(s.data.history.Parents)-1]
	h.w.tracef("%s is primary on timeline %d, from timeline %d at %s", h.name, tl, parent.Timeline, parent.At)
	for _, p := range l.promotions {
		// Without fencing the record of a promotion can be lost, and the host
		// that it was of use the number again; no other can.
		if p.on == tl && (!l.unprotected || p.host != h) {
			l.fail("13", "%s is promoted to timeline %d, which %s has used", h.name, tl, p.host.name)
		}
	}
	l.checkRecord(s, parent)
	l.checkComplete(h, parent)
	l.promotions = append(l.promotions, promotion{host: h, epoch: h.cib.epoch.Number, on: tl, from: parent.At})
	l.dirty = true
}

// checkRecord is invariant 4: the promotion is recorded, and comes after the
// one before.
func (l *ledger) checkRecord(s *server, parent ha.Switch) {
	if l.unprotected { // the records of the other side may have replaced it meanwhile
		return
	}
	e, d := s.h.cib.epoch, s.data
	if e.Node != s.h.name || e.Timeline != d.history.Timeline || e.System != d.system || e.Switch > parent.At {
		l.fail("4", "%s is promoted to timeline %d, recorded is: %s", s.h.name, d.history.Timeline, e)
	}
	latest := l.latest()
	if latest == nil {
		return
	}
	if !d.history.Contains(latest.on, latest.from) {
		l.fail("4", "%s is promoted, and its history does not contain the promotion of %s to timeline %d", s.h.name, latest.host.name, latest.on)
	}
	if e.Number <= latest.epoch {
		l.fail("4", "%s is promoted in epoch %d, and %s was in epoch %d", s.h.name, e.Number, latest.host.name, latest.epoch)
	}
}

// checkComplete is invariant 1. In asynchronous mode what may be missing is
// bounded by what is checked at the record, see checkRecords.
func (l *ledger) checkComplete(h *host, parent ha.Switch) {
	if l.unprotected || l.w.cfg.Mode == ha.Async {
		return
	}
	if missing := l.missing(&h.data); missing != nil {
		l.fail("1", "%s is promoted with timeline %d up to %s, acknowledged on %s is timeline %d up to %s",
			h.name, parent.Timeline, parent.At, missing.host.name, missing.on, missing.acked)
	}
}

// missing is a promotion of which data lack an acknowledged commit.
func (l *ledger) missing(d *database) *promotion {
	for i := len(l.promotions) - 1; i >= 0; i-- {
		if p := &l.promotions[i]; p.acked > 0 && !d.holds(p.on, p.acked) {
			return p
		}
	}
	return nil
}

// bootstrapped is the other half of invariant 4.
func (l *ledger) bootstrapped(h *host) {
	if len(l.promotions) > 0 {
		l.fail("4", "%s makes a new database in a cluster that has one", h.name)
	}
}

// resolved is invariant 3, at the moment when commits go by another setting: what
// is on record stays true.
func (l *ledger) resolved(s *server) {
	c := &s.h.cib
	if l.w.cfg.Mode == ha.Async || l.unprotected || c.epoch.Number == 0 || c.epoch.Node != s.h.name {
		return
	}
	members := l.members(c).without(only(s.h.id))
	unheard := members.without(s.inForce.nodes).count()
	lacking := unheard + min(members.count()-unheard, s.inForce.spared)
	if lacking > c.spared() {
		l.fail("3", "commits on %s wait for %v but %d: %d of %v, which are recorded, may lack them, on record %d",
			s.h.name, l.w.names(s.inForce.nodes), s.inForce.spared, lacking, l.w.names(members), c.spared())
	}
}

// members are the hosts on record for the epoch.
func (l *ledger) members(c *cib) (n nodes) {
	for id := range l.w.hosts {
		if c.inSync[id] == c.epoch.Number {
			n = n.with(id)
		}
	}
	return n
}

// started is invariant 15.
func (l *ledger) started(h *host) {
	if h.data.mixed || !h.data.exists {
		l.fail("15", "%s starts a data directory that a rewind has left half done", h.name)
	}
}

// stoppedIs is invariant 5: what is reported as stopped does not run.
func (l *ledger) stoppedIs(h *host) {
	if h.server != nil {
		l.fail("5", "%s is reported as stopped and runs", h.name)
	}
}

// check runs after every step: whose copy of the records can be acted on must
// not have a wrong one. Copies that are about to change are left out; what comes
// of them is seen when somebody is promoted.
func (l *ledger) check() {
	if !l.dirty {
		return
	}
	l.dirty = false
	latest := l.latest()
	if latest == nil || l.unprotected || l.w.cfg.Mode == ha.Async {
		return
	}
	for _, v := range l.w.hosts {
		c := &v.cib
		if !v.alive() || !v.ringIntact() || !c.quorate || !l.w.quorate(v) || v.delivered > l.w.now || c.epoch.Number != latest.epoch {
			continue
		}
		l.checkRecords(v, latest)
	}
}

// checkRecords is invariant 3 as it matters: of those that are recorded as complete
// no more lack a commit than is on record.
func (l *ledger) checkRecords(v *host, latest *promotion) {
	lacking := 0
	for id, h := range l.w.hosts {
		if v.cib.inSync[id] != latest.epoch {
			continue
		}
		missing := l.missing(&h.data)
		if missing != nil {
			lacking++
		}
		if lacking > v.cib.spared() {
			l.fail("3", "%s is recorded as complete, and lacks commits acknowledged on timeline %d up to %s: it ends at %s of timeline %d; %d may lack any",
				h.name, missing.on, missing.acked, h.data.end, h.data.history.Timeline, v.cib.spared())
			return
		}
	}
}
