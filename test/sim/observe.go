package sim

import (
	"time"

	"pgtwin/internal/ha"
)

// observation is one look at this host.
type observation struct {
	at        time.Duration
	role      ha.Role
	phase     phase
	intent    intent
	began     int // the activation
	data      bool
	unsound   bool
	system    uint64
	history   ha.History
	replayed  ha.LSN
	written   ha.LSN
	receiving bool
	required  setting
	received  ha.LSN
	senders   map[string]ha.Sender
	primary   bool // by the control file
	flushed   ha.LSN
	unwritten bool // sessions wait for the disk
	farewells bool
	news      bool
}

func (s *supervisor) observe() {
	h, before := s.h, s.seen
	seen := observation{
		at: h.w.now, role: ha.Down, phase: h.phase, intent: h.intent, began: h.began,
		system: before.system, replayed: before.replayed, required: before.required,
	}
	switch server := h.server; {
	case server != nil && server.ready:
		seen.look(server)
	case server != nil && h.phase != starting:
		seen.role = ha.Unknown
	case server == nil:
		seen.data, seen.unsound = h.data.exists && !h.data.unsound, h.data.unsound
		seen.primary = h.data.ended != ha.Replaying
	}
	seen.news = seen.role != before.role || seen.phase != before.phase ||
		seen.role == ha.Primary && (len(seen.senders) < len(before.senders) || seen.farewells)
	s.stalled = h.since(s.stalled, seen.role == ha.Primary && seen.unwritten && seen.flushed == before.flushed)
	if seen.required != before.required {
		s.settings++
	}
	s.seen = seen
}

// look is what PostgreSQL says of itself.
func (o *observation) look(s *server) {
	o.system, o.history, o.replayed = s.data.system, s.data.history, s.replayed
	o.receiving = s.receiver != nil && s.receiver.streaming
	o.received = s.replayed
	if s.exhausted {
		o.received = s.data.end
	}
	o.required = s.shown
	if !s.primary {
		o.role = ha.Standby
		if !o.receiving {
			o.history = upTo(s.data.history, s.replayed)
		}
		return
	}
	o.role, o.written = ha.Primary, s.written
	o.flushed, o.unwritten, o.farewells = s.data.end, s.written > s.data.end, s.farewells != 0
	for id, c := range s.senders {
		if c == nil {
			continue
		}
		if o.senders == nil {
			o.senders = map[string]ha.Sender{}
		}
		o.senders[s.h.w.hosts[id].name] = ha.Sender{
			PID: c.pid, Streaming: c.streaming, Flushed: c.flushed, Waited: c.streaming && s.shown.has(id),
		}
	}
}

// senders are the peers' connections, by node.
func (s *supervisor) senders() map[string]ha.Sender {
	if s.proven() {
		return s.seen.senders
	}
	all := map[string]ha.Sender{}
	for node, sender := range s.seen.senders {
		sender.Waited = false
		all[node] = sender
	}
	return all
}

func (s *supervisor) died() bool {
	return s.seen.role == ha.Down && s.seen.phase == running && s.seen.intent == runIntent
}

func (s *supervisor) candidate() ha.Candidate {
	h := s.h
	return ha.Candidate{
		Self: s.view.nodes[h.id], Peers: h.others(s.view),
		Quorate: s.view.quorate, Fencing: s.view.fencing, Epoch: s.view.epoch, Known: s.knownHere(),
		Role: s.seen.role, Unsound: s.seen.unsound, System: s.seen.system,
		History: s.seen.history, Replayed: s.seen.replayed,
		Spare: s.view.spare, Received: s.seen.received, Positions: s.positions,
		Founder: s.view.epoch.Number == 0 && h.founder,
	}
}

// knownHere is the latest epoch known of the database that is here.
func (s *supervisor) knownHere() ha.Epoch {
	if s.seen.system != 0 && s.h.known.System != s.seen.system {
		return ha.Epoch{}
	}
	return s.h.known
}

// proven says whether commits are known to go by the setting that is shown.
func (s *supervisor) proven() bool { return s.enforced == s.settings || s.h.w.core.unproven }

func (s *supervisor) facts() ha.Facts {
	h := s.h
	f := ha.Facts{
		Candidate: s.candidate(), Mode: h.w.cfg.Mode, SyncTimeout: syncTimeout, MaxLag: maxLag,
		Waiting: s.seen.phase == waiting, HasData: s.seen.data, Died: s.died(),
		WasPrimary: s.seen.data && s.seen.primary, Position: s.seen.written, Upstream: s.follows,
		Spared: s.seen.required.spared, SpareFor: s.allowance.For(h.w.time()), Quorum: h.w.cfg.Quorum,
		Receiving: s.serves(), Lagging: s.lagging,
	}
	if s.unserved = h.since(s.unserved, !f.Receiving); !f.Receiving {
		f.UnservedFor = h.w.now - s.unserved
	}
	s.hung = h.since(s.hung, f.Role == ha.Unknown)
	if f.Role == ha.Unknown {
		f.WasPrimary, f.HungFor = f.Epoch.Node == h.name, h.w.now-s.hung
	}
	if s.stalled > 0 {
		f.StalledFor = s.seen.at - s.stalled
	}
	if !f.Died && f.Role != ha.Unknown && s.stalled == 0 {
		s.yielding = false
	} else if s.yielding {
		f.YieldedFor = h.w.now - s.yielded
	}
	if s.seen.role == ha.Primary {
		f.Required = h.w.names(s.seen.required.nodes)
		var waited []string
		if s.proven() {
			waited = f.Required
		}
		f.Standbys = s.memory.Followers(time.Unix(1, 0).Add(s.seen.at), f.Peers, s.senders(), waited, s.seen.written)
	}
	s.diverged = h.since(s.diverged, s.isDiverged(f))
	if s.diverged > 0 {
		f.DivergedFor = h.w.now - s.diverged
	}
	f.Outage = s.outage(f)
	return f
}

// since keeps the time since when a condition holds, zero while it does not.
func (h *host) since(began time.Duration, holds bool) time.Duration {
	switch {
	case !holds:
		return 0
	case began == 0:
		return h.w.now
	}
	return began
}

// isDiverged is for a standby of a living primary that is not on the primary's
// history and does not get there by streaming.
func (s *supervisor) isDiverged(f ha.Facts) bool {
	if s.seen.role != ha.Standby || f.Epoch.Number == 0 || f.Epoch.Node == s.h.name || s.seen.receiving ||
		f.History.Contains(f.Epoch.Timeline, f.Epoch.Switch) {
		return false
	}
	return ha.PrimaryServes(f)
}
