package sim

import (
	"errors"
	"time"

	"pgtwin/internal/ha"
)

// spare records how many of the standbys may lack a commit.
func (s *supervisor) spare(a ha.Action, done func(error)) {
	decided := s.view.epoch
	s.refresh(func(err error) {
		if err == nil {
			err = ha.CheckAllowance(decided, s.candidate())
		}
		if err != nil {
			done(err)
			return
		}
		s.allowance.Writing()
		s.write(clusterTimeout, ha.RecordRank, func(c *cib) { c.spare = allowance{decided.Number, a.Number} }, func(err error) {
			if err == nil {
				s.view.spare = a.Number
				s.allowance.Read(s.h.w.time(), a.Number)
			}
			done(err)
		})
	})
}

// serves says whether the primary is there and this standby receives from it.
func (s *supervisor) serves() bool {
	id := s.h.w.id(s.view.epoch.Node)
	return s.seen.role == ha.Standby && s.seen.receiving && id != nobody && s.view.nodes[id].Online
}

// compare asks the peers for their positions, for the score.
func (s *supervisor) compare(then func()) {
	if s.seen.role != ha.Standby || !ha.Elects(s.candidate()) {
		s.lagging = false
		then()
		return
	}
	if !s.judged && s.seen.at-s.asked >= settledLook {
		s.judged, s.lagging = true, s.h.w.core.ahead(s.candidate()) != ""
	}
	period := time.Second
	if s.serves() {
		period = 2 * time.Second
	}
	if s.h.w.now-s.asked < period {
		then()
		return
	}
	s.askPeers(then)
}

// askPeers asks every member that is online for the end of its WAL.
func (s *supervisor) askPeers(then func()) {
	h, w := s.h, s.h.w
	if w.core.unasked && s.positions != nil {
		then()
		return
	}
	answers := map[string]ha.LSN{}
	for _, p := range h.others(s.view) {
		peer := w.hosts[w.id(p.Node)]
		if !p.Online || p.InSync != s.view.epoch.Number || p.Node == s.view.epoch.Node {
			continue
		}
		s.after(w.transit(), func() {
			if at, ok := peer.position(h); ok {
				s.after(w.transit(), func() { answers[peer.name] = at })
			}
		})
	}
	s.after(w.between(2*ms, time.Second), func() {
		s.positions, s.asked, s.judged = answers, w.now, false
		then()
	})
}

// position is what a standby answers. What it has not read since its start it does
// not know of.
func (h *host) position(from *host) (ha.LSN, bool) {
	s := h.server
	switch {
	case s == nil || !s.ready || s.primary || s.stopping || !h.w.streams(h, from):
		return 0, false
	case s.exhausted:
		return s.data.end, true
	}
	return s.replayed, h.w.core.unread
}

// gather compares this standby with the others before it is promoted, and gets from
// them what it lacks.
func (s *supervisor) gather(a *action, then func(), failed func(error)) {
	s.gatherSince(a, s.seen.received, s.h.w.now, then, failed)
}

func (s *supervisor) gatherSince(a *action, had ha.LSN, since time.Duration, then func(), failed func(error)) {
	if !ha.Elects(s.candidate()) {
		then()
		return
	}
	s.askPeers(func() {
		s.observe()
		if s.seen.received > had {
			had, since = s.seen.received, s.h.w.now
		}
		ahead := s.h.w.core.ahead(s.candidate())
		switch {
		case ahead == "":
			then()
			return
		case a.ended:
			failed(errTimeout)
			return
		case s.h.w.now-since > ha.CatchUpPatience:
			s.setScore(ha.LaggingScore, func(error) { failed(errors.New(ahead + " has more")) })
			return
		}
		s.h.w.tracef("%s: gets from %s what it lacks", s.h.name, ahead)
		s.configure(ahead, nil, 0, func(err error) {
			if err != nil {
				failed(errors.Join(errors.New("cannot catch up"), err))
				return
			}
			s.after(200*ms, func() {
				s.refresh(func(err error) {
					if err != nil {
						failed(err)
						return
					}
					s.gatherSince(a, had, since, then, failed)
				})
			})
		})
	})
}
