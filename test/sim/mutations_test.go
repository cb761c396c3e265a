package sim

import (
	"slices"
	"testing"
	"time"

	"pgtwin/internal/ha"
)

// mutation is a broken rule and the invariant that notices it.
type mutation struct {
	name     string
	broken   string
	config   string
	breaks   func(*core)
	schedule func(Config, uint64) []Fault // nil: the usual one
}

// mutations are rules of package ha, and of the order of steps around it, each
// broken in one way. Not in the list, because another rule prevents the
// accident, too: Promotable without its rules on quorum and unclean peers
// (Pacemaker orders no promotion then), CheckPublish skipped (the commits of an
// unclean peer are waited for all the same), Highest ignored (the recorded
// timeline is the same number), records of an earlier epoch taken for current
// ones (a promotion overwrites all of them), a crashed primary not rewound (as
// a standby it is found to have diverged), a stale standby started although no
// primary answers (it is not promotable).
func mutations() []mutation {
	return []mutation{
		{"commits stop waiting before the loss is recorded", "3", "two-sync", both(deciding(relaxFirst), blind), nil},
		{"an unclean peer is taken for a dead one", "3", "two-sync", both(facts(unseenUnclean), blind), nil},
		{"a record is trusted at once by the other side", "3", "two-sync", facts(func(f *ha.Facts) { eachStandby(f, trustRecord) }), atTheMomentOfALoss},
		{"a standby is complete as soon as it streams", "3", "two-sync", deciding(completeAtOnce), nil},
		{"a standby is complete before it has flushed all", "3", "two-sync", facts(func(f *ha.Facts) { eachStandby(f, flushedEnough) }), nil},
		{"a standby is complete although it is behind", "3", "two-sync", facts(func(f *ha.Facts) { eachStandby(f, flushedAll) }), nil},
		{"commits wait for nobody", "liveness", "two-sync", deciding(requireNobody), nil},
		{"with three hosts, the loss of one releases both", "3", "three-sync", both(deciding(relaxAll), blind), nil},
		{"without quorum and with unclean peers commits go on", "3", "three-sync", both(facts(unseenUnclean), facts(func(f *ha.Facts) { f.Quorate = true }), unchecked), nil},

		{"commits stop waiting on a view of the cluster that is long out of date", "3", "two-sync", blind, withoutAView},
		{"with three hosts, one that is fenced is released at once", "3", "three-sync", both(facts(forgetsThird), blind), oneAfterTheOther},

		{"a promotion is not recorded", "4", "two-sync", func(c *core) { c.recordNever = true }, nil},
		{"a promotion is recorded when it has happened", "4", "two-sync", func(c *core) { c.recordLate = true }, nil},
		{"a promotion keeps the number of the epoch", "4", "two-sync", promoting(func(p *ha.Promotion, c ha.Candidate) { p.Epoch.Number = max(1, c.Epoch.Number) }), nil},
		{"a promotion leaves the others complete", "3", "two-sync", promoting(othersComplete), nil},
		{"a promotion takes a later switch for its own", "4", "two-sync", promoting(func(p *ha.Promotion, _ ha.Candidate) { p.Epoch.Switch++ }), nil},
		{"PostgreSQL chooses the timeline", "4", "two-sync", func(c *core) { c.noMarkers = true }, nil},
		{"the other hosts need not know of a promotion", "3", "two-sync", func(c *core) { c.unspread = true }, duringAMove},
		{"a promotion takes effect that others with a quorum do not know of", "3", "three-sync", func(c *core) { c.few = true }, theLastButOneLeaves},
		{"a promotion that was begun is begun again", "4", "two-sync", promoting(afresh), duringAPromotion},
		{"a record outvotes nothing", "3", "two-sync", func(c *core) { c.unranked = true }, nil},
		{"a promotion that failed outvotes one of the same number that took effect", "3", "two-sync", func(c *core) { c.unknown = true }, afterAFailedMove},
		{"who is shown as required is taken for waited for", "3", "two-sync", func(c *core) { c.unproven = true }, nil},
		{"both hosts count timelines alike", "13", "two-sync-without-fencing", promoting(nextNumber), split},
		{"every standby may be promoted", "4", "two-sync", promotable(func(c *ha.Candidate) { c.Force = true }), nil},
		{"a standby that is not recorded may be promoted", "1", "two-sync", promotable(func(c *ha.Candidate) { c.Self.InSync = c.Epoch.Number }), nil},
		{"every host was the last primary", "4", "two-sync", promotable(func(c *ha.Candidate) { c.Epoch.Node = c.Self.Node }), nil},
		{"strict: commits do not wait after a promotion", "strict", "two-strict", promoting(func(p *ha.Promotion, _ ha.Candidate) { p.Required = nil }), nil},
		{"strict: commits stop waiting for a lost standby", "strict", "two-strict", facts(func(f *ha.Facts) { f.Mode = ha.Sync }), nil},

		{"quorum: too few of the standbys are compared", "1", "three-any-1", promotable(func(c *ha.Candidate) { c.Spare = max(0, c.Spare-1) }), oneOfAQuorumLags},
		{"quorum: a standby that has less than another may be promoted", "1", "three-any-1", both(promotable(ahead), content), oneOfAQuorumLags},
		{"quorum: a standby that is still reading its WAL is taken at its word", "1", "three-any-1", func(c *core) { c.unread = true }, afterAnOutage},
		{"quorum: positions from before the old primary's end are good enough", "1", "three-any-1", func(c *core) { c.unasked = true }, lagsTwice},
		{"quorum: commits are let go before it is recorded that a standby may lack them", "3", "three-any-1", both(deciding(spareFirst), blind), nil},
		{"quorum: what may be lacking is trusted at once by the other side", "3", "three-any-1", both(facts(func(f *ha.Facts) { f.SpareFor = time.Hour }), blind), whenOneReturns},
		{"quorum: nobody may lack a commit as soon as that is so for new ones", "3", "three-any-1", deciding(noneSparedAtOnce), oneOfAQuorumLags},

		{"an empty host founds the cluster again", "4", "two-sync", rejoining(foundAgain), nil},
		{"a rewind leaves no marker", "15", "two-sync", func(c *core) { c.unmarked = true }, nil},
		{"a marked directory is started", "15", "two-sync", rejoining(startMarked), nil},
		{"diverged data are started, always", "liveness", "two-sync", rejoining(neverRewind), nil},
		{"a standby does not follow the new primary", "liveness", "three-sync", deciding(without(ha.Follow)), nil},
		{"a dead server is not reported", "liveness", "two-sync", both(deciding(without(ha.Yield)), deciding(without(ha.Fail))), nil},
	}
}

func TestMutations(t *testing.T) {
	for _, m := range mutations() {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			m.hunt(t)
		})
	}
}

// enough is within how many runs a mutation has to be noticed.
const enough = 3000

func (m mutation) hunt(t *testing.T) {
	c := realCore()
	m.breaks(&c)
	cfg := configured(m.config)
	schedule := m.schedule
	if schedule == nil {
		schedule = Schedule
	}
	for seed := uint64(1); seed <= enough; seed++ {
		v := simulate(Run{cfg, seed, schedule(cfg, seed)}, c, false).Violation
		if v == nil {
			continue
		}
		if v.Invariant != m.broken {
			t.Errorf("noticed by %v, expected invariant %s", v, m.broken)
		}
		t.Logf("seed %d: %v", seed, v)
		return
	}
	t.Errorf("not noticed in %d runs", enough)
}

// The ways to break a rule.

func both(breaks ...func(*core)) func(*core) {
	return func(c *core) {
		for _, do := range breaks {
			do(c)
		}
	}
}

func facts(change func(*ha.Facts)) func(*core) {
	return func(c *core) {
		decide := c.decide
		c.decide = func(f ha.Facts) []ha.Action { change(&f); return decide(f) }
	}
}

func deciding(change func(ha.Facts, []ha.Action) []ha.Action) func(*core) {
	return func(c *core) {
		decide := c.decide
		c.decide = func(f ha.Facts) []ha.Action { return change(f, decide(f)) }
	}
}

func promoting(change func(*ha.Promotion, ha.Candidate)) func(*core) {
	return func(c *core) {
		c.next = func(candidate ha.Candidate, mode ha.Mode) ha.Promotion {
			p := ha.NextPromotion(candidate, mode)
			change(&p, candidate)
			return p
		}
	}
}

// promotable breaks the question wherever it is asked: for the score, too.
func promotable(change func(*ha.Candidate)) func(*core) {
	return func(c *core) {
		c.promotable = func(candidate ha.Candidate) ha.Verdict {
			change(&candidate)
			return ha.Promotable(candidate)
		}
		c.decide = func(f ha.Facts) []ha.Action {
			if f.Role == ha.Standby {
				change(&f.Candidate)
			}
			return ha.Decide(f)
		}
	}
}

func rejoining(change func(ha.Arrival, ha.Plan) ha.Course) func(*core) {
	return func(c *core) {
		c.rejoin = func(a ha.Arrival) ha.Plan {
			p := ha.Rejoin(a)
			p.Course = change(a, p)
			return p
		}
	}
}

func unchecked(c *core) {
	c.check = func(ha.Action, ha.Candidate) error { return nil }
	blind(c)
}

// blind is with every broken rule of relaxing: the look before it would prevent
// the accident, too.
func blind(c *core) { c.blind = true }

// forgetsThird releases a standby whose host is down at once, as if no other
// host could have the old record.
func forgetsThird(f *ha.Facts) {
	for i, p := range f.Peers {
		if !p.Online && !p.Unclean {
			for j := range f.Standbys {
				if f.Standbys[j].Node == f.Peers[i].Node {
					f.Standbys[j].BehindFor = time.Hour
				}
			}
		}
	}
}

// The broken rules.

func relaxFirst(f ha.Facts, actions []ha.Action) []ha.Action {
	for i, a := range actions {
		if a.Verb == ha.Publish && a.Number == 0 {
			left := slices.DeleteFunc(slices.Clone(f.Required), func(n string) bool { return n == a.Node })
			return slices.Insert(actions, i, ha.Action{Verb: ha.Require, Nodes: left})
		}
	}
	return actions
}

func relaxAll(f ha.Facts, actions []ha.Action) []ha.Action {
	for i, a := range actions {
		if a.Verb == ha.Require && len(a.Nodes) < len(f.Required) {
			actions[i].Nodes = nil
		}
	}
	return actions
}

func requireNobody(_ ha.Facts, actions []ha.Action) []ha.Action {
	for i := range actions {
		if actions[i].Verb == ha.Require {
			actions[i].Nodes = nil
		}
	}
	return actions
}

func completeAtOnce(f ha.Facts, actions []ha.Action) []ha.Action {
	for _, p := range f.Peers {
		for _, s := range f.Standbys {
			if s.Node == p.Node && s.Streaming && p.InSync != f.Epoch.Number && f.Epoch.Node == f.Self.Node {
				actions = slices.Insert(actions, 0, ha.Action{Verb: ha.Publish, Node: p.Node, Number: f.Epoch.Number})
			}
		}
	}
	return actions
}

func without(verb ha.Verb) func(ha.Facts, []ha.Action) []ha.Action {
	return func(_ ha.Facts, actions []ha.Action) []ha.Action {
		return slices.DeleteFunc(actions, func(a ha.Action) bool { return a.Verb == verb })
	}
}

func unseenUnclean(f *ha.Facts) {
	for i := range f.Peers {
		f.Peers[i].Unclean = false
	}
}

func eachStandby(f *ha.Facts, change func(*ha.Facts, *ha.Follower)) {
	for i := range f.Standbys {
		change(f, &f.Standbys[i])
	}
}

func trustRecord(_ *ha.Facts, s *ha.Follower) { s.BehindFor = time.Hour }

func flushedEnough(_ *ha.Facts, s *ha.Follower) { s.GrownAt = min(s.GrownAt, 1) }

func flushedAll(f *ha.Facts, s *ha.Follower) { s.Flushed, s.Waited, s.GrownAt = f.Position, true, 1 }

func othersComplete(p *ha.Promotion, _ ha.Candidate) {
	for node := range p.InSync {
		p.InSync[node] = p.Epoch.Number
	}
}

func afresh(p *ha.Promotion, c ha.Candidate) {
	if ha.Unfinished(c) {
		c.Known = c.Epoch
		*p = ha.NextPromotion(c, ha.Sync)
	}
}

func nextNumber(p *ha.Promotion, c ha.Candidate) {
	p.Epoch.Timeline, p.Reserved = ha.NextTimeline(c.History.Timeline, c.Epoch.Highest, 0, 1)
	p.Epoch.Highest = p.Epoch.Timeline
}

// ahead forgets the positions of those that have more.
func ahead(c *ha.Candidate) {
	for node, at := range c.Positions {
		c.Positions[node] = min(at, c.Received)
	}
}

// content is a candidate that gets nothing from the others.
func content(c *core) { c.ahead = func(ha.Candidate) string { return "" } }

func spareFirst(f ha.Facts, actions []ha.Action) []ha.Action {
	for i, a := range actions {
		if a.Verb == ha.Spare && a.Number > f.Spare {
			return slices.Insert(actions, i, ha.Action{Verb: ha.Require, Nodes: f.Required, Number: a.Number})
		}
	}
	return actions
}

func noneSparedAtOnce(f ha.Facts, actions []ha.Action) []ha.Action {
	if f.Role == ha.Primary && f.Spare > 0 && f.Spared == 0 && len(f.Required) <= f.Quorum {
		return append(actions, ha.Action{Verb: ha.Spare})
	}
	return actions
}

func foundAgain(a ha.Arrival, p ha.Plan) ha.Course {
	if p.Course == ha.Wait && !a.Data && a.Epoch.Number > 0 {
		return ha.Bootstrap
	}
	return p.Course
}

func neverRewind(a ha.Arrival, p ha.Plan) ha.Course {
	if p.Course == ha.Rewind {
		return ha.Start
	}
	return p.Course
}

func startMarked(a ha.Arrival, p ha.Plan) ha.Course {
	if a.Data && a.Unsound {
		return ha.Start
	}
	return p.Course
}
