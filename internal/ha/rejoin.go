package ha

import (
	"fmt"
	"time"
)

// Arrival is what an activation of the database knows before it starts
// PostgreSQL.
type Arrival struct {
	Self   string
	Epoch  Epoch
	InSync int // the epoch for which this node is recorded as complete

	Data bool // there is a database in the data directory
	// Missing is where the file system was mounted that had the data, "" where it
	// still is or never was.
	Missing string
	// Absent is where a file system was mounted, and is not, that has a part of
	// the data: a tablespace or the WAL.
	Absent  string
	Unsound bool // a rewind or clone of it was not finished
	System  uint64
	Ended   Ending
	// Timeline and position of the data: for Clean and Crashed the latest
	// checkpoint, for Replaying the end of what was replayed.
	Timeline Timeline
	Position LSN
	// NoRewind is why pg_rewind would refuse to work on the data, "" where it
	// would not.
	NoRewind string
	Redo     LSN  // where a recovery from the latest checkpoint begins
	Stuck    LSN  // how far the WAL went when this standby could not go on for lack of more, 0: it could
	Archive  bool // a restore_command may fetch what the primary has no more

	Granted bool          // Pacemaker promotes this node
	Forced  bool          // the administrator accepts what is lost if it does
	Demoted bool          // this activation follows a demotion
	Waited  time.Duration // since the activation began

	Primary *Upstream // the primary of the recorded epoch, nil while it does not answer
}

// Ending is how PostgreSQL last stopped, from the control file.
type Ending int

// The endings.
const (
	Clean     Ending = iota // shut down as a primary
	Crashed                 // was a primary and did not shut down
	Replaying               // was a standby
)

// Upstream is a running primary, as it answers.
type Upstream struct {
	System       uint64
	History      History
	Position     LSN
	Checkpointed bool   // its control file is on its timeline already; false also where that is not known
	Refused      string // why it lets nobody ask that in a database, "": it does
	Oldest       LSN    // the beginning of the WAL it still has, 0: not known
	Slots        []Slot // nil where they are not known
}

// Course is how a node gets to a running standby.
type Course string

// The courses.
const (
	Wait      Course = "wait"
	Start     Course = "start"  // start what is there, as a standby
	Bootstrap Course = "initdb" // the first database of a new cluster
	Rewind    Course = "rewind"
	Clone     Course = "clone"
	Refuse    Course = "refuse"
)

// Plan is a course and its reason.
type Plan struct {
	Course Course
	Why    string
}

func plan(c Course, format string, a ...any) Plan { return Plan{c, fmt.Sprintf(format, a...)} }

// DemotionPatience is how long a demoted primary stays down for another host
// to be promoted: what it would replay meanwhile may have to be rewound.
const DemotionPatience = 20 * time.Second

// Rejoin decides how this node's data become a running standby. The rules are
// tried in order.
func Rejoin(a Arrival) Plan {
	// A copy made in the mount point would hide the data's absence, and fill the
	// wrong disk.
	if !a.Data && a.Missing != "" {
		return plan(Wait, "the data directory is empty and %s is not mounted, where the data were", a.Missing)
	}
	// Replayed into the mount point, changes would be lost to the real files.
	if a.Data && a.Absent != "" {
		return plan(Wait, "%s is not mounted, where a part of the data was", a.Absent)
	}
	if a.Epoch.Number == 0 {
		return firstStart(a)
	}
	// Another cluster's data are never touched, not even to replace them.
	if a.Data && !a.Unsound && a.System != a.Epoch.System {
		return plan(Refuse, "the data directory belongs to another cluster: system identifier %d, recorded is %d", a.System, a.Epoch.System)
	}
	if !a.Data || a.Unsound {
		return replaceData(a)
	}
	if a.Epoch.Node == a.Self {
		// Started now, it would replay what the next primary may not have.
		if a.Demoted && !a.Granted && a.Waited < DemotionPatience {
			return plan(Wait, "another host is to be promoted")
		}
		return plan(Start, "this host was the last primary")
	}
	if lacks := lacking(a); lacks != "" {
		return plan(Clone, "%s", lacks)
	}
	if a.InSync == a.Epoch.Number {
		return plan(Start, "this host holds every acknowledged commit of epoch %d", a.Epoch.Number)
	}
	if a.Primary == nil && a.Forced {
		return plan(Start, "the administrator accepts that later commits of %s are lost", a.Epoch.Node)
	}
	if a.Primary == nil {
		return plan(Wait, "%s, which holds later commits, does not answer", a.Epoch.Node)
	}
	return feasible(a, rejoinPrimary(a, *a.Primary))
}

// Contained says whether all that is here is known to be part of the history of
// the primary, as a standby's data are that only fell behind.
func (a Arrival) Contained() bool {
	return a.Data && a.Primary != nil && a.Ended == Replaying && rejoinPrimary(a, *a.Primary).Course == Start
}

func firstStart(a Arrival) Plan {
	switch {
	// What an interrupted initdb left is nobody's data.
	case a.Data && !a.Unsound:
		return plan(Start, "a database that no promotion is recorded of")
	case a.Granted:
		return plan(Bootstrap, "the first database of a new cluster")
	}
	return plan(Wait, "no database yet: Pacemaker has to promote a host")
}

// replaceData is for a host without usable data in a cluster that has some:
// never initdb, which would make a second, empty cluster of the same name.
func replaceData(a Arrival) Plan {
	switch {
	case a.Epoch.Node == a.Self && !a.Data:
		return plan(Wait, "the data directory is empty although this host was the last primary: is it mounted?")
	case a.Primary == nil:
		return plan(Wait, "%s, from which to clone, does not answer", a.Epoch.Node)
	case a.Primary.System != a.Epoch.System:
		return foreign(a)
	case a.Unsound:
		return plan(Clone, "a rewind or clone of the data directory was not finished")
	}
	return plan(Clone, "the data directory is empty")
}

// rejoinPrimary compares our end with the history of the primary.
func rejoinPrimary(a Arrival, p Upstream) Plan {
	if p.System != a.Epoch.System {
		return foreign(a)
	}
	left, ancestor := p.History.LeftAt(a.Timeline)
	switch {
	case !ancestor:
		return rewind(p, "timeline %d is not in the history of %s", a.Timeline, a.Epoch.Node)
	// The end of a crashed primary's WAL is not known without reading it, and
	// what it flushed last has usually not been received. On the primary's own
	// timeline it can only be a standby's.
	case a.Ended == Crashed && a.Timeline != p.History.Timeline:
		return rewind(p, "crashed as primary on timeline %d, which %s left at %s", a.Timeline, a.Epoch.Node, left)
	// The shutdown checkpoint is the last record: the primary has it exactly if
	// it left the timeline after the record's beginning.
	case a.Ended == Clean && a.Position >= left:
		return rewind(p, "shut down as primary at %s, %s left timeline %d at %s", a.Position, a.Epoch.Node, a.Timeline, left)
	case a.Position > left:
		return rewind(p, "replayed to %s, %s left timeline %d at %s", a.Position, a.Epoch.Node, a.Timeline, left)
	// PostgreSQL would wait for WAL that will never be written so.
	case a.Timeline == p.History.Timeline && a.Position > p.Position:
		return rewind(p, "at %s, ahead of %s at %s", a.Position, a.Epoch.Node, p.Position)
	}
	return plan(Start, "the data are part of the history of %s", a.Epoch.Node)
}

// foreign is for a server that answers in the primary's place and is another
// cluster's. What is wrong is wrong there, and may be over soon: a refused start
// would be final to Pacemaker.
func foreign(a Arrival) Plan {
	return plan(Wait, "the server that answers for %s belongs to another cluster (system identifier %d, recorded is %d): it must be stopped, and %[1]s started",
		a.Epoch.Node, a.Primary.System, a.Epoch.System)
}

func rewind(p Upstream, format string, a ...any) Plan {
	// Before its first checkpoint a new primary's control file still names the
	// old timeline, and pg_rewind would find nothing to do (pg_rewind(1), Notes).
	if p.Refused != "" {
		return plan(Wait, "a rewind needs a session in a database of the primary, which refuses it: %s", p.Refused)
	}
	if !p.Checkpointed {
		return plan(Wait, "the new primary's first checkpoint")
	}
	return plan(Rewind, format, a...)
}
