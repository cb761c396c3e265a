package sim

import (
	"time"

	"pgtwin/internal/ha"
)

// phase is what an activation of the database says of itself.
type phase string

const (
	checking phase = "checking"
	waiting  phase = "waiting"
	working  phase = "working" // initdb, rewind or clone
	starting phase = "starting"
	running  phase = "running"
	failed   phase = "failed"
)

// activation is one run of the database unit.
type activation struct {
	process
	demoted  bool
	number   int
	began    time.Duration
	failures int
}

func (a *activation) end() {
	if a != nil {
		a.ended = true
	}
}

// activate starts the unit.
func (h *host) activate(demoted bool) {
	h.activation.end()
	h.began++
	a := &activation{process: process{h: h}, demoted: demoted, number: h.began, began: h.w.now}
	h.activation, h.phase, h.grant = a, checking, false
	a.after(h.w.between(10*ms, 300*ms), func() {
		h.intent = runIntent
		if demoted {
			a.standBack(0)
			return
		}
		a.prepare()
	})
}

// standBack waits, after a demotion, for another host to be promoted.
func (a *activation) standBack(succeeded time.Duration) {
	h := a.h
	if h.w.now-a.began >= ha.DemotionPatience || h.grant {
		a.prepare()
		return
	}
	h.phase = waiting
	a.after(time.Second, func() {
		a.read(func(v view, ok bool) {
			if ok && v.epoch.Node != h.name && succeeded == 0 {
				succeeded = h.w.now
			}
			if succeeded > 0 && h.w.now-succeeded > 2*time.Second {
				a.prepare()
				return
			}
			a.standBack(succeeded)
		})
	})
}

// prepare works until the data directory can be started.
func (a *activation) prepare() {
	a.read(func(v view, ok bool) {
		if !ok {
			a.h.phase = waiting
			a.after(500*ms, a.prepare)
			return
		}
		a.after(a.h.w.between(0, 50*ms), func() {
			arrival := a.arrival(v)
			a.follow(arrival.Epoch, a.h.w.core.rejoin(arrival))
		})
	})
}

func (a *activation) follow(e ha.Epoch, plan ha.Plan) {
	h := a.h
	if plan.Course == ha.Rewind && a.failures > 0 {
		plan = ha.Plan{Course: ha.Clone, Why: "the rewind failed"}
	}
	if plan.Course != ha.Wait {
		h.w.tracef("%s: %s: %s", h.name, plan.Course, plan.Why)
	}
	source := h.w.id(e.Node)
	switch plan.Course {
	case ha.Start:
		a.start(e)
	case ha.Refuse:
		h.phase, h.activation = failed, nil
		a.end()
	case ha.Wait:
		h.phase = waiting
		a.pause(h.w.now + 500*ms)
	case ha.Bootstrap:
		h.phase = working
		a.after(h.w.between(200*ms, 2*time.Second), func() { h.initdb(); a.prepare() })
	case ha.Rewind:
		a.rewind(h.w.hosts[source])
	case ha.Clone:
		a.clone(h.w.hosts[source])
	}
}

// pause is cut short by a grant.
func (a *activation) pause(end time.Duration) {
	if a.h.w.now >= end || a.h.grant {
		a.prepare()
		return
	}
	a.after(100*ms, func() { a.pause(end) })
}

func (a *activation) arrival(v view) ha.Arrival {
	h, d := a.h, &a.h.data
	arrival := ha.Arrival{
		Self: h.name, Epoch: v.epoch, InSync: v.nodes[h.id].InSync,
		Data: d.exists, Unsound: d.unsound,
		Granted: h.grant, Demoted: a.demoted, Waited: h.w.now - a.began,
	}
	if d.exists && !d.unsound {
		arrival.System, arrival.Ended = d.system, d.ended
		arrival.Timeline, arrival.Position = d.control.Timeline, d.control.At
	}
	// An older copy of the records may have replaced the one that had the latest.
	if ours := !d.exists || arrival.System == h.known.System; ours && h.known.Number > arrival.Epoch.Number {
		arrival.Epoch, arrival.InSync = h.known, 0
	}
	if e := arrival.Epoch; e.Number > 0 && e.Node != h.name {
		arrival.Primary = h.askPrimary(h.w.hosts[h.w.id(e.Node)])
	}
	return arrival
}

// askPrimary is nil where no primary answers.
func (h *host) askPrimary(p *host) *ha.Upstream {
	s := p.server
	if s == nil || !s.primary || !s.ready || s.stopping || !h.w.streams(h, p) {
		return nil
	}
	return &ha.Upstream{System: p.data.system, History: p.data.history, Position: p.data.end, Checkpointed: s.checkpointed}
}

// rewind changes the data in place: what is interrupted is marked.
func (a *activation) rewind(source *host) {
	h := a.h
	if up := h.askPrimary(source); up != nil {
		h.data.unsound, h.data.mixed = !h.w.core.unmarked, true
		if h.w.chance(0.5) { // files get to disk in any order, the control file among them
			h.data.ended, h.data.control = ha.Replaying, ha.Switch{Timeline: up.History.Timeline, At: up.Position}
		}
	}
	a.copyFrom(source, source.server, h.w.now+h.w.between(300*ms, 4*time.Second))
}

// clone makes the copy beside the old data.
func (a *activation) clone(source *host) {
	a.copyFrom(source, source.server, a.h.w.now+a.h.w.between(time.Second, 10*time.Second))
}

// copyFrom takes until end, and fails when the source does not answer on the
// way.
func (a *activation) copyFrom(source *host, server *server, end time.Duration) {
	h := a.h
	h.phase = working
	switch {
	case source.server != server || h.askPrimary(source) == nil:
		a.failures++
		a.after(time.Duration(min(a.failures, 15))*time.Second, a.prepare)
	case h.w.now >= end:
		h.copyOf(source)
		a.prepare()
	default:
		a.after(min(end-h.w.now, 500*ms), func() { a.copyFrom(source, server, end) })
	}
}

// start runs PostgreSQL as a standby of the recorded primary.
func (a *activation) start(e ha.Epoch) {
	h := a.h
	h.founder = e.Number == 0 && (h.founder || h.data.ended != ha.Replaying)
	upstream := h.w.id(e.Node)
	if upstream == h.id {
		upstream = nobody
	}
	h.phase = starting
	h.startServer(upstream, func() {
		h.phase = running
		if h.activation == a {
			h.activation = nil
		}
	})
}
