package sim

import (
	"errors"
	"time"

	"pgtwin/internal/ha"
)

// promote makes this standby the primary: first the record, then the server.
func (s *supervisor) promote(a *action, done func(error)) {
	s.awaitServer(a, func(err error) {
		if err != nil {
			done(err)
			return
		}
		if s.seen.role == ha.Primary && s.fresh && s.view.epoch.Node == s.h.name {
			done(nil)
			return
		}
		s.refresh(func(err error) {
			if err != nil {
				done(err)
				return
			}
			s.gather(a, func() { s.promoteAs(s.candidate(), done) }, done)
		})
	})
}

// awaitServer waits until PostgreSQL answers. Where the activation waits to be
// chosen, this is the choice.
func (s *supervisor) awaitServer(a *action, then func(error)) {
	s.observe()
	switch {
	case s.seen.role == ha.Standby, s.seen.role == ha.Primary:
		then(nil)
		return
	case s.seen.phase == failed:
		then(errors.New("the activation failed"))
		return
	case a.ended:
		then(errTimeout)
		return
	case s.seen.phase == waiting:
		s.h.grant = true
	}
	s.after(40*ms, func() { s.awaitServer(a, then) })
}

func (s *supervisor) promoteAs(c ha.Candidate, done func(error)) {
	w := s.h.w
	verdict := w.core.promotable(c)
	if !verdict.OK {
		done(errors.New("not promoted: " + verdict.Why))
		return
	}
	next := w.core.next(c, w.cfg.Mode)
	w.tracef("%s: promoting to timeline %d, epoch %d: %s", s.h.name, next.Epoch.Timeline, next.Epoch.Number, verdict.Why)
	switch {
	case w.core.recordNever:
		s.takeEffect(next, done)
	case w.core.recordLate:
		s.takeEffect(next, func(error) { s.record(next, promoteTimeout, done) })
	default:
		record := s.record
		if next.Epoch == s.view.epoch { // it was begun, and is gone on with
			record = func(_ ha.Promotion, _ time.Duration, done func(error)) { s.after(0, func() { done(nil) }) }
		}
		record(next, promoteTimeout, func(err error) {
			if err != nil {
				done(err)
				return
			}
			s.spread(next.Epoch, w.now+promoteTimeout, func(err error) {
				if err != nil {
					done(err)
					return
				}
				s.known(func(err error) {
					if err != nil {
						done(err)
						return
					}
					s.takeEffect(next, done)
				})
			})
		})
	}
}

// record writes the epoch and who holds every commit of it, in one step.
func (s *supervisor) record(next ha.Promotion, patience time.Duration, done func(error)) {
	w := s.h.w
	var inSync [maxHosts]int
	for id, h := range w.hosts {
		inSync[id] = next.InSync[h.name]
	}
	s.write(patience, ha.PromotionRank, func(c *cib) { c.epoch, c.inSync = next.Epoch, inSync }, func(err error) {
		if err == nil {
			s.view.epoch, s.view.spare = next.Epoch, 0
			for id := range w.hosts {
				s.view.nodes[id].InSync = inSync[id]
			}
			s.memory.Promoted(w.time(), s.h.others(s.view))
		}
		done(err)
	})
}

// known records the promotion again, of a higher rank.
func (s *supervisor) known(done func(error)) {
	if s.h.w.core.unknown {
		done(nil)
		return
	}
	s.write(promoteTimeout, ha.KnownRank, func(*cib) {}, done)
}

// promoteTimeout is what is left of the action's.
const promoteTimeout = 60 * time.Second

// spread waits until no peer can act on an older record: each has the new one in
// its copy, or is confirmed down.
func (s *supervisor) spread(e ha.Epoch, deadline time.Duration, done func(error)) {
	w := s.h.w
	if w.core.unspread {
		done(nil)
		return
	}
	peer, err := s.ignorant(e)
	if peer != "" && w.now > deadline {
		err = errors.New(peer + " may not know of the promotion")
	}
	if err != nil {
		s.after(0, func() { done(err) })
		return
	}
	if peer != "" {
		s.after(w.between(20*ms, time.Second), func() {
			s.refresh(func(err error) {
				if err != nil {
					done(err)
					return
				}
				s.spread(e, deadline, done)
			})
		})
		return
	}
	s.after(w.between(10*ms, 60*ms), func() { done(nil) }) // the time that it takes to ask
}

// ignorant is a peer that may not know of the epoch, "" if there is none.
func (s *supervisor) ignorant(e ha.Epoch) (string, error) {
	w := s.h.w
	copies, missed := 1, ""
	for _, p := range s.h.others(s.view) {
		peer := w.hosts[w.id(p.Node)]
		switch {
		case p.Unclean && s.view.fencing:
			return p.Node, errors.New(p.Node + " may be running")
		case !p.Online:
			missed = p.Node
		case peer.cib.epoch == e && w.reaches(s.h, peer):
			copies++
		default:
			return p.Node, nil
		}
	}
	if !w.core.few && !ha.KnownByEnough(copies, len(w.hosts)) {
		return missed, nil
	}
	return "", nil
}

// takeEffect is the setting, the reserved timelines, and the promotion itself.
func (s *supervisor) takeEffect(next ha.Promotion, done func(error)) {
	h := s.h
	s.configure("", next.Required, 0, func(err error) {
		if err != nil {
			done(err)
			return
		}
		s.after(h.w.between(ms, 10*ms), func() {
			if h.server == nil || !h.server.ready {
				done(errors.New("PostgreSQL does not answer"))
				return
			}
			if !h.w.core.noMarkers {
				h.data.reserved = next.Reserved
			}
			h.server.promote()
			s.confirm(next.Epoch, done)
		})
	})
}

func (s *supervisor) confirm(e ha.Epoch, done func(error)) {
	s.after(20*ms, func() {
		server := s.h.server
		switch {
		case server == nil:
			done(errors.New("PostgreSQL died"))
		case server.promoting:
			s.confirm(e, done)
		case server.data.history.Timeline != e.Timeline:
			done(errors.New("PostgreSQL went to another timeline than is recorded"))
		default:
			s.observe()
			s.know(e)
			done(nil)
		}
	})
}
