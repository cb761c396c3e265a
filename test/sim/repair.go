package sim

import (
	"time"

	"pgtwin/internal/ha"
)

// repairLimit is replication_failure_threshold.
const repairLimit = 5

// outage is what a standby knows of a replication that does not come.
func (s *supervisor) outage(f ha.Facts) ha.Outage {
	h := s.h
	streams := s.seen.role == ha.Standby && s.seen.receiving
	s.streamed = h.since(s.streamed, streams)
	if streams && h.w.now-s.streamed > ha.RepairMemory {
		h.repairs = ha.Repairs{}
	}
	waits := s.seen.role == ha.Standby && f.Epoch.Number > 0 && f.Epoch.Node != h.name && !streams &&
		h.server != nil && !h.server.paused && h.server.replayed >= h.data.end
	s.dry = h.since(s.dry, waits && ha.PrimaryServes(f))
	o := ha.Outage{Reached: s.seen.replayed, Idle: h.w.time().Sub(h.repairs.Last), Repairs: h.repairs, Limit: repairLimit}
	if s.dry == 0 {
		return o
	}
	if o.For = h.w.now - s.dry; o.For > 2*time.Second {
		o.Primary = h.askPrimary(h.w.hosts[h.w.id(f.Epoch.Node)])
	}
	return o
}

// connect counts a repair.
func (s *supervisor) connect(a ha.Action, done func(error)) {
	s.h.repairs.Reconnects++
	s.h.repairs.Last = s.h.w.time()
	s.configure(a.Node, nil, 0, done)
}
