package ha

import (
	"fmt"
	"slices"
	"time"
)

// Facts are one look at an instance, its cluster and what has lasted how long.
type Facts struct {
	Candidate // this node, as if it were to be promoted

	Mode        Mode
	Blind       bool          // the role is known, what else PostgreSQL would say is of an earlier look
	SyncTimeout time.Duration // how long commits wait for a standby that is lost but not down
	MaxLag      int64         // rep_mode=async: bytes a promotable standby may be behind; < 0: no limit
	Waiting     bool          // the activation waits to be chosen or for another host
	HasData     bool
	WasPrimary  bool          // before PostgreSQL went down, or by the control file
	Died        bool          // PostgreSQL went down unasked in this activation
	HungFor     time.Duration // how long PostgreSQL has run without answering
	StalledFor  time.Duration // primary: how long it has waited for its disk to take WAL
	YieldedFor  time.Duration
	Position    LSN           // primary: end of WAL
	Required    []string      // nodes in synchronous_standby_names as in force
	Spared      int           // how many of them a commit may be acknowledged without
	SpareFor    time.Duration // since when Spare, on record, has been known
	Quorum      int           // how many standbys the administrator wants a commit on; 0: all that are complete
	Receiving   bool          // standby: WAL comes in from the primary
	UnservedFor time.Duration // standby: how long it has not
	Lagging     bool          // standby: another member of the quorum has had more for a while
	Repairable  bool          // standby, while Held: a start lifts what holds its replay
	Standbys    []Follower
	// CollationsChanged says, on a standby, that a collation has another version than the one by which stored
	// text is sorted; CollationsAwaited, that its versions are just being asked for.
	CollationsChanged, CollationsAwaited bool

	Upstream    string // standby: the node it is configured to follow
	DivergedFor time.Duration
	Outage      Outage // standby
	// LoweredFor is how long this standby has run with hot_standby=off, so that its promotion puts lowered
	// settings into use; 0: it takes sessions.
	LoweredFor time.Duration
	// RaisedFor is how long this standby has run with more than its administrator's files say, where the
	// promotion of the last primary would put the lower values into use; 0: there are none.
	RaisedFor time.Duration
}

// Mode is what a commit waits for (rep_mode).
type Mode string

// The modes.
const (
	Async  Mode = "async"  // for the primary alone
	Sync   Mode = "sync"   // for the standby, unless that is recorded as behind
	Strict Mode = "strict" // for the standby, however long it is gone
)

// Follower is a peer as the primary sees it.
type Follower struct {
	Node      string
	Streaming bool
	Waited    bool // PostgreSQL waits for it: sync_state sync or quorum
	Flushed   LSN
	GrownAt   LSN           // end of WAL when it became required
	LostFor   time.Duration // since it last streamed
	Leaving   bool          // it has declared itself behind and is about to stop
	BehindFor time.Duration // since this primary knows it to be recorded as behind
	// Doubtful says that it may yet come to be recorded as complete, by a record
	// to which there was no answer, or by a copy of the records that does not know
	// of its farewell.
	Doubtful bool
}

// Verb is a kind of action.
type Verb string

// The verbs. Each is idempotent; what fails is decided again at the next look.
const (
	SetScore Verb = "score"   // Node, Number
	Publish  Verb = "publish" // Node holds the commits of epoch Number; 0 = behind
	Require  Verb = "require" // synchronous_standby_names becomes Nodes, of which Number are spared
	Spare    Verb = "spare"   // Number of the standbys on record may lack a commit
	Follow   Verb = "follow"  // Node
	Restore  Verb = "restore" // the record of this host's promotion
	Yield    Verb = "yield"   // the peers shall take over from a dead primary
	Fail     Verb = "fail"    // report this instance to Pacemaker as failed
	Connect  Verb = "connect" // write and load the configuration by which this standby follows Node
	Leave    Verb = "leave"   // this standby declares itself behind
	Replace  Verb = "replace" // report this standby as failed, whose next start is to copy Node
	Halt     Verb = "halt"    // stop PostgreSQL at once: another host is primary; Number: see usurped
)

// Action is one thing to do, and why.
type Action struct {
	Verb   Verb
	Node   string
	Nodes  []string
	Number int
	Why    string
}

// Scores that this package gives. The distance between a primary and a standby
// leaves room for location constraints and stickiness.
const (
	PrimaryScore  = 1000
	EligibleScore = 100
	LoweredScore  = 110 // as eligible, and its promotion puts lowered settings into use
	HolderScore   = 10  // the last primary, down: complete, but not preferred
	AdoptScore    = 50  // a database without a record
	FoundScore    = 5   // an empty host that may found the cluster
)

// CaughtUp is how many bytes a standby may be behind when commits begin to
// wait for it.
const CaughtUp = 16 << 20

// DivergedPatience is how long a standby may be on a history that is not the
// primary's before it is stopped and brought back by a rewind.
const DivergedPatience = 5 * time.Second

// Decide says what to do now, in order.
func Decide(f Facts) []Action {
	// Only with the database of that promotion at hand: what is left of another one
	// must not take the record from a cluster that has begun anew.
	if f.Known.Number > f.Epoch.Number && f.Known.Node == f.Self.Node && f.Known.System == f.System && f.Role != Unknown {
		return restore(f)
	}
	switch f.Role {
	case Primary:
		return asPrimary(f)
	case Standby:
		return asStandby(f)
	case Down:
		return asDown(f)
	}
	return asUnknown(f)
}

// restore writes the record of this host's promotion again, which an older copy
// of the records has replaced. Nobody else is known to be complete then.
func restore(f Facts) []Action {
	if !f.Quorate {
		return nil
	}
	return []Action{{Verb: Restore, Number: f.Known.Number, Why: fmt.Sprintf("the cluster has epoch %d on record, this host was promoted in epoch %d", f.Epoch.Number, f.Known.Number)}}
}

func asPrimary(f Facts) []Action {
	latest := f.Epoch
	if f.Known.Number > latest.Number {
		latest = f.Known
	}
	// A promotion that this server has not seen: whatever it acknowledges from
	// now on is lost.
	if latest.Number > 0 && latest.Node != f.Self.Node {
		return []Action{usurped(f, latest)}
	}
	if f.Epoch.Number == 0 {
		return nil // a promotion is under way
	}
	// What is known of the standbys is of an earlier look: nobody is recorded, required or released by
	// that. A standby that is lost meanwhile is waited for until this host can see again.
	if f.Blind {
		return score(f, PrimaryScore, "primary")
	}
	// A disk that takes nothing lets no commit through, whatever the queries say.
	if yields := yieldAfter(f, f.StalledFor, "the disk has taken no WAL"); yields != nil {
		return yields
	}
	actions := score(f, PrimaryScore, "primary")
	if f.Mode == Async {
		return append(actions, keepAsync(f)...)
	}
	return append(actions, keepSync(f)...)
}

// usurped says why this primary may not go on: another host is the primary on record. A server whose
// history goes through that promotion was its standby, and nobody but an administrator promotes one
// without a record; Number is then the timeline of that promotion.
func usurped(f Facts, latest Epoch) Action {
	if f.History.Timeline > latest.Timeline && f.History.Contains(latest.Timeline, latest.Switch) {
		return Action{Verb: Halt, Number: int(f.History.Timeline), Why: fmt.Sprintf("somebody promoted PostgreSQL here by hand, to timeline %d, while %s is the primary (epoch %d): "+
			"leave that to Pacemaker", f.History.Timeline, latest.Node, latest.Number)}
	}
	return Action{Verb: Halt, Why: fmt.Sprintf("%s was promoted (epoch %d)", latest.Node, latest.Number)}
}

func asStandby(f Facts) []Action {
	var actions []Action
	verdict := Promotable(f.Candidate)
	switch {
	case f.Held != "":
		actions = score(f, Minus, verdict.Why)
	case leavesLowering(f):
		actions = score(f, Minus, fmt.Sprintf("waiting for %s, the last primary, whose promotion puts lowered settings into use", f.Epoch.Node))
	// The score is also the claim by which another host sees that there are two.
	case f.Epoch.Number == 0 && f.Founder:
		actions = score(f, AdoptScore, verdict.Why)
	case Elects(f.Candidate):
		number, why := standbyScore(f)
		actions = scoreSorted(f, number, why)
	case !verdict.OK:
		actions = score(f, Minus, verdict.Why)
	case f.LoweredFor > 0:
		actions = score(f, LoweredScore, verdict.Why)
	default:
		actions = scoreSorted(f, EligibleScore, verdict.Why)
	}
	if fails := lowered(f); fails != nil {
		return fails
	}
	if up := f.Epoch.Node; up != "" && up != f.Self.Node && up != f.Upstream {
		actions = append(actions, Action{Verb: Follow, Node: up, Why: fmt.Sprintf("%s was promoted (epoch %d)", up, f.Epoch.Number)})
	}
	switch {
	case f.Held != "":
		return append(actions, release(f)...)
	case f.Blind: // what it receives is not known
		return actions
	}
	return append(actions, repair(f)...)
}

// LastPrimaryPatience is how long a standby leaves the promotion to the last primary, which starts too, so that
// lowered settings come into use.
const LastPrimaryPatience = 15 * time.Second

// leavesLowering is for a standby that starts together with the last primary, as when the resource is stopped
// and started: whichever had a score first would be promoted, and from this host the higher values would go on.
// A standby that has a score, as in every failover, keeps it.
func leavesLowering(f Facts) bool {
	if f.RaisedFor == 0 || f.RaisedFor >= LastPrimaryPatience || f.Force || f.Self.Scored && f.Self.Score > 0 {
		return false
	}
	return slices.ContainsFunc(f.Peers, func(p Membership) bool {
		return p.Node == f.Epoch.Node && p.Online && !(p.Scored && p.Score > 0)
	})
}

// LoweredPatience is how long a standby with hot_standby=off waits for its promotion: without one it is of
// more use where it takes sessions.
const LoweredPatience = time.Minute

// lowered is the way back of a standby that was started with hot_standby=off because it was to be
// promoted. Reported as failed it starts anew with what its WAL requires, once an epoch.
func lowered(f Facts) []Action {
	switch other := f.Epoch.Node != "" && f.Epoch.Node != f.Self.Node; {
	case f.LoweredFor == 0:
		return nil
	case other && PrimaryServes(f):
		return []Action{{Verb: Fail, Why: fmt.Sprintf("%s was promoted, and this standby was started without sessions to be promoted itself", f.Epoch.Node)}}
	case f.LoweredFor >= LoweredPatience:
		return []Action{{Verb: Fail, Why: fmt.Sprintf("nobody was promoted for %s, and this standby was started without sessions to be promoted", f.LoweredFor.Round(time.Second))}}
	}
	return nil
}

// PrimaryServes says whether the recorded primary is online and has PrimaryScore. A promotion is recorded before it takes
// effect, and the host sets that score afterwards: until then no standby can stream from it.
func PrimaryServes(f Facts) bool {
	return slices.ContainsFunc(f.Peers, func(p Membership) bool { return p.Node == f.Epoch.Node && p.Online && p.Score == PrimaryScore })
}

// release is for a standby whose replay is held. It cannot be promoted, so commits need not wait for
// it: while its primary serves, it declares itself behind. Where the primary is lost the record
// stands, because it is true of the WAL that is here: restarted, this host may be promoted by it.
func release(f Facts) []Action {
	if f.Receiving && f.Quorate && f.Mode != Strict && f.Epoch.Number > 0 && f.Self.InSync == f.Epoch.Number {
		return []Action{{Verb: Leave, Node: f.Self.Node, Why: "the replay is held: " + f.Held}}
	}
	if !f.Repairable || f.Outage.exhausted(Fail) {
		return nil
	}
	return []Action{{Verb: Fail, Node: f.Self.Node, Why: "a start lifts what holds the replay: " + f.Held}}
}

func asDown(f Facts) []Action {
	switch {
	case f.Died && f.WasPrimary && f.Epoch.Node == f.Self.Node && f.YieldedFor < DemotionPatience && Successor(f.Candidate) != "":
		// The score alone makes Pacemaker demote here and promote there: nothing
		// waits for a restart.
		return []Action{{Verb: Yield, Node: Successor(f.Candidate), Why: "PostgreSQL died as primary, " + Successor(f.Candidate) + " holds every acknowledged commit"}}
	case f.Died:
		return []Action{{Verb: Fail, Why: "PostgreSQL died"}}
	case f.Waiting && f.Epoch.Number == 0 && !f.HasData:
		return score(f, FoundScore, "may found the cluster")
	// Should the other host fail to promote, this one is still complete. Before
	// that a score would only make Pacemaker think again, in mid-failover.
	case f.Waiting && f.HasData && f.Epoch.Node == f.Self.Node && !f.Unsound && Successor(f.Candidate) == "":
		return score(f, HolderScore, "the last primary")
	}
	return score(f, Minus, "PostgreSQL is not running")
}

// HangPatience is how long a primary may give no answer before a standby takes
// its place.
const HangPatience = 10 * time.Second

// asUnknown concludes nothing from not knowing, but for one thing: a peer that
// could serve at once is better than a primary that has hung for long. The
// demotion proves that nothing is left of it.
func asUnknown(f Facts) []Action {
	if !f.WasPrimary {
		return nil
	}
	return yieldAfter(f, f.HungFor, "PostgreSQL has not answered")
}

// yieldAfter yields when a hang has lasted too long.
func yieldAfter(f Facts, lasted time.Duration, what string) []Action {
	next := Successor(f.Candidate)
	if lasted < HangPatience || f.YieldedFor >= DemotionPatience || next == "" {
		return nil
	}
	return []Action{{Verb: Yield, Node: next, Why: fmt.Sprintf("%s for %s, %s holds every acknowledged commit", what, lasted.Round(time.Second), next)}}
}

// Successor is a peer that can be promoted at once, "" if there is none.
func Successor(c Candidate) string {
	if c.Spare > 0 {
		return quorumSuccessor(c)
	}
	for _, p := range c.Peers {
		if p.Online && p.InSync == c.Epoch.Number && p.Scored && p.Score > 0 {
			return p.Node
		}
	}
	return ""
}

// keepAsync records which standbys are close enough to be promoted.
func keepAsync(f Facts) []Action {
	var actions []Action
	if len(f.Required) > 0 {
		actions = append(actions, Action{Verb: Require, Why: "rep_mode=async"})
	}
	if f.Spare > 0 && f.Quorate {
		actions = append(actions, Action{Verb: Spare, Why: "rep_mode=async"})
	}
	for _, p := range f.Peers {
		s := follower(f, p.Node)
		recorded := p.InSync == f.Epoch.Number
		behind := int64(f.Position) - int64(s.Flushed)
		near := s.Streaming && (f.MaxLag < 0 || behind <= f.MaxLag)
		switch {
		case recorded && !near && f.Quorate && (p.Online || !p.Unclean) && (s.Streaming || s.LostFor >= time.Second):
			actions = append(actions, Action{Verb: Publish, Node: p.Node, Number: 0, Why: fmt.Sprintf("%d bytes behind", behind)})
		case !recorded && near && f.Quorate && p.Online && (f.MaxLag < 0 || behind <= f.MaxLag/2):
			actions = append(actions, Action{Verb: Publish, Node: p.Node, Number: f.Epoch.Number, Why: fmt.Sprintf("%d bytes behind", behind)})
		}
	}
	return actions
}

func follower(f Facts, node string) Follower {
	for _, s := range f.Standbys {
		if s.Node == node {
			return s
		}
	}
	return Follower{Node: node} // not looked at yet: not lost yet either
}

func isPeer(f Facts, node string) bool {
	return slices.ContainsFunc(f.Peers, func(p Membership) bool { return p.Node == node })
}

// score asks for a promotion score where it differs from the one in force.
func score(f Facts, want int, why string) []Action {
	if f.Self.Scored && f.Self.Score == want {
		return nil
	}
	return []Action{{Verb: SetScore, Node: f.Self.Node, Number: want, Why: why}}
}
