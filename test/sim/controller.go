package sim

import "time"

// resource is what Pacemaker knows on the host itself. The controller acts on
// what has been recorded of it.
type resource struct {
	record
	banned time.Duration // a start failed: not before
	busy   *action
}

type resourceRole uint8

const (
	stopped resourceRole = iota
	unpromoted
	promoted
)

// control is the controller's loop: it orders what brings the partition nearer
// to the state that it wants.
func (r *ring) control(dc *host) {
	if dc.ring != r || r.dc != dc {
		return
	}
	dc.after(dc.w.between(60*ms, 400*ms), func() { r.control(dc) })
	if dc.cib.maintenance || !r.integrated(dc) {
		return
	}
	if !dc.cib.quorate {
		r.stopAll(dc)
		return
	}
	best := r.best(dc)
	r.keep(dc, best)
	if best != nil && r.orders(dc, best) && best.rsc.role == unpromoted && r.clear(dc) {
		best.perform("promote", best.agentPromote)
	}
}

// integrated says whether the CIB knows who is a member and who is not.
func (r *ring) integrated(dc *host) bool {
	for id := range dc.w.hosts {
		if r.members.has(id) != (dc.cib.state[id] == online) {
			return false
		}
	}
	return true
}

// orders says whether the controller can give an order to a host now: to a full
// member that is in reach, has nothing to do, and of which the latest is known.
func (r *ring) orders(dc, h *host) bool {
	return r.members.has(h.id) && dc.w.reaches(dc, h) && dc.cib.state[h.id] == online &&
		!h.condemned && h.rsc.busy == nil && h.rsc.record == dc.cib.rsc[h.id]
}

// each calls do for every host that can be given an order.
func (r *ring) each(dc *host, do func(*host)) {
	for _, h := range dc.w.hosts {
		if r.orders(dc, h) {
			do(h)
		}
	}
}

// stopAll is no-quorum-policy=stop.
func (r *ring) stopAll(dc *host) {
	r.each(dc, func(h *host) { h.stepDown(true) })
}

// stepDown demotes what is promoted, then stops what is not stopped.
func (h *host) stepDown(thenStop bool) {
	switch h.rsc.role {
	case promoted:
		h.perform("demote", func(a *action) { h.agentDemote(a, thenStop) })
	case unpromoted:
		h.perform("stop", h.agentStop)
	}
}

// mayRun says whether the configuration wants the database on a host.
func mayRun(c *cib, h *host) bool {
	return !c.stopped && !c.standby.has(h.id) && !h.leaving
}

// keep orders stops, recoveries, starts and demotions.
func (r *ring) keep(dc, best *host) {
	r.each(dc, func(h *host) {
		switch {
		case !mayRun(&dc.cib, h), h.rsc.failed:
			h.stepDown(true)
			if h.rsc.role == stopped && h.rsc.busy == nil {
				h.record(record{})
			}
			if h.leaving && h.rsc.role == stopped && h.rsc.busy == nil {
				h.leave()
			}
		case h.rsc.role == stopped && dc.w.now >= h.rsc.banned:
			h.perform("start", h.agentStart)
		case h.rsc.role == promoted && h != best:
			h.stepDown(false)
		}
	})
}

// best is the host that is to be promoted: the one that is, unless its score
// forbids it or an operator prefers another; else the highest score.
func (r *ring) best(dc *host) *host {
	var best *host
	value := 0
	for _, h := range dc.w.hosts {
		rsc := dc.cib.rsc[h.id]
		if !r.members.has(h.id) || dc.cib.state[h.id] != online || !mayRun(&dc.cib, h) || rsc.failed || rsc.role == stopped {
			continue
		}
		score := dc.cib.score[h.id]
		if !score.known || score.number <= 0 {
			continue
		}
		number := 2 * score.number
		if dc.cib.preferred == h.id {
			number += 1000000
		}
		if rsc.role == promoted {
			number += 3 // stickiness
		}
		if number > value || number == value && dc.w.chance(0.5) {
			best, value = h, number
		}
	}
	return best
}

// clear says whether a promotion may be ordered: nobody is promoted or about
// to stop being it, nobody is to be fenced, and most of the time the starts
// are over.
func (r *ring) clear(dc *host) bool {
	for _, h := range dc.w.hosts {
		lost := dc.cib.state[h.id] == unclean && !r.members.has(h.id)
		if dc.w.cfg.Fencing && (lost || h.condemned) {
			return false
		}
		if !r.members.has(h.id) {
			continue
		}
		if dc.cib.rsc[h.id].role == promoted || dc.cib.rsc[h.id] != h.rsc.record {
			return false
		}
		if h.rsc.busy != nil && (h.rsc.busy.what != "start" || dc.w.chance(0.8)) {
			return false
		}
	}
	return true
}

// monitor is the recurring monitor of Pacemaker.
func (h *host) monitor() {
	h.after(h.w.between(5*time.Second, 11*time.Second), h.monitor)
	if h.ring == nil || h.rsc.busy != nil || h.rsc.role == stopped || h.cib.maintenance || h.healthy() {
		return
	}
	h.w.tracef("the monitor on %s finds it failed", h.name)
	h.record(record{h.rsc.role, true})
}

// record is the host's part of the CIB's status section.
func (h *host) record(rsc record) {
	h.rsc.record = rsc
	h.post(func(c *cib) { c.rsc[h.id] = rsc })
}

// healthy is what the agent's monitor says of the recorded role.
func (h *host) healthy() bool {
	s := h.server
	switch {
	case s != nil && s.ready:
		return s.primary == (h.rsc.role == promoted)
	case s != nil:
		return h.activation != nil || h.w.chance(0.7) // it does not answer, and has time for it
	case h.activation != nil:
		return true // at work
	}
	return h.supervisor.yields()
}
