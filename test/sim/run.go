package sim

import (
	"fmt"
	"time"

	"pgtwin/internal/ha"
)

// Run is what a run is a function of.
type Run struct {
	Config Config
	Seed   uint64
	Faults []Fault
}

// Result is how a run went.
type Result struct {
	Steps      int
	Commits    int // acknowledged
	Promotions int
	Lasted     time.Duration
	Violation  *Violation
	Trace      []string
}

// The service has to be there within these times: in a new cluster, and after
// the last fault.
const (
	firstPatience = 3 * time.Minute
	patience      = 5 * time.Minute
)

// simulate brings up a cluster, lets the faults happen, and waits for the
// service to come back.
func simulate(r Run, c core, tracing bool) Result {
	w := newWorld(r.Config, c, r.Seed, tracing)
	w.ledger = ledger{w: w, unprotected: !r.Config.Fencing}
	var result Result
	if w.until(&result, firstPatience, w.inOrder(firstPatience)) {
		w.tracef("in good order; the faults begin")
		for _, f := range r.Faults {
			w.after(f.At, func() { w.strike(f) })
		}
		w.until(&result, end(r.Faults)+time.Second, func() bool { return false })
		w.tracef("the faults are over")
		w.repair()
		w.until(&result, patience, w.inOrder(patience))
	}
	result.Commits, result.Promotions, result.Lasted = w.ledger.commits, len(w.ledger.promotions), w.now
	result.Violation, result.Trace = w.ledger.violation, w.trace
	return result
}

// until runs for as long as the time lasts, an invariant is broken, or holds is
// true. Whether good order comes in time is an invariant, too.
func (w *world) until(r *Result, lasts time.Duration, holds func() bool) bool {
	last := w.now + lasts
	look := w.now
	for w.ledger.violation == nil && w.now < last && w.step() {
		r.Steps++
		w.ledger.check()
		if w.now >= look {
			look = w.now + 100*ms
			if holds() {
				return true
			}
		}
	}
	return false
}

// inOrder says whether there is one primary, every other host is its eligible
// standby, and commits are acknowledged.
func (w *world) inOrder(patience time.Duration) func() bool {
	commits, since := 0, time.Duration(0)
	deadline := w.now + patience
	return func() bool {
		why := w.trouble()
		if why != "" {
			since = 0
			if w.now > deadline-time.Second && !w.ledger.unprotected {
				w.ledger.fail("liveness", "%s", why)
			}
			return false
		}
		if since == 0 {
			commits, since = w.ledger.commits, w.now
		}
		return w.ledger.commits > commits+3
	}
}

// trouble says what is not in good order.
func (w *world) trouble() string {
	p := w.primary()
	if p == nil {
		return "there is no primary"
	}
	e := p.cib.epoch
	if e.Node != p.name || p.rsc.role != promoted {
		return fmt.Sprintf("%s is primary, recorded is %s", p.name, e)
	}
	for _, h := range w.hosts {
		if h == p {
			continue
		}
		c := p.server.senders[h.id]
		switch {
		case c == nil || !c.streaming:
			return fmt.Sprintf("%s does not stream from %s", h.name, p.name)
		case p.cib.inSync[h.id] != e.Number:
			return fmt.Sprintf("%s is not recorded as complete", h.name)
		case p.cib.score[h.id].number != ha.EligibleScore:
			return fmt.Sprintf("the score of %s is %d", h.name, p.cib.score[h.id].number)
		case w.cfg.Mode != ha.Async && !p.server.inForce.has(h.id):
			return fmt.Sprintf("commits do not wait for %s", h.name)
		}
	}
	if spare := w.spare(len(w.hosts) - 1); p.server.inForce.spared != spare || p.cib.spared() != spare {
		return fmt.Sprintf("%d standbys are spared, on record %d", p.server.inForce.spared, p.cib.spared())
	}
	return ""
}

// spare is for how many of n standbys commits do not wait.
func (w *world) spare(n int) int {
	if w.cfg.Quorum == 0 {
		return 0
	}
	return n - w.cfg.Quorum
}

// primary is the only server that is no standby, nil where there is none or
// more than one.
func (w *world) primary() (primary *host) {
	for _, h := range w.hosts {
		if h.server != nil && h.server.primary && h.server.ready {
			if primary != nil {
				return nil
			}
			primary = h
		}
	}
	return primary
}

// repair is the administrator's: every host is on, and nothing is configured
// that keeps the database from running where it likes.
func (w *world) repair() {
	for _, h := range w.hosts {
		h.boot()
	}
	var tidy func()
	tidy = func() {
		w.after(5*time.Second, tidy)
		for _, h := range w.hosts {
			h.rsc.banned = 0
			if c := &h.cib; h.alive() && h.ring != nil && (c.standby != 0 || c.stopped || c.maintenance || c.preferred != nobody) {
				h.write(configure(func(c *cib) { c.standby, c.stopped, c.maintenance, c.preferred = 0, false, false, nobody }), nil)
				return
			}
		}
	}
	w.after(0, tidy)
}

// traceAction notes what the supervisor does.
func (w *world) traceAction(h *host, a ha.Action) {
	if w.tracing {
		w.tracef("%s: %s %s%v %d: %s", h.name, a.Verb, a.Node, a.Nodes, a.Number, a.Why)
	}
}
