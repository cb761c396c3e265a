package ha

import (
	"fmt"
	"slices"
	"strings"
)

// Slot is a replication slot as the server that has it shows it
// (pg_replication_slots).
type Slot struct {
	Name      string
	Physical  bool
	Active    bool
	Restart   LSN  // WAL is kept from here on; 0: none
	Lost      bool // WAL that it was to keep is gone
	HoldsRows bool // holds rows back from vacuum
	Failover  bool // logical: meant to outlive a failover (PostgreSQL 17)
	Synced    bool // logical: kept up to date by the primary's
}

// Slots are what has to be known to keep a server's slots in order.
type Slots struct {
	Here   []Slot
	Prefix string            // of the names of ours
	Peers  map[string]string // slot to node, one for every peer
	// Standby says that the slots here are only held ready, for the time after a
	// promotion: nobody streams from a standby.
	Standby bool
	Primary string // the node that this standby follows
	Redo    LSN    // standby: where a recovery of it would begin
	There   []Slot // standby: the slots of the primary, nil while they are not known
}

// SlotVerb is what is to be done with a slot.
type SlotVerb string

// The verbs.
const (
	CreateSlot  SlotVerb = "create"
	ReplaceSlot SlotVerb = "replace"
	AdvanceSlot SlotVerb = "advance"
	DropSlot    SlotVerb = "drop"
)

// SlotChange is one thing to do, and why.
type SlotChange struct {
	Verb SlotVerb
	Name string
	To   LSN // advance
	Why  string
}

// KeepSlots says what to do so that this server has a usable slot for each peer
// and none that keeps WAL for nobody. A standby has them, too: promoted, it
// must still have what its peers need, from the first moment.
func KeepSlots(s Slots) []SlotChange {
	var changes []SlotChange
	for name, node := range s.Peers {
		if change, needed := keepPeerSlot(s, name, node); needed {
			changes = append(changes, change)
		}
	}
	for _, slot := range s.Here {
		if why := s.stale(slot); why != "" && !slot.Active {
			changes = append(changes, SlotChange{Verb: DropSlot, Name: slot.Name, Why: why})
		}
	}
	slices.SortFunc(changes, func(a, b SlotChange) int { return strings.Compare(a.Name, b.Name) })
	return changes
}

func keepPeerSlot(s Slots, name, node string) (SlotChange, bool) {
	i := slices.IndexFunc(s.Here, func(slot Slot) bool { return slot.Name == name })
	if i < 0 {
		return SlotChange{Verb: CreateSlot, Name: name, Why: "keeps WAL for " + node}, true
	}
	slot := s.Here[i]
	needed := s.neededBy(name, node)
	switch {
	case slot.Active:
	// PostgreSQL does not take it up again (max_slot_wal_keep_size).
	case slot.Lost || slot.Restart == 0:
		return SlotChange{Verb: ReplaceSlot, Name: name, Why: "the WAL that it was to keep for " + node + " is gone"}, true
	// Left from when this host was primary. By hot_standby_feedback it would hold
	// back vacuum on the new primary, for nobody.
	case s.Standby && slot.HoldsRows:
		return SlotChange{Verb: ReplaceSlot, Name: name, Why: node + " does not stream from here any more"}, true
	case s.Standby && slot.Restart < needed:
		return SlotChange{Verb: AdvanceSlot, Name: name, To: needed, Why: fmt.Sprintf("%s does not need what is before %s", node, needed)}, true
	}
	return SlotChange{}, false
}

// neededBy is a position on a standby before which a peer needs no WAL, 0 where
// that is not known. The primary, come back, goes on from its last checkpoint
// that is part of our history, and our own recovery begins at that or an earlier
// one; nothing is kept here that this server would not keep for itself. Another
// standby goes on from where it was with the primary.
func (s Slots) neededBy(name, node string) LSN {
	if !s.Standby || node == s.Primary {
		return s.Redo
	}
	for _, slot := range s.There {
		if slot.Name == name {
			return min(s.Redo, slot.Restart)
		}
	}
	return 0
}

// stale says why nobody will use a slot, "" where somebody may.
func (s Slots) stale(slot Slot) string {
	switch {
	case slot.Physical && strings.HasPrefix(slot.Name, s.Prefix) && s.Peers[slot.Name] == "":
		return "no other host of the cluster has this name"
	// PostgreSQL would not synchronise the primary's slot over one of its own. A
	// standby's own failover slot is always one from when it was primary (manual,
	// "Replication Slot Synchronization").
	case s.Standby && slot.Failover && !slot.Synced && slices.ContainsFunc(s.There, func(t Slot) bool { return t.Failover && t.Name == slot.Name }):
		return "the slot of " + s.Primary + " takes its place"
	}
	return ""
}
