package supervisor

import (
	"context"
	"slices"
	"testing"
	"time"

	"pgtwin/internal/cluster"
	"pgtwin/internal/ha"
	"pgtwin/internal/pg"
)

func TestAPrimaryHasASlotForEachPeerAndNoOther(t *testing.T) {
	s, m := startStandby(t)
	m.onWrite = func(cluster.Record) {}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	must(t, s.connect(ctx))
	must(t, s.conn.EnsureSlot(ctx, "ha_slot_h9"))
	must(t, s.conn.EnsureSlot(ctx, "archive"))
	if _, known := s.slots(); known {
		t.Error("slots are changed before the first promotion")
	}
	must(t, s.promote(ctx))
	s.tick(ctx)
	s.observe(ctx)
	var names []string
	for _, slot := range s.seen.look.Slots {
		names = append(names, slot.Name)
	}
	if !slices.Equal(names, []string{"archive", "ha_slot_h2"}) {
		t.Errorf("slots %v", names)
	}
}

func TestWhoseSlotsAStandbyKeepsReady(t *testing.T) {
	s := supervising(ha.Standby, "h2", "h3")
	s.seen.look.Redo = 0x4000
	s.seen.look.Receiver = &pg.Receiver{Status: "streaming"}
	if _, known := s.slots(); known {
		t.Error("known on the host that was primary last")
	}
	s.view.Epoch.Node = "h2"
	s.inquiry = inquiry{node: "h2", at: time.Now(), primary: &ha.Upstream{Slots: []ha.Slot{{Name: "ha_slot_h3"}}}}
	facts, known := s.slots()
	if !known || !facts.Standby || facts.Primary != "h2" || facts.Redo != 0x4000 || len(facts.There) != 1 ||
		facts.Peers["ha_slot_h2"] != "h2" || facts.Peers["ha_slot_h3"] != "h3" || len(facts.Peers) != 2 {
		t.Errorf("%t, %+v", known, facts)
	}
	s.inquiry.node = "h3" // the answer of another than the primary
	s.inquiring = true
	if facts, _ := s.slots(); facts.There != nil {
		t.Errorf("of another: %+v", facts.There)
	}
	s.seen.look.Receiver = nil
	if _, known := s.slots(); known {
		t.Error("known while nothing is received")
	}
}
