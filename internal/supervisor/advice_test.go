package supervisor

import (
	"strings"
	"testing"

	"pgtwin/internal/ha"
)

func TestSlotsThatKeepWALForNobodyAreNamed(t *testing.T) {
	left := func(changes ...func(*ha.Slot)) []ha.Slot {
		slot := ha.Slot{Name: "patroni_2", Physical: true, Restart: 0x1000000}
		for _, change := range changes {
			change(&slot)
		}
		return []ha.Slot{slot}
	}
	tests := []struct {
		name  string
		slots []ha.Slot
		want  bool
	}{
		{"left behind", left(), true},
		{"in use", left(func(s *ha.Slot) { s.Active = true }), false},
		{"of ours", left(func(s *ha.Slot) { s.Name = "ha_slot_h3" }), false},
		{"without WAL", left(func(s *ha.Slot) { s.Restart = 0 }), false},
		{"whose WAL is gone already", left(func(s *ha.Slot) { s.Lost = true }), false},
		{"logical: its reader may have a pause", left(func(s *ha.Slot) { s.Physical = false }), false},
		{"none", nil, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			advice := strings.Join(slotAdvice(test.slots, "ha_slot_", 0x5000000), "\n")
			if named := strings.Contains(advice, "patroni_2") && strings.Contains(advice, "64.0 MB"); named != test.want || !test.want && advice != "" {
				t.Errorf("advice %q", advice)
			}
		})
	}
}
