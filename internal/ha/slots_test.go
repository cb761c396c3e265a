package ha

import (
	"slices"
	"testing"
)

// standbySlots is the standby h2 of the primary h1, beside another standby h3.
func standbySlots(changes ...func(*Slots)) Slots {
	s := Slots{
		Prefix: "ha_slot_", Peers: map[string]string{"ha_slot_h1": "h1", "ha_slot_h3": "h3"},
		Standby: true, Primary: "h1", Redo: 0x5000,
		Here:  []Slot{{Name: "ha_slot_h1", Physical: true, Restart: 0x5000}, {Name: "ha_slot_h3", Physical: true, Restart: 0x3000}},
		There: []Slot{{Name: "ha_slot_h3", Physical: true, Restart: 0x3000}},
	}
	for _, change := range changes {
		change(&s)
	}
	return s
}

// primarySlots is the primary h2 of the same cluster.
func primarySlots(changes ...func(*Slots)) Slots {
	return standbySlots(append([]func(*Slots){func(s *Slots) { s.Standby, s.Primary, s.Redo, s.There = false, "", 0, nil }}, changes...)...)
}

func TestKeepSlots(t *testing.T) {
	h1 := func(change func(*Slot)) func(*Slots) { return func(s *Slots) { change(&s.Here[0]) } }
	lost := h1(func(s *Slot) { s.Lost, s.Restart = true, 0 })
	more := func(slot Slot) func(*Slots) { return func(s *Slots) { s.Here = append(s.Here, slot) } }
	created := []SlotChange{{Verb: CreateSlot, Name: "ha_slot_h1"}, {Verb: CreateSlot, Name: "ha_slot_h3"}}
	replaced := []SlotChange{{Verb: ReplaceSlot, Name: "ha_slot_h1"}}
	sub := Slot{Name: "sub", Failover: true, Restart: 0x1000}
	tests := []struct {
		name string
		s    Slots
		want []SlotChange
	}{
		{"a primary with its slots", primarySlots(), nil},
		{"a primary without them", primarySlots(func(s *Slots) { s.Here = nil }), created},
		{"a primary keeps WAL for a standby that is away", primarySlots(h1(func(s *Slot) { s.Restart = 1 })), nil},
		{"a primary's slot whose WAL is gone", primarySlots(lost), replaced},
		{"a primary's slot that keeps nothing", primarySlots(h1(func(s *Slot) { s.Restart = 0 })), replaced},
		{"a primary's slot in use holds rows for its standby", primarySlots(h1(func(s *Slot) { s.Active, s.HoldsRows = true, true })), nil},
		{"a primary's slot of a standby that is away holds rows", primarySlots(h1(func(s *Slot) { s.HoldsRows = true })), nil},
		{"a standby with its slots", standbySlots(), nil},
		{"a standby without them", standbySlots(func(s *Slots) { s.Here = nil }), created},
		{"a standby's slot whose WAL is gone", standbySlots(lost), replaced},
		{"the slot for the primary goes where a recovery here begins", standbySlots(func(s *Slots) { s.Redo = 0x6000 }),
			[]SlotChange{{Verb: AdvanceSlot, Name: "ha_slot_h1", To: 0x6000}}},
		{"the slot for another standby goes where the primary has it", standbySlots(func(s *Slots) { s.There[0].Restart = 0x4000 }),
			[]SlotChange{{Verb: AdvanceSlot, Name: "ha_slot_h3", To: 0x4000}}},
		{"but not beyond where a recovery here begins", standbySlots(func(s *Slots) { s.There[0].Restart = 0x9000 }),
			[]SlotChange{{Verb: AdvanceSlot, Name: "ha_slot_h3", To: 0x5000}}},
		{"the primary has lost what the other standby needs, and so may we", standbySlots(func(s *Slots) { s.There[0].Restart = 0 }), nil},
		{"what the other standby needs is not known", standbySlots(func(s *Slots) { s.There, s.Redo = nil, 0x5000 }), nil},
		{"a former primary's slot holds no rows back", standbySlots(h1(func(s *Slot) { s.HoldsRows = true })), replaced},
		{"a slot of ours for a host that is gone", primarySlots(more(Slot{Name: "ha_slot_h4", Physical: true, Restart: 1})),
			[]SlotChange{{Verb: DropSlot, Name: "ha_slot_h4"}}},
		{"so it is on a standby", standbySlots(more(Slot{Name: "ha_slot_h2", Physical: true, Restart: 1})), []SlotChange{{Verb: DropSlot, Name: "ha_slot_h2"}}},
		{"somebody uses it", primarySlots(more(Slot{Name: "ha_slot_h4", Physical: true, Active: true})), nil},
		{"a slot of another name", primarySlots(more(Slot{Name: "archive", Physical: true, Restart: 1})), nil},
		{"a logical slot of such a name", primarySlots(more(Slot{Name: "ha_slot_h4", Restart: 1})), nil},
		{"a logical slot left from when this host was primary", standbySlots(more(sub), func(s *Slots) { s.There = append(s.There, sub) }),
			[]SlotChange{{Verb: DropSlot, Name: "sub"}}},
		{"the primary does not have it", standbySlots(more(sub)), nil},
		{"it is the primary's, synchronised", standbySlots(more(Slot{Name: "sub", Failover: true, Synced: true}), func(s *Slots) { s.There = append(s.There, sub) }), nil},
		{"a primary's own", primarySlots(more(sub)), nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := KeepSlots(tt.s)
			for i := range got {
				if got[i].Why == "" {
					t.Errorf("%s %s has no reason", got[i].Verb, got[i].Name)
				}
				got[i].Why = ""
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("KeepSlots = %+v; want %+v", got, tt.want)
			}
		})
	}
}
