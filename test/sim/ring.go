package sim

import "time"

// ring is a membership: hosts that agree on who they are.
type ring struct {
	members nodes
	dc      *host // the designated controller
}

// tokenTimeout is what Corosync needs at most to notice a loss.
const tokenTimeout = 3 * time.Second

// component are the hosts that one host reaches.
func (w *world) component(h *host) nodes {
	var members nodes
	for _, other := range w.hosts {
		if w.reaches(h, other) {
			members = members.with(other.id)
		}
	}
	return members
}

// ringIntact says whether the membership that a host believes in is the real
// one.
func (h *host) ringIntact() bool {
	if h.ring == nil {
		return false
	}
	for _, other := range h.w.hosts {
		if h.w.reaches(h, other) != h.ring.members.has(other.id) || h.w.reaches(h, other) && other.ring != h.ring {
			return false
		}
	}
	return true
}

// noticeMembership lets every side find out that it has changed.
func (w *world) noticeMembership() {
	var seen nodes
	for _, h := range w.hosts {
		if !h.alive() || seen.has(h.id) {
			continue
		}
		members := w.component(h)
		seen |= members
		if h.ringIntact() {
			continue
		}
		delay := w.between(100*ms, time.Second)
		if h.ring != nil && h.ring.members.without(members) != 0 {
			delay = w.between(300*ms, tokenTimeout)
		}
		w.after(delay, func() { w.reform(h) })
	}
}

func (w *world) reform(h *host) {
	if h.alive() && !h.ringIntact() {
		w.form(w.component(h))
	}
}

// form makes a ring. Where hosts of several rings meet, the copy of the CIB
// with the higher version becomes everybody's.
func (w *world) form(members nodes) {
	best := w.bestCopy(members)
	old := best.ring
	lost := nodes(0)
	if old != nil {
		lost = old.members.without(members)
	}
	r := &ring{members: members, dc: w.pick(members)}
	won := best.cib
	for _, h := range w.hosts {
		switch {
		case !members.has(h.id):
			if won.state[h.id] == online && !lost.has(h.id) {
				won.state[h.id] = unclean
			}
			continue
		case h.ring != old || old == nil:
			won.state[h.id] = unclean // joining
			won.score[h.id] = promotionScore{}
		}
	}
	w.tracef("%v form a ring, with the CIB of %s, epoch %d", w.names(members), best.name, won.epoch.Number)
	for _, h := range w.hosts {
		if members.has(h.id) {
			h.enter(r, won)
		}
	}
	w.settle(r)
}

// enter takes over the ring's copy.
func (h *host) enter(r *ring, copied cib) {
	h.ring, h.cib = r, copied
	h.seenAll = h.seenAll || r.members == h.w.all()
	h.delivered = h.w.now
	h.save()
	h.missed = nil
	h.unblock()
}

// unblock lets go on what has waited for a membership.
func (h *host) unblock() {
	missed, blocked := h.missed, h.blocked
	h.missed, h.blocked = nil, nil
	for _, do := range missed {
		h.apply(do)
	}
	h.after(h.w.between(0, 20*ms), func() {
		for _, again := range blocked {
			if h.ring != nil {
				again()
			}
		}
	})
}

// settle is what the controller writes about a new ring, somewhat later.
func (w *world) settle(r *ring) {
	inRing := func(do func()) func() {
		return func() {
			if r.dc.ring == r {
				do()
			}
		}
	}
	r.dc.after(w.between(0, 100*ms), inRing(func() {
		quorate := w.quorate(r.dc)
		r.post(func(c *cib) { c.quorate = quorate })
	}))
	r.dc.after(w.between(0, 300*ms), inRing(func() {
		r.post(func(c *cib) { lose(c, r.members) })
		w.fenceLost(r)
		r.dc.after(w.between(20*ms, 300*ms), func() { r.control(r.dc) })
	}))
	for _, h := range w.hosts {
		if r.members.has(h.id) && r.dc.cib.state[h.id] != online {
			r.dc.after(w.between(200*ms, 1500*ms), inRing(func() { w.join(r, h) }))
		}
	}
}

// post is what the ring's controller writes, void in another ring.
func (r *ring) post(do change) {
	dc := r.dc
	dc.postWhile(func() bool { return dc.ring == r }, do)
}

func lose(c *cib, members nodes) {
	for id := range c.state {
		if !members.has(id) && c.state[id] == online {
			c.state[id], c.score[id] = unclean, promotionScore{}
		}
	}
}

// gone is for a host on which nothing runs.
func (c *cib) gone(id int) {
	c.state[id], c.score[id], c.rsc[id] = down, promotionScore{}, record{}
}

// join makes a host a full member; attrd brings its own scores.
func (w *world) join(r *ring, h *host) {
	if h.ring != r {
		return
	}
	score, rsc := h.score, h.rsc.record
	r.post(func(c *cib) { c.state[h.id], c.score[h.id], c.rsc[h.id] = online, score, rsc })
}

// bestCopy is the host whose CIB the others take over.
func (w *world) bestCopy(members nodes) *host {
	var best *host
	for _, h := range w.hosts {
		if !members.has(h.id) {
			continue
		}
		if best == nil || h.cib.newer(&best.cib) || h.ring != best.ring && !best.cib.newer(&h.cib) && w.chance(0.5) {
			best = h
		}
	}
	return best
}

func (w *world) pick(members nodes) *host {
	n := w.rng.IntN(members.count())
	for _, h := range w.hosts {
		if members.has(h.id) {
			if n == 0 {
				return h
			}
			n--
		}
	}
	return nil
}

// quorate is two_node with wait_for_all, or the majority.
func (w *world) quorate(h *host) bool {
	count := h.ring.members.count()
	if len(w.hosts) == 2 {
		return count == 2 || h.seenAll
	}
	return count > len(w.hosts)/2
}

// leave is a shutdown in good order: the others know that nothing runs here.
func (h *host) leave() {
	w := h.w
	h.disk = h.cib
	h.disk.status = status{}
	rest := h.ring.members.without(only(h.id))
	for _, m := range w.hosts {
		if rest.has(m.id) {
			m.after(w.between(0, 20*ms), func() {
				m.apply(func(c *cib) { c.gone(h.id) })
			})
		}
	}
	w.tracef("%s leaves the cluster", h.name)
	h.powerOff()
}

// elect replaces the controller.
func (w *world) elect(r *ring) {
	r.dc = w.pick(r.members)
	w.tracef("%s is the new controller", r.dc.name)
	dc := r.dc
	dc.after(w.between(200*ms, 3*time.Second), func() { r.control(dc) })
}
