package ha

import (
	"fmt"
	"slices"
	"time"
)

// Quorum commit. With synchronous_standby_names = 'ANY k (...)' a commit is
// acknowledged when k of the n standbys have flushed it; n-k are spared. What is
// on record of an epoch is then a set of standbys, its members, and how many of
// them may lack any one commit (Spare, 0 where commits wait for all):
//
//	every acknowledged commit is on all members but at most Spare.
//
// So any Spare+1 members include one that has a given commit, and of those that
// member is the furthest on: WAL is received in order. A promotion therefore looks
// at Spare+1 members, itself included, after the old primary has ended, and is for
// the one that has most. "FIRST k" promises no less than "ANY k" and counts as it.
//
// The setting in force keeps the record true while all members are required and
// no more are spared than is on record. No step breaks that, as in a change of
// members in Raft by way of the joint set:
//
//   - a member is added when it is required, commits are proven to go by that, and
//     it has flushed what was written by then: it has all that any other may lack;
//   - a member is taken from the record, which leaves the rest true, before commits
//     stop counting it;
//   - Spare grows on record first, then, when both sides of a split would know it,
//     in the setting;
//   - Spare shrinks in the setting first, then, when commits are proven to go by
//     that and all members but so many have flushed what was written by then, on
//     record.

// LaggingScore is for a member of a quorum that has less than another one.
const LaggingScore = EligibleScore - 10

// target is how many of n required standbys are to be spared.
func target(f Facts, n int) int {
	if f.Quorum == 0 || f.Mode != Sync {
		return 0
	}
	return max(0, n-f.Quorum)
}

// spared is how many of the required nodes the setting may spare now.
func spared(f Facts, required []string) int {
	limit := f.Spare
	if f.SpareFor < SplitPatience || !f.Quorate || slices.ContainsFunc(f.Peers, func(p Membership) bool { return p.Unclean && f.Fencing }) {
		limit = min(f.Spare, f.Spared)
	}
	return min(limit, target(f, len(required)))
}

// tightens says whether a standby that is lost can be left out of those that
// count, in this step without adding one, because a commit still has to be on as
// many of the others as before: nothing is relaxed then, whatever is on record.
func tightens(f Facts, p Membership, s Follower, required []string) bool {
	left := len(required) - 1
	return f.Mode == Sync && f.Spared > 0 && (!s.Streaming || s.Leaving) && f.Quorate && (!p.Unclean || !f.Fencing) &&
		left-target(f, left) >= len(f.Required)-f.Spared && !added(f, required)
}

// added says whether the decision so far requires a node that is not yet required.
func added(f Facts, required []string) bool {
	return slices.ContainsFunc(required, func(n string) bool { return !slices.Contains(f.Required, n) })
}

// dropped says whether it leaves out one that is.
func dropped(f Facts, required []string) bool {
	return slices.ContainsFunc(f.Required, func(n string) bool { return !slices.Contains(required, n) })
}

// recordSpare brings the record nearer to what is wanted. Required is what the
// decision at hand makes of the setting.
func recordSpare(f Facts, required []string) []Action {
	want := target(f, len(required))
	if want == f.Spare || !f.Quorate || !slices.Equal(required, f.Required) {
		return nil
	}
	members, streaming, complete := 0, 0, 0
	for _, p := range f.Peers {
		if p.InSync != f.Epoch.Number {
			continue
		}
		members++
		s := follower(f, p.Node)
		if s.Streaming {
			streaming++
		}
		if s.Streaming && s.Waited && s.GrownAt > 0 && s.Flushed >= s.GrownAt {
			complete++
		}
	}
	switch {
	case want > f.Spare && streaming == len(required):
		return []Action{{Verb: Spare, Number: want, Why: fmt.Sprintf("a commit is to be on %d of %d standbys", f.Quorum, len(required))}}
	case want < f.Spare && f.Spared <= want && complete >= members-want:
		return []Action{{Verb: Spare, Number: want, Why: fmt.Sprintf("commits wait for all but %d of the standbys", want)}}
	}
	return nil
}

// heeded says whether the walsenders of all required standbys go by the setting in
// force. Each lets commits go by a copy of its own, read in the round of its loop
// before the next answer (SyncRepReleaseWaiters, WalSndLoop): one that has passed on
// an answer to WAL written since the proof goes by it.
func heeded(f Facts) bool {
	return !slices.ContainsFunc(f.Standbys, func(s Follower) bool {
		return s.Streaming && slices.Contains(f.Required, s.Node) && s.Flushed < s.GrownAt
	})
}

// CheckSpare says why so many standbys may not be spared, judged by a view that was
// read after that was decided; nil if they may.
func CheckSpare(number int, c Candidate) error {
	switch {
	case !c.Quorate:
		return fmt.Errorf("commits wait on: this part of the cluster has no quorum")
	case number > c.Spare:
		return fmt.Errorf("commits wait on: on record only %d standbys may lack them", c.Spare)
	}
	for _, p := range c.Peers {
		if p.Unclean && c.Fencing {
			return fmt.Errorf("commits wait on: by now %s may be running out of our sight", p.Node)
		}
	}
	return nil
}

// CheckAllowance says why the record of how many standbys are spared may no longer
// be written, judged by a view that was read after that was decided.
func CheckAllowance(decided Epoch, c Candidate) error {
	switch {
	case !c.Quorate:
		return fmt.Errorf("cannot record how many standbys may lack a commit: this part of the cluster has no quorum")
	case c.Epoch != decided:
		return fmt.Errorf("cannot record how many standbys may lack a commit: the epoch is %d by now", c.Epoch.Number)
	}
	return nil
}

// Elects says whether the candidate is a member of a quorum, one of which has to be
// chosen by its position.
func Elects(c Candidate) bool {
	return c.Spare > 0 && c.Epoch.Number > 0 && c.Self.InSync == c.Epoch.Number && c.Epoch.Node != c.Self.Node
}

// seen counts the members that can be compared, the candidate included, and finds
// the one that is furthest ahead of it, "" if none is.
func seen(c Candidate) (members int, ahead string) {
	members, most := 1, c.Received
	for _, p := range c.Peers {
		at, known := c.Positions[p.Node]
		if p.InSync != c.Epoch.Number || p.Node == c.Epoch.Node || !p.Online || !known {
			continue
		}
		members++
		if at > most {
			most, ahead = at, p.Node
		}
	}
	return members, ahead
}

// Ahead is the member that a candidate has to get the last commits from before it
// is promoted, "" where there is none.
func Ahead(c Candidate) string {
	if !Elects(c) {
		return ""
	}
	members, ahead := seen(c)
	if members <= c.Spare {
		return ""
	}
	return ahead
}

// elected says whether the candidate has every commit that a quorum has.
func elected(c Candidate) Verdict {
	members, ahead := seen(c)
	switch {
	case members <= c.Spare:
		return no("a commit of epoch %d may be missing on %d of the standbys on record: %d of them have to be compared, %d can be", c.Epoch.Number, c.Spare, c.Spare+1, members)
	case ahead != "":
		return no("%s has more: it is at %s, this host at %s", ahead, c.Positions[ahead], c.Received)
	}
	return yes("no other of %d standbys has more of epoch %d", members, c.Epoch.Number)
}

// standbyScore is the score of a member of a quorum. While the primary serves any
// that gets on is as good as another; who has most is asked when it does not. Pacemaker promotes
// nobody before an unclean host is fenced, and the comparison must be over by then:
// the first score to rise is the one that it would go by.
func standbyScore(f Facts) (int, string) {
	c := f.Candidate
	c.Peers = slices.Clone(c.Peers)
	for i := range c.Peers {
		c.Peers[i].Unclean = false
	}
	if f.Receiving {
		c.Spare = 0
	}
	verdict := Promotable(c)
	switch {
	case verdict.OK && f.Receiving && f.Lagging:
		return LaggingScore, "another of the standbys on record has more"
	case verdict.OK && f.Receiving:
		return EligibleScore, "one of the standbys that have every acknowledged commit"
	case verdict.OK:
		return EligibleScore, verdict.Why
	case Ahead(c) != "" && Promotable(caughtUp(c)).OK:
		return LaggingScore, verdict.Why
	}
	// The others may be about to answer; a score that goes and comes makes Pacemaker
	// think again, in mid-failover. The promotion waits for them, too.
	c.Spare = 0
	if f.UnservedFor < AnswerPatience && f.Self.Scored && Promotable(c).OK {
		return f.Self.Score, verdict.Why
	}
	return Minus, verdict.Why
}

// AnswerPatience is how long the members of a quorum may take to say how far they
// have WAL, before none of them counts as promotable.
const AnswerPatience = 5 * time.Second

// CatchUpPatience is how long a candidate may get nothing from the one that has
// more, before it leaves the promotion to others.
const CatchUpPatience = 5 * time.Second

// caughtUp is the candidate when it has got what others have.
func caughtUp(c Candidate) Candidate {
	for _, at := range c.Positions {
		c.Received = max(c.Received, at)
	}
	return c
}

// quorumSuccessor is the best of the peers that could be promoted at once, of which
// there have to be enough to be compared.
func quorumSuccessor(c Candidate) string {
	best, ready := Membership{}, 0
	for _, p := range c.Peers {
		if p.Online && p.InSync == c.Epoch.Number && p.Scored && p.Score > 0 {
			ready++
			if p.Score > best.Score {
				best = p
			}
		}
	}
	if ready <= c.Spare {
		return ""
	}
	return best.Node
}

// Allowance is how long a primary has known how many standbys are spared on record.
// The zero value knows nothing.
type Allowance struct {
	spare int
	since time.Time
}

// Read notes what is on record.
func (a *Allowance) Read(now time.Time, spare int) {
	if spare != a.spare || a.since.IsZero() {
		a.spare, a.since = spare, now
	}
}

// Writing is called before the record is changed here: until it is read again it is
// not known.
func (a *Allowance) Writing() { a.since = time.Time{} }

// For is how long the record has been known.
func (a *Allowance) For(now time.Time) time.Duration {
	if a.since.IsZero() {
		return 0
	}
	return now.Sub(a.since)
}
