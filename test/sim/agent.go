package sim

import (
	"errors"
	"time"

	"pgtwin/internal/ha"
)

// intent is what the agent wants of the database, so that the supervisor can
// tell a stop from a death.
type intent uint8

const (
	stopIntent intent = iota
	runIntent
	demoteIntent
)

// action is one run of the agent.
type action struct {
	process
	what string
}

var (
	errTimeout = errors.New("took too long")
	errKilled  = errors.New("the agent was killed")
)

// perform runs an action on the host.
func (h *host) perform(what string, story func(*action)) {
	a := &action{process: process{h: h}, what: what}
	h.rsc.busy = a
	a.after(h.w.between(3*ms, 120*ms), func() {
		h.w.tracef("%s: %s", h.name, what)
		story(a)
	})
	a.after(90*time.Second, func() { a.done(errTimeout) })
}

// done is the end of an action: Pacemaker learns how it went.
func (a *action) done(err error) {
	if a.ended {
		return
	}
	a.ended = true
	a.h.after(a.h.w.between(0, 60*ms), func() { a.h.result(a, err) })
}

func (h *host) result(a *action, err error) {
	r := h.rsc.record
	h.rsc.busy = nil
	if err != nil {
		h.w.tracef("%s: %s failed: %v", h.name, a.what, err)
		h.actionFailed(a)
		return
	}
	switch a.what {
	case "start", "demote":
		r.role = unpromoted
	case "promote":
		r.role = promoted
	case "stop":
		r = record{}
		h.w.ledger.stoppedIs(h)
	}
	h.record(r)
}

func (h *host) actionFailed(a *action) {
	role := h.rsc.role
	switch a.what {
	case "start":
		role = unpromoted // unknown: it has to be stopped
		h.rsc.banned = h.w.now + 40*time.Second
	case "promote":
		role = promoted // unknown: it has to be demoted
	case "demote":
		role = unpromoted
	case "stop":
		h.condemn()
	}
	h.record(record{role, true})
}

func (h *host) agentStart(a *action) {
	h.intent = runIntent
	if h.server == nil && h.activation == nil {
		h.activate(false)
	}
	if h.supervisor == nil {
		h.startSupervisor()
	}
	h.awaitTakeover(a)
}

func (h *host) awaitTakeover(a *action) {
	switch h.phase {
	case failed:
		a.done(errors.New("the activation failed"))
	case "", checking:
		a.after(50*ms, func() { h.awaitTakeover(a) })
	default:
		a.done(nil)
	}
}

// agentPromote asks the supervisor, again while that is being restarted.
func (h *host) agentPromote(a *action) {
	s := h.supervisor
	if !s.answers() {
		a.after(50*ms, func() { h.agentPromote(a) })
		return
	}
	answered := false
	s.request(func() {
		s.promote(a, func(err error) {
			answered = true
			a.done(err)
			s.free()
		})
	})
	var watch func()
	watch = func() {
		switch {
		case answered:
		case s.ended:
			h.agentPromote(a)
		default:
			a.after(100*ms, watch)
		}
	}
	watch()
}

// agentDemote ends the primary and lets it come back as a standby in the
// background, unless a stop follows.
func (h *host) agentDemote(a *action, stopFollows bool) {
	s := h.server
	if h.supervisor.answers() && (s != nil && s.ready && !s.primary || s == nil && h.activation != nil) {
		a.done(nil)
		return
	}
	h.intent = demoteIntent
	again := func() {
		if stopFollows {
			h.activation.end()
			h.activation = nil
			a.done(nil)
			return
		}
		h.activate(true)
		a.done(nil)
	}
	if s == nil {
		a.after(h.w.between(0, 50*ms), again)
		return
	}
	if !s.ready || s.stalled() { // it hangs
		s.kill()
		a.after(h.w.between(0, 2*time.Second), again)
		return
	}
	a.after(h.w.between(5*ms, time.Second), func() { // a checkpoint before
		s.shutdown(40*time.Second, func() { a.after(h.w.between(0, 100*ms), again) })
	})
}

// agentStop takes leave of the primary and stops.
func (h *host) agentStop(a *action) {
	stop := func() {
		h.setScore(ha.Minus)
		h.intent = stopIntent
		a.after(h.w.between(ms, 50*ms), func() { h.stopDatabase(a) })
	}
	if h.server == nil && h.activation == nil || !h.supervisor.answers() {
		stop()
		return
	}
	left := false
	once := func() {
		if !left {
			left = true
			stop()
		}
	}
	s := h.supervisor
	s.request(func() {
		s.release(func() {
			s.free()
			a.after(0, once)
		})
	})
	a.after(7*time.Second, once)
}

func (h *host) stopDatabase(a *action) {
	h.activation.end()
	h.activation = nil
	rest := func() {
		h.supervisor.end()
		h.supervisor, h.phase = nil, ""
		a.done(nil)
	}
	if h.server == nil {
		rest()
		return
	}
	h.server.shutdown(15*time.Second, func() { a.after(h.w.between(0, 50*ms), rest) })
}
