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
		s.write(clusterTimeout, func(c *cib) { c.spare = allowance{decided.Number, a.Number} }, func(err error) {
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

// compare asks the peers for their positions when the primary does not serve, for
// the score.
func (s *supervisor) compare(then func()) {
	if s.seen.role != ha.Standby || !ha.Elects(s.candidate()) || s.serves() || s.h.w.now-s.asked < time.Second {
		then()
		return
	}
	s.asked = s.h.w.now
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
		s.positions = answers
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
	if !ha.Elects(s.candidate()) {
		then()
		return
	}
	s.askPeers(func() {
		s.observe()
		ahead := s.h.w.core.ahead(s.candidate())
		switch {
		case ahead == "":
			then()
			return
		case a.ended:
			failed(errTimeout)
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
					s.gather(a, then, failed)
				})
			})
		})
	})
}
