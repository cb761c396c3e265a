package sim

import (
	"time"

	"pgtwin/internal/ha"
)

// host is one machine. What stands under "durable" survives a loss of power.
type host struct {
	w    *world
	id   int
	name string

	// durable
	data    database
	disk    cib      // a little older than the copy in memory
	founder bool     // the note that the data were a primary's
	known   ha.Epoch // the latest epoch that took effect, as far as this host knows

	up    bool
	boots int           // a callback of an earlier boot is void
	thaw  time.Duration // frozen until then
	hold  int           // faults that keep it from booting

	slowDisk    int
	stalledDisk int
	mute        int // faults that keep Pacemaker's tools from answering

	// Pacemaker
	cib       cib
	saving    bool
	ring      *ring
	seenAll   bool // wait_for_all
	delivered time.Duration
	blocked   []func()       // what waits for a membership
	missed    []change       // of its ring, while it was out of reach
	score     promotionScore // as attrd has it for this host
	scoredAt  time.Duration  // when the latest change of it is in order
	rsc       resource
	leaving   bool // shutting down in good order
	condemned bool // its stop has failed

	// PostgreSQL and what is around it
	server     *server
	activation *activation
	supervisor *supervisor
	phase      phase
	began      int // counts activations
	intent     intent
	grant      bool
	repairs    ha.Repairs
}

// after schedules do on this host: not when it has lost power, and later when
// it is frozen.
func (h *host) after(d time.Duration, do func()) {
	boot := h.boots
	var run func()
	run = func() {
		switch {
		case boot != h.boots:
		case h.w.now < h.thaw:
			h.w.after(h.thaw-h.w.now, run)
		default:
			do()
		}
	}
	h.w.after(d, run)
}

// process is something on a host that can be killed between two steps.
type process struct {
	h     *host
	ended bool
}

func (p *process) after(d time.Duration, do func()) {
	p.h.after(d, func() {
		if !p.ended {
			do()
		}
	})
}

// sync calls done when what is written now is durable.
func (p *process) sync(done func()) {
	p.after(p.h.diskTime(), func() {
		if p.h.stalledDisk > 0 {
			p.after(200*ms, func() { p.sync(done) })
			return
		}
		done()
	})
}

// diskTime is how long a disk takes that takes anything.
func (h *host) diskTime() time.Duration {
	if h.slowDisk > 0 {
		return h.w.between(50*ms, time.Second)
	}
	return h.w.between(ms/2, 4*ms)
}

func (h *host) boot() {
	if h.up || h.hold > 0 {
		return
	}
	w := h.w
	h.up, h.leaving, h.condemned, h.seenAll = true, false, false, false
	h.cib, h.saving = h.disk, false
	h.score, h.rsc = promotionScore{}, resource{}
	h.intent, h.grant, h.phase, h.repairs = stopIntent, false, "", ha.Repairs{}
	h.blocked, h.missed, h.delivered, h.scoredAt = nil, nil, w.now, w.now
	w.tracef("%s boots", h.name)
	w.form(only(h.id))
	w.reshaped()
	h.after(w.between(2*time.Second, 5*time.Second), h.monitor)
}

// powerOff is a loss of power, or fencing.
func (h *host) powerOff() {
	if !h.up {
		return
	}
	h.w.tracef("%s loses power", h.name)
	if h.server != nil {
		h.server.lose()
	}
	h.supervisor.end()
	h.activation.end()
	h.supervisor, h.activation = nil, nil
	h.up, h.thaw, h.ring = false, 0, nil
	h.boots++
	h.w.reshaped()
}

// bootLater is what follows a power-off.
func (h *host) bootLater() {
	h.w.after(h.w.between(5*time.Second, 30*time.Second), h.boot)
}

// freeze stops everything on the host for a while, as a hypervisor does.
func (h *host) freeze(d time.Duration) {
	if !h.up {
		return
	}
	h.thaw = h.w.now + d
	h.w.reshaped()
	h.w.after(d, h.w.reshaped)
}

// clients write on whatever claims to be a primary here.
func (h *host) clients() {
	w := h.w
	w.after(w.between(20*ms, 250*ms), h.clients)
	s := h.server
	if s == nil || !s.primary || !s.ready || s.stopping || !h.alive() || len(s.pending) >= 6 {
		return
	}
	size := ha.LSN(100 + w.rng.IntN(8000))
	if w.chance(0.02) {
		size = ha.LSN(w.rng.IntN(40 << 20))
	}
	s.commit(size)
}
