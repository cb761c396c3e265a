package supervisor

import (
	"context"
	"fmt"
	"slices"
	"time"

	"pgtwin/internal/config"
	"pgtwin/internal/ha"
)

// How often slots are changed, and how soon again after a change that failed.
const (
	slotPeriod = time.Second
	slotPause  = 15 * time.Second
)

// keepSlots makes sure, on every host, that each peer has a slot here and that
// no slot of ours keeps WAL for nobody.
func (s *Supervisor) keepSlots(ctx context.Context) {
	facts, known := s.slots()
	if !known || s.conn == nil || time.Now().Before(s.slotsDue) {
		return
	}
	s.slotsDue = time.Now().Add(slotPeriod)
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	for _, change := range ha.KeepSlots(facts) {
		if err := s.changeSlot(ctx, change); err != nil {
			s.Log.Warn("the slots are not in order", "error", err, "why", change.Why)
			s.slotsDue = time.Now().Add(slotPause)
		}
	}
}

func (s *Supervisor) changeSlot(ctx context.Context, c ha.SlotChange) error {
	if c.Verb == ha.AdvanceSlot {
		return s.conn.AdvanceSlot(ctx, c.Name, c.To)
	}
	s.Log.Info(fmt.Sprintf("%s slot %s: %s", c.Verb, c.Name, c.Why))
	switch c.Verb {
	case ha.CreateSlot:
		return s.conn.EnsureSlot(ctx, c.Name)
	case ha.ReplaceSlot:
		return s.conn.ReplaceSlot(ctx, c.Name)
	case ha.DropSlot:
		return s.conn.DropSlot(ctx, c.Name)
	}
	return fmt.Errorf("unknown change of a slot: %q", c.Verb)
}

// slots gathers what KeepSlots needs. known is false where it is not settled
// who needs what: before the first promotion and on a host that was primary
// last and is none now.
func (s *Supervisor) slots() (facts ha.Slots, known bool) {
	epoch := s.view.Epoch
	primary := s.seen.role == ha.Primary && epoch.Node == s.Instance.Node
	standby := s.seen.role == ha.Standby && epoch.Number > 0 && epoch.Node != s.Instance.Node && s.seen.look.Receiver.Streaming()
	facts = ha.Slots{
		Here: s.seen.look.Slots, Prefix: config.SlotPrefix(s.Instance), Peers: map[string]string{},
		Standby: standby, Primary: epoch.Node, Redo: s.seen.look.Redo,
	}
	for _, peer := range others(s.view, s.Instance.Node) {
		facts.Peers[config.SlotFor(s.Instance, peer.Node)] = peer.Node
	}
	if standby && (len(facts.Peers) > 1 || slices.ContainsFunc(facts.Here, func(slot ha.Slot) bool { return slot.Failover && !slot.Synced })) {
		s.inquire(slotPause)
		if primary := s.answered(2 * slotPause); primary != nil {
			facts.There = primary.Slots
		}
	}
	return facts, primary || standby
}
