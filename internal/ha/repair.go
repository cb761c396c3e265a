package ha

import (
	"fmt"
	"time"
)

// Outage is replication that does not come although the primary serves, as a
// standby sees it. The zero value is none.
type Outage struct {
	For     time.Duration // how long nothing has been received and nothing replayed
	Primary *Upstream     // what the primary has answered since, nil: nothing
	Reached LSN           // how far the WAL goes that is here
	Archive bool          // restore_command may have what the primary has no more
	Idle    time.Duration // since the last repair
	Repairs
	Limit int // of each kind of repair, 0: none
}

// Repairs are the attempts to get replication going since it last did for a
// while. They are kept beside the database, whose restarts they count.
type Repairs struct {
	Reconnects int
	Restarts   int
	Last       time.Time
	// Stuck is how far the WAL went of a standby that needed what the primary had
	// no more, 0 where that has not happened.
	Stuck LSN
}

const (
	// OutagePatience is how long replication may be away before it is repaired. It
	// usually comes back by itself.
	OutagePatience = 5 * time.Second
	// RepairPause is how long a repair has to show its effect. The slot of a
	// connection that broke can be taken for as long as wal_sender_timeout.
	RepairPause = 12 * time.Second
	// RepairMemory is how long replication must go well for the repairs to be
	// forgotten.
	RepairMemory = time.Minute
)

// repair gets replication going again. It is for a standby alone: whatever is
// tried, the primary does not notice.
func repair(f Facts) []Action {
	verb, why := remedy(f)
	if verb == "" || f.Outage.exhausted(verb) || verb == Connect && f.Outage.Reconnects > 0 && f.Outage.Idle < RepairPause {
		return nil
	}
	return []Action{{Verb: verb, Node: f.Epoch.Node, Why: why}}
}

// remedy is what may help against an outage, and its cause. The verb is ""
// where nothing is wrong or nothing can be done from here.
func remedy(f Facts) (Verb, string) {
	o, p := f.Outage, f.Outage.Primary
	switch {
	// It never streams again by itself; a fresh start rewinds it.
	case f.DivergedFor > DivergedPatience:
		return Fail, holdsEpoch(f.Candidate).Why
	case o.For <= OutagePatience || f.Epoch.Node == f.Self.Node:
		return "", ""
	case p == nil:
		return "", fmt.Sprintf("%s does not answer as a primary", f.Epoch.Node)
	case p.System != f.System:
		return "", fmt.Sprintf("the server on %s belongs to another cluster: system identifier %d", f.Epoch.Node, p.System)
	}
	left, ancestor := p.History.LeftAt(f.History.Timeline)
	switch {
	case !ancestor:
		return Fail, fmt.Sprintf("timeline %d is not in the history of %s", f.History.Timeline, f.Epoch.Node)
	case f.Replayed > left:
		return Fail, fmt.Sprintf("replayed to %s, %s left timeline %d at %s", f.Replayed, f.Epoch.Node, f.History.Timeline, left)
	case f.History.Timeline == p.History.Timeline && f.Replayed > p.Position:
		return Fail, fmt.Sprintf("replayed to %s, ahead of %s at %s", f.Replayed, f.Epoch.Node, p.Position)
	case o.Reached < p.Oldest && !o.Archive:
		return Replace, fmt.Sprintf("needs the WAL from %s on, %s has none before %s", o.Reached, f.Epoch.Node, p.Oldest)
	}
	return Connect, fmt.Sprintf("nothing is received from %s, which has what is needed", f.Epoch.Node)
}

// exhausted says whether a repair has been tried often enough.
func (o Outage) exhausted(verb Verb) bool {
	tried := o.Restarts
	if verb == Connect {
		tried = o.Reconnects
	}
	return o.Limit > 0 && tried >= o.Limit
}

// Complaint says why a standby receives nothing and what is not done about it
// any more, "" where nothing is known to be wrong.
func Complaint(f Facts) string {
	verb, why := remedy(f)
	if verb != "" && f.Outage.exhausted(verb) {
		why += fmt.Sprintf("; given up after %d repairs (replication_failure_threshold): see the log of PostgreSQL", f.Outage.Limit)
	}
	return why
}

// NeedsArchive says whether a start of these data may need WAL that neither they nor the primary have, so that it waits for the
// administrator's archive, however long that takes.
func NeedsArchive(a Arrival) bool {
	switch complete := a.Epoch.Node == a.Self || a.InSync == a.Epoch.Number; {
	case a.Epoch.Number == 0: // perhaps a backup that is being restored
		return true
	case a.Primary != nil:
		return a.Primary.Oldest == 0 || a.Redo != 0 && a.Redo < a.Primary.Oldest
	default:
		return !complete
	}
}

// lacking says which WAL these data need that the primary has no more, "" where
// nothing is known to be missing.
func lacking(a Arrival) string {
	p := a.Primary
	if p == nil || p.System != a.Epoch.System || p.Oldest == 0 {
		return ""
	}
	// The control file alone does not say how far the WAL goes that is here: only
	// the running standby knew. It may have got on since.
	if a.Stuck > 0 && a.Position <= a.Stuck && a.Stuck < p.Oldest {
		return fmt.Sprintf("needs the WAL from %s on, %s has none before %s", a.Stuck, a.Epoch.Node, p.Oldest)
	}
	left, ancestor := p.History.LeftAt(a.Timeline)
	if a.InSync == a.Epoch.Number || a.Archive || a.Redo == 0 || !ancestor || rejoinPrimary(a, *p).Course == Start {
		return ""
	}
	// What was rewound recovers from the last checkpoint before the histories
	// parted, by the WAL of the source, and takes no connection before it is done.
	if need := min(a.Redo, left); need < p.Oldest {
		return fmt.Sprintf("to be rewound, needs the WAL from %s on, %s has none before %s", need, a.Epoch.Node, p.Oldest)
	}
	return ""
}
