package ha

import (
	"fmt"
	"slices"
	"time"
)

// keepSync lets commits wait for exactly the standbys that are recorded as
// complete, in strict mode for every standby. It publishes before it relaxes
// and requires before it publishes.
func keepSync(f Facts) []Action {
	var actions []Action
	required := slices.Clone(f.Required)
	for _, p := range f.Peers {
		s := follower(f, p.Node)
		recorded := p.InSync == f.Epoch.Number
		member := slices.Contains(required, p.Node)
		doubtful := s.Doubtful && member
		lost := !s.Streaming
		switch {
		// First the record, then, at the next look, the requirement.
		case (recorded || doubtful) && lost && relaxable(f, p, s):
			actions = append(actions, Action{Verb: Publish, Node: p.Node, Number: 0, Why: "lost: " + lossReason(p, s)})
		// Were commits not to wait for it, the record would be a lie after the
		// next one.
		case recorded && !member:
			required = append(required, p.Node)
		case recorded:
		// What else may come to be recorded has to be outranked first.
		case doubtful && s.Leaving && f.Quorate:
			actions = append(actions, Action{Verb: Publish, Node: p.Node, Number: 0, Why: "it is about to stop"})
		case doubtful && lost:
		case member && (releasable(f, p, s) || tightens(f, p, s, required)):
			required = slices.DeleteFunc(required, func(n string) bool { return n == p.Node })
		case f.Mode == Strict && !member:
			required = append(required, p.Node)
		case s.Leaving:
		case member && completes(f, p, s):
			actions = append(actions, Action{Verb: Publish, Node: p.Node, Number: f.Epoch.Number, Why: "commits wait for it, and it has flushed all"})
		case !member && s.Streaming && s.Flushed+CaughtUp >= f.Position && !dropped(f, required):
			required = append(required, p.Node)
		}
	}
	// A name that is no peer any more would let commits wait for ever.
	required = slices.DeleteFunc(required, func(n string) bool { return !isPeer(f, n) })
	slices.Sort(required)
	required = slices.Compact(required)
	if spare := spared(f, required); !slices.Equal(required, f.Required) || spare != f.Spared {
		actions = append(actions, Action{Verb: Require, Nodes: required, Number: spare, Why: "the standbys that commits wait for"})
	}
	return append(actions, recordSpare(f, required)...)
}

// relaxable says whether a lost standby may be recorded as behind.
func relaxable(f Facts, p Membership, s Follower) bool {
	switch {
	case f.Mode == Strict, !f.Quorate:
		return false
	case !p.Online && !p.Unclean:
		return true // fenced, or shut down in good order
	// The other partition may promote it on the strength of the old record:
	// commits wait until it is fenced.
	case p.Unclean && f.Fencing:
		return false
	}
	// What remains passes between the record and the end of the wait (settled).
	return s.LostFor >= f.SyncTimeout-SplitPatience
}

func lossReason(p Membership, s Follower) string {
	if !p.Online && !p.Unclean {
		return "the host is down"
	}
	return fmt.Sprintf("no replication for %s", s.LostFor.Round(time.Second))
}

// releasable says whether commits may stop waiting for a required standby that is
// recorded as behind.
func releasable(f Facts, p Membership, s Follower) bool {
	return f.Mode != Strict && (!s.Streaming || s.Leaving) && f.Quorate && (!p.Unclean || !f.Fencing) && settled(f, p, s)
}

// SplitPatience is longer than it takes Corosync to notice that the hosts have
// lost sight of each other (the token timeout, 3 s by default).
const SplitPatience = 4 * time.Second

// settled says whether the record that a standby is behind is known to both
// sides. One that was written in the moment of a split is on our side alone,
// and the other side would promote the standby on the strength of the old one.
func settled(f Facts, p Membership, s Follower) bool {
	// With a third host there is another side also when the standby is down: the
	// two together may have a quorum, and the old record.
	third := slices.ContainsFunc(f.Peers, func(o Membership) bool { return o.Node != p.Node && (o.Online || o.Unclean) })
	return !third && (s.Leaving || !p.Online && !p.Unclean) || s.BehindFor >= SplitPatience
}

// completes says whether a required standby has every commit that was acknowledged
// before commits waited for it, and may be recorded so.
func completes(f Facts, p Membership, s Follower) bool {
	return s.Streaming && s.Waited && s.GrownAt > 0 && s.Flushed >= s.GrownAt && heeded(f) &&
		f.Spared <= f.Spare && f.Quorate && p.Online
}
