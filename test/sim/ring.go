package sim

import "time"

// ring is a membership: hosts that agree on who they are.
type ring struct {
	members nodes
	dc      *host // the designated controller
	idle    time.Duration
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
	return h.ring != nil && h.ring.members == h.w.component(h)
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

// enter takes over the ring's copy. What waited for a membership goes on.
func (h *host) enter(r *ring, copied cib) {
	h.ring, h.cib = r, copied
	h.cib.quorate = h.cib.quorate && h.w.quorate(h)
	h.seenAll = h.seenAll || r.members == h.w.all()
	h.delivered = h.w.now
	h.save()
	blocked := h.blocked
	h.blocked = nil
	for _, again := range blocked {
		h.after(h.w.between(0, 20*ms), func() {
			if h.ring != nil {
				again()
			}
		})
	}
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
		r.dc.order(func(c *cib) { c.quorate = quorate }, nil)
	}))
	r.dc.after(w.between(0, 300*ms), inRing(func() {
		r.dc.order(func(c *cib) { lose(c, r.members) }, nil)
		w.fenceLost(r)
	}))
	for _, h := range w.hosts {
		if r.members.has(h.id) && r.dc.cib.state[h.id] != online {
			r.dc.after(w.between(200*ms, 1500*ms), inRing(func() { w.join(r, h) }))
		}
	}
	r.dc.after(w.between(50*ms, 500*ms), inRing(func() { w.control(r) }))
}

func lose(c *cib, members nodes) {
	for id := range c.state {
		if !members.has(id) && c.state[id] == online {
			c.state[id], c.score[id] = unclean, promotionScore{}
		}
	}
}

// join makes a host a full member; attrd brings its own scores.
func (w *world) join(r *ring, h *host) {
	if h.ring != r {
		return
	}
	score := h.score
	r.dc.order(func(c *cib) { c.state[h.id], c.score[h.id] = online, score }, nil)
}

// bestCopy is the host whose CIB the others take over.
func (w *world) bestCopy(members nodes) *host {
	var best *host
	for _, h := range w.hosts {
		if !members.has(h.id) {
			continue
		}
		if best == nil || h.cib.version > best.cib.version ||
			h.cib.version == best.cib.version && h.ring != best.ring && w.chance(0.5) {
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
	rest := h.ring.members.without(only(h.id))
	for _, m := range w.hosts {
		if rest.has(m.id) {
			m.after(w.between(0, 20*ms), func() {
				m.apply(func(c *cib) { c.state[h.id], c.score[h.id] = down, promotionScore{} })
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
	r.dc.after(w.between(200*ms, 3*time.Second), func() {
		if r.dc.ring == r {
			w.control(r)
		}
	})
}
