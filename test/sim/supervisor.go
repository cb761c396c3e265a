package sim

import (
	"slices"
	"time"

	"pgtwin/internal/ha"
)

// The supervisor's pace, as in package supervisor.
const (
	settledLook    = 250 * ms
	unsettledLook  = 100 * ms
	settledRead    = 2 * time.Second
	unsettledRead  = time.Second
	clusterTimeout = 4 * time.Second
)

// supervisor is a copy of the loop in package supervisor: observe, decide,
// act, with time passing in between.
type supervisor struct {
	process
	seen   observation
	view   view
	viewAt time.Duration // of the latest read
	fresh  bool          // viewAt is worth something
	memory ha.Memory

	allowance ha.Allowance
	positions map[string]ha.LSN // of peers
	asked     time.Duration
	judged    bool
	lagging   bool
	unserved  time.Duration
	follows   string
	settled   bool
	yielded   time.Duration
	yielding  bool
	reported  int
	diverged  time.Duration // since when, 0: it is not
	dry       time.Duration // since when a standby has received nothing
	streamed  time.Duration
	hung      time.Duration
	stalled   time.Duration
	settings  int // how often synchronous_standby_names has been seen to change
	enforced  int // the change of which it is proven that commits go by it
	proving   bool
	proof     int // the change that has just been proven, for the next round
	rank      int // the highest that a record of ours was given
	busy      bool
	queue     []func()
	ticket    int // of the next look
}

func (s *supervisor) end() {
	if s != nil {
		s.ended = true
	}
}

// answers says whether there is somebody to ask.
func (s *supervisor) answers() bool { return s != nil && !s.ended }

func (h *host) startSupervisor() {
	s := &supervisor{process: process{h: h}, busy: true} // it looks before it answers
	h.supervisor = s
	s.after(h.w.between(10*ms, 200*ms), s.tick)
}

// wake makes the next look happen d from now.
func (s *supervisor) wake(d time.Duration) {
	s.ticket++
	ticket := s.ticket
	s.after(d, func() {
		if ticket == s.ticket && !s.busy {
			s.tick()
		}
	})
}

// request queues what the agent asks for: the loop does one thing at a time.
func (s *supervisor) request(do func()) {
	if s.busy {
		s.queue = append(s.queue, do)
		return
	}
	s.busy = true
	do()
}

// free ends a round or a request.
func (s *supervisor) free() {
	if s.ended {
		return
	}
	if len(s.queue) > 0 {
		next := s.queue[0]
		s.queue = s.queue[1:]
		s.after(0, next)
		return
	}
	s.busy = false
	if s.settled {
		s.wake(settledLook)
	} else {
		s.wake(unsettledLook)
	}
}

// tick is one round: observe, decide, act.
func (s *supervisor) tick() {
	s.busy = true
	if s.proof > 0 {
		s.proving, s.enforced, s.proof = false, s.proof, 0
	}
	s.observe()
	s.after(s.h.w.between(ms, 5*ms), func() {
		s.readCluster(func() {
			if !s.fresh {
				s.free()
				return
			}
			s.compare(func() {
				actions := s.h.w.core.decide(s.facts())
				s.settled = len(actions) == 0 && s.steady()
				s.enforce()
				s.perform(actions, false)
			})
		})
	})
}

func (s *supervisor) perform(actions []ha.Action, failed bool) {
	if len(actions) == 0 {
		if failed {
			s.fresh = false
		}
		s.free()
		return
	}
	s.act(actions[0], func(err error) {
		if err != nil {
			s.h.w.tracef("%s: cannot %s: %v", s.h.name, actions[0].Verb, err)
		}
		s.perform(actions[1:], failed || err != nil)
	})
}

// readCluster refreshes the view when it is due. Where Pacemaker does not
// answer the old view stands.
func (s *supervisor) readCluster(then func()) {
	due := settledRead
	if !s.settled {
		due = unsettledRead
	}
	age := s.h.w.now - s.viewAt
	yields := s.fresh && age < 2*settledRead && s.died() && ha.Successor(s.candidate()) != ""
	if s.fresh && age < due && !s.seen.news || yields {
		then()
		return
	}
	s.refresh(func(error) { then() })
}

// know remembers an epoch that is later than what was known, one of this host's
// own only when it has taken effect.
func (s *supervisor) know(e ha.Epoch) {
	effective := e.Node != s.h.name || s.seen.role == ha.Primary && s.seen.history.Timeline == e.Timeline
	if e.Number > s.h.known.Number && effective {
		s.h.known = e
	}
}

func (s *supervisor) refresh(then func(error)) {
	s.read(func(v view, ok bool) {
		if !ok {
			then(errTimeout)
			return
		}
		s.memory.Read(s.h.w.time(), v.epoch, s.h.others(v), s.senders())
		if s.rank == 0 {
			s.rank = ha.OldRank(v.rank)
		}
		s.allowance.Read(s.h.w.time(), v.spare)
		s.view, s.viewAt, s.fresh = v, s.h.w.now, true
		s.know(v.epoch)
		then(nil)
	})
}

// time is the monotonic clock.
func (q *queue) time() time.Time { return time.Unix(1, 0).Add(q.now) }

func (h *host) others(v view) []ha.Membership {
	return slices.DeleteFunc(slices.Clone(v.nodes), func(m ha.Membership) bool { return m.Node == h.name })
}

// enforce proves with a checkpoint that commits wait for whom every session
// says they wait for: it begins after the checkpointer has read the setting.
func (s *supervisor) enforce() {
	h := s.h
	awaited := s.view.spare > s.seen.required.spared
	for id := range h.w.hosts {
		awaited = awaited || s.seen.required.has(id) && s.view.nodes[id].InSync != s.view.epoch.Number
	}
	if s.seen.role != ha.Primary || s.enforced == s.settings || s.proving || !awaited {
		return
	}
	s.proving = true
	server, setting := h.server, s.settings
	var wait func()
	wait = func() {
		if server == nil || server.ended || !server.ready {
			s.proving = false
			return
		}
		if server.shown != server.inForce {
			s.after(100*ms, wait)
			return
		}
		s.after(h.w.between(5*ms, 200*ms), func() { s.proof = setting })
	}
	wait()
}

// steady says whether nothing is under way that a quick look would help.
func (s *supervisor) steady() bool {
	switch s.seen.role {
	case ha.Primary:
		return !slices.ContainsFunc(s.h.others(s.view), func(p ha.Membership) bool {
			return p.Online && p.InSync != s.view.epoch.Number
		})
	case ha.Standby:
		self := s.view.nodes[s.h.id]
		return s.seen.receiving && self.InSync == s.view.epoch.Number && self.Score == ha.EligibleScore
	}
	return false
}

// yields is what the agent's monitor asks.
func (s *supervisor) yields() bool {
	return s.answers() && s.yielding && s.h.w.now-s.yielded < ha.DemotionPatience
}
