package sim

import "time"

// fenceLost orders the fencing of every host that the ring has lost. Two sides
// that have lost each other race.
func (w *world) fenceLost(r *ring) {
	if !w.cfg.Fencing || !w.quorate(r.dc) {
		return
	}
	for _, x := range w.hosts {
		if r.members.has(x.id) && x.condemned || !r.members.has(x.id) && r.dc.cib.state[x.id] != down {
			r.fence(x, w.between(0, 6*time.Second))
		}
	}
}

// fence cuts the power of x after a delay, and again and again until it has
// worked. A membership that heals meanwhile may or may not call it off.
func (r *ring) fence(x *host, delay time.Duration) {
	dc := r.dc
	w := dc.w
	dc.after(delay, func() {
		current := dc.ring == r
		rejoined := current && r.members.has(x.id) && !x.condemned
		if rejoined || !current && w.chance(0.7) {
			return
		}
		if w.fenceBroken > 0 {
			r.fence(x, w.between(2*time.Second, 6*time.Second))
			return
		}
		w.tracef("%s fences %s", dc.name, x.name)
		x.powerOff()
		x.bootLater()
		dc.after(w.between(0, 200*ms), func() { w.confirm(dc, x) })
	})
}

// confirm writes that a host is down: nothing runs there, nothing is known of
// it.
func (w *world) confirm(dc, x *host) {
	dc.postWhile(func() bool { return dc.ring != nil && !dc.ring.members.has(x.id) }, func(c *cib) { c.gone(x.id) })
}

// condemn is for a host whose stop has failed: only fencing can tell that
// nothing runs there any more.
func (h *host) condemn() {
	w := h.w
	if !w.cfg.Fencing || h.ring == nil || h.condemned {
		return
	}
	h.condemned = true
	h.ring.fence(h, w.between(100*ms, 3*time.Second))
}
