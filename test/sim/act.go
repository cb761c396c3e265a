package sim

import (
	"errors"
	"slices"
	"time"

	"pgtwin/internal/ha"
)

// act carries out one decision.
func (s *supervisor) act(a ha.Action, done func(error)) {
	h := s.h
	h.w.traceAction(h, a)
	switch a.Verb {
	case ha.SetScore:
		s.setScore(a.Number, done)
	case ha.Publish:
		s.publish(a, done)
	case ha.Require:
		s.requires(a, done)
	case ha.Restore:
		s.record(ha.Promotion{Epoch: h.known, InSync: map[string]int{h.name: a.Number}}, clusterTimeout, done)
	case ha.Follow:
		s.configure(a.Node, nil, 0, done)
	case ha.Spare:
		s.spare(a, done)
	case ha.Yield:
		if s.yielding {
			done(nil)
			return
		}
		s.setScore(ha.Minus, func(err error) {
			s.yielding, s.yielded = true, h.w.now
			done(err)
		})
	case ha.Connect:
		s.connect(a, done)
	case ha.Fail:
		s.fail(done)
	case ha.Halt:
		s.after(h.w.between(ms, time.Second), func() {
			if h.server != nil {
				h.server.kill()
			}
			done(nil)
		})
	}
}

func (s *supervisor) setScore(score int, done func(error)) {
	s.h.setScore(score)
	s.after(s.h.w.between(3*ms, 30*ms), func() {
		if len(s.view.nodes) > 0 {
			s.view.nodes[s.h.id].Score, s.view.nodes[s.h.id].Scored = score, true
		}
		done(nil)
	})
}

// requires changes which standbys commits wait for.
func (s *supervisor) requires(a ha.Action, done func(error)) {
	required := s.h.w.names(s.seen.required.nodes)
	released := slices.ContainsFunc(required, func(node string) bool { return !slices.Contains(a.Nodes, node) })
	if s.h.w.core.blind || !released && a.Number <= s.seen.required.spared {
		s.configure("", a.Nodes, a.Number, done)
		return
	}
	s.refresh(func(err error) {
		if err == nil {
			err = ha.CheckRelax(a, required, s.candidate())
		}
		if err == nil && a.Number > s.seen.required.spared {
			err = ha.CheckSpare(a.Number, s.candidate())
		}
		if err != nil {
			done(err)
			return
		}
		s.configure("", a.Nodes, a.Number, done)
	})
}

// publish records durably whether a node holds every acknowledged commit.
func (s *supervisor) publish(a ha.Action, done func(error)) {
	h := s.h
	s.refresh(func(err error) {
		if err == nil {
			err = h.w.core.check(a, s.candidate())
		}
		if err != nil {
			done(err)
			return
		}
		s.memory.Publishing(h.w.time(), a.Node, a.Number)
		id := h.w.id(a.Node)
		s.write(clusterTimeout, ha.RecordRank, func(c *cib) { c.inSync[id] = a.Number }, func(err error) {
			if err == nil {
				s.view.nodes[id].InSync = a.Number
				s.memory.Published(h.w.time(), a.Node, a.Number)
			}
			done(err)
		})
	})
}

var errOutranked = errors.New("there are higher records")

// write records over everything that was recorded here before. What times out
// may be applied later, or is refused then.
func (s *supervisor) write(patience time.Duration, above func(int) int, do func(*cib), done func(error)) {
	rank := above(max(s.view.rank, s.rank))
	if s.h.w.core.unranked {
		rank = 0
	}
	s.rank = rank
	answered := false
	answer := func(err error) {
		if !answered {
			answered = true
			done(err)
		}
	}
	s.after(patience, func() { answer(errTimeout) })
	if s.h.mute > 0 || s.h.ring == nil {
		return
	}
	var err error
	change := ranked(rank, do, func(c *cib) {
		if c == &s.h.cib {
			err = errOutranked
		}
	})
	s.h.write(change, func() {
		s.after(s.h.w.between(0, 15*ms), func() {
			if err == nil {
				s.view.rank = max(s.view.rank, rank)
			}
			answer(err)
		})
	})
}

// configure rewrites the managed settings and lets PostgreSQL read them.
func (s *supervisor) configure(upstream string, required []string, spared int, done func(error)) {
	h := s.h
	s.after(h.w.between(ms, 10*ms), func() {
		if h.server == nil || !h.server.ready {
			done(errors.New("PostgreSQL does not answer"))
			return
		}
		s.follows = upstream
		h.server.follow(h.w.id(upstream))
		h.server.require(setting{h.w.ids(required), spared})
		done(nil)
	})
}

// fail reports the instance to Pacemaker, once per activation.
func (s *supervisor) fail(done func(error)) {
	h := s.h
	if s.reported == s.seen.began {
		done(nil)
		return
	}
	s.reported = s.seen.began
	s.after(h.w.between(10*ms, 80*ms), func() {
		if s.seen.role == ha.Standby {
			h.repairs.Restarts++
			h.repairs.Last = h.w.time()
		}
		if h.rsc.role != stopped {
			h.record(record{h.rsc.role, true})
		}
		done(nil)
	})
}

// release declares this standby behind before it stops.
func (s *supervisor) release(done func()) {
	h := s.h
	s.observe()
	if s.seen.role != ha.Standby || !s.seen.receiving || h.w.cfg.Mode == ha.Strict {
		done()
		return
	}
	s.refresh(func(err error) {
		if err != nil || !s.view.quorate || s.view.nodes[h.id].InSync != s.view.epoch.Number {
			done()
			return
		}
		h.write(configure(func(c *cib) { c.inSync[h.id] = 0 }), func() {
			s.awaitRelease(h.w.now+6*time.Second, done)
		})
	})
}

// awaitRelease waits until commits on the primary do not wait for this standby
// any more. The wait is visible there.
func (s *supervisor) awaitRelease(deadline time.Duration, done func()) {
	h := s.h
	up := h.w.hosts[max(0, h.w.id(s.view.epoch.Node))].server
	if up == nil || !up.primary || !h.w.streams(h, up.h) || !up.inForce.has(h.id) || h.w.now >= deadline {
		if up != nil {
			up.farewells = up.farewells.without(only(h.id))
		}
		done()
		return
	}
	up.farewells = up.farewells.with(h.id)
	s.after(50*ms, func() { s.awaitRelease(deadline, done) })
}
