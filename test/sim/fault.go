package sim

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// Fault is something that goes wrong, or that an operator does, at a time
// counted from the first moment of good order. It lasts for a while, or has no
// length.
type Fault struct {
	At   time.Duration
	Kind Kind
	Host int
	For  time.Duration
}

func (f Fault) String() string {
	return fmt.Sprintf("{%d * ms, %s, %d, %d * ms}", f.At/ms, f.Kind, f.Host, f.For/ms)
}

// Kind is a kind of fault.
type Kind string

// The kinds.
const (
	KillServer     Kind = "KillServer"
	KillBackend    Kind = "KillBackend"
	PowerOff       Kind = "PowerOff"
	PowerOffAll    Kind = "PowerOffAll"
	Freeze         Kind = "Freeze"
	CutCluster     Kind = "CutCluster"     // the host's link to the other members
	CutReplication Kind = "CutReplication" // the host's link for WAL to all others
	CutNeighbour   Kind = "CutNeighbour"   // the host's link for WAL to the next one alone
	CutBoth        Kind = "CutBoth"
	SlowNetwork    Kind = "SlowNetwork"
	SlowDisk       Kind = "SlowDisk"
	StallDisk      Kind = "StallDisk" // it takes nothing
	HangServer     Kind = "HangServer"
	KillSupervisor Kind = "KillSupervisor"
	KillAgent      Kind = "KillAgent"
	KillActivation Kind = "KillActivation"
	MutePacemaker  Kind = "MutePacemaker" // its tools do not answer
	PauseReplay    Kind = "PauseReplay"
	BreakFencing   Kind = "BreakFencing"
	ChangeDC       Kind = "ChangeDC"
	Move           Kind = "Move"
	StandbyNode    Kind = "StandbyNode"
	StopResource   Kind = "StopResource"
	Maintenance    Kind = "Maintenance"
	Reboot         Kind = "Reboot"
)

// weighted are the kinds, the likelier the more often.
var weighted = strings.Fields(`KillServer KillServer KillServer KillBackend PowerOff PowerOff PowerOff PowerOffAll
	Freeze CutCluster CutCluster CutReplication CutReplication CutBoth CutBoth SlowNetwork SlowDisk StallDisk HangServer
	KillSupervisor KillSupervisor KillAgent KillAgent KillActivation MutePacemaker PauseReplay BreakFencing ChangeDC
	Move Move Move StandbyNode StopResource Maintenance Reboot`)

// Schedule draws faults for a configuration. Half of them come in bursts: what
// goes wrong together is what nobody has thought of.
func Schedule(cfg Config, seed uint64) []Fault {
	rng := rand.New(rand.NewPCG(seed, 1))
	weighted := weighted
	if cfg.Hosts > 2 {
		weighted = append(slices.Clone(weighted), string(CutNeighbour), string(CutNeighbour))
	}
	var faults []Fault
	at := time.Duration(0)
	for range 2 + rng.IntN(9) {
		gap := 2 * time.Second
		if rng.IntN(2) == 0 {
			gap = 20 * time.Second
		}
		at += time.Duration(rng.Int64N(int64(gap)))
		kind := Kind(weighted[rng.IntN(len(weighted))])
		faults = append(faults, Fault{at.Round(ms), kind, rng.IntN(cfg.Hosts), length(rng).Round(ms)})
	}
	return faults
}

func length(rng *rand.Rand) time.Duration {
	longest := [...]time.Duration{3 * time.Second, 15 * time.Second, 45 * time.Second}[rng.IntN(3)]
	return 100*ms + time.Duration(rng.Int64N(int64(longest)))
}

// end is when the last fault of a schedule is over.
func end(faults []Fault) (last time.Duration) {
	for _, f := range faults {
		last = max(last, f.At+f.For)
	}
	return last
}

// strike applies a fault and schedules its end.
func (w *world) strike(f Fault) {
	h := w.hosts[f.Host%len(w.hosts)]
	w.tracef("FAULT %s %s for %s", f.Kind, h.name, f.For)
	over := w.begin(f, h)
	if over != nil {
		w.after(f.For, func() {
			w.tracef("FAULT %s %s is over", f.Kind, h.name)
			over()
		})
	}
}

// begin starts a fault; what it returns ends it.
func (w *world) begin(f Fault, h *host) (over func()) {
	switch f.Kind {
	case PowerOff:
		return w.keepOff(h)
	case PowerOffAll:
		var on []func()
		for _, each := range w.hosts {
			on = append(on, w.keepOff(each))
		}
		return func() {
			for _, do := range on {
				do()
			}
		}
	case Freeze:
		h.freeze(f.For)
	case CutCluster:
		return w.hinder(&w.cut[h.id])
	case CutReplication:
		return w.cutReplication(h, w.all().without(only(h.id)))
	case CutNeighbour:
		return w.cutReplication(h, only((h.id+1)%len(w.hosts)))
	case CutBoth:
		cluster, replication := w.hinder(&w.cut[h.id]), w.cutReplication(h, w.all().without(only(h.id)))
		return func() { cluster(); replication() }
	case SlowNetwork:
		return w.hinder(&w.slow)
	case SlowDisk:
		return w.hinder(&h.slowDisk)
	case StallDisk:
		return w.hinder(&h.stalledDisk)
	case HangServer:
		return h.hang()
	case MutePacemaker:
		return w.hinder(&h.mute)
	case BreakFencing:
		return w.hinder(&w.fenceBroken)
	case PauseReplay:
		return h.pauseReplay()
	case KillServer, KillBackend, KillSupervisor, KillAgent, KillActivation:
		h.killed(f.Kind)
	default:
		return w.operate(f.Kind, h)
	}
	return nil
}

// hinder counts a fault in and out.
func (w *world) hinder(count *int) (over func()) {
	*count++
	w.reshaped()
	return func() { *count--; w.reshaped() }
}

func (w *world) cutReplication(h *host, from nodes) (over func()) {
	add := func(n int) {
		for _, other := range w.hosts {
			if from.has(other.id) {
				w.replCut[h.id][other.id] += n
				w.replCut[other.id][h.id] += n
			}
		}
		w.reshaped()
	}
	add(1)
	return func() { add(-1) }
}

func (w *world) keepOff(h *host) (over func()) {
	h.hold++
	h.powerOff()
	return func() {
		h.hold--
		h.bootLater()
	}
}

func (h *host) pauseReplay() (over func()) {
	s := h.server
	if s == nil || s.primary || s.promoting {
		return nil
	}
	s.paused = true
	return func() {
		s.paused = false
		s.after(0, s.replay)
	}
}

// hang lets the server give no answer; what it has begun goes on.
func (h *host) hang() (over func()) {
	s := h.server
	if s == nil || !s.ready {
		return nil
	}
	s.ready = false
	return func() { s.ready = true }
}

// killed ends one process.
func (h *host) killed(kind Kind) {
	switch {
	case !h.alive():
	case kind == KillServer && h.server != nil:
		h.server.kill()
		if h.supervisor != nil {
			h.supervisor.wake(h.w.between(ms, 20*ms))
		}
	case kind == KillBackend && h.server != nil:
		h.server.restart()
	case kind == KillSupervisor && h.supervisor != nil:
		h.supervisor.end()
		dead := h.supervisor
		h.after(h.w.between(50*ms, 2*time.Second), func() {
			if h.supervisor == dead {
				h.startSupervisor()
			}
		})
	case kind == KillAgent && h.rsc.busy != nil:
		h.rsc.busy.done(errKilled)
	case kind == KillActivation && h.activation != nil && h.server == nil:
		h.activation.end()
		h.activation, h.phase = nil, failed
	}
}

// operate is what an operator types on a host.
func (w *world) operate(kind Kind, h *host) (over func()) {
	command := func(do func(*cib)) {
		switch {
		case !h.alive() || h.ring == nil:
		default:
			h.write(configure(do), nil)
		}
	}
	switch kind {
	case ChangeDC:
		if h.ring != nil {
			w.elect(h.ring)
		}
	case Move:
		id := h.id
		command(func(c *cib) { c.preferred = id })
		return func() { command(func(c *cib) { c.preferred = nobody }) }
	case StandbyNode:
		id := h.id
		command(func(c *cib) { c.standby = c.standby.with(id) })
		return func() { command(func(c *cib) { c.standby = c.standby.without(only(id)) }) }
	case StopResource:
		command(func(c *cib) { c.stopped = true })
		return func() { command(func(c *cib) { c.stopped = false }) }
	case Maintenance:
		command(func(c *cib) { c.maintenance = true })
		return func() { command(func(c *cib) { c.maintenance = false }) }
	case Reboot:
		h.reboot()
	}
	return nil
}

// reboot shuts down in good order, as far as that works.
func (h *host) reboot() {
	if !h.alive() || h.leaving {
		return
	}
	h.leaving = true
	boot := h.boots
	h.w.after(h.w.between(10*time.Second, 40*time.Second), func() {
		if h.boots == boot {
			h.powerOff()
		}
		h.bootLater()
	})
}

// literal is a schedule as Go source, for a test of its own.
func literal(faults []Fault) string {
	lines := make([]string, 0, len(faults))
	for _, f := range slices.Clone(faults) {
		lines = append(lines, "\t"+f.String()+",")
	}
	return strings.Join(lines, "\n")
}
