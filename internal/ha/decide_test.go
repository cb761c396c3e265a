package ha

import (
	"slices"
	"testing"
	"time"
)

const system = 7412345678901234567

// primaryFacts is a primary h1 with a standby h2 in good order; each case
// states only how it differs.
func primaryFacts(changes ...func(*Facts)) Facts {
	f := Facts{
		Candidate: Candidate{
			Self:    Membership{Node: "h1", ID: 1, Online: true, InSync: 7, Score: PrimaryScore, Scored: true},
			Peers:   []Membership{{Node: "h2", ID: 2, Online: true, InSync: 7, Score: EligibleScore, Scored: true}},
			Quorate: true, Fencing: true,
			Epoch:   Epoch{Number: 7, System: system, Timeline: 9, Highest: 9, Switch: 0x3000060, Node: "h1"},
			Role:    Primary,
			System:  system,
			History: History{Timeline: 9, Parents: []Switch{{1, 0x3000060}}},
		},
		WasPrimary: true, Mode: Sync, SyncTimeout: 10 * time.Second, MaxLag: 1 << 20, HasData: true,
		Position: 0x9000000,
		Required: []string{"h2"},
		Standbys: []Follower{{Node: "h2", Streaming: true, Waited: true, Flushed: 0x9000000, GrownAt: 0x5000000}},
	}
	for _, change := range changes {
		change(&f)
	}
	return f
}

// standbyFacts is the standby h2 of the same cluster.
func standbyFacts(changes ...func(*Facts)) Facts {
	f := primaryFacts()
	f.Self, f.Peers = f.Peers[0], []Membership{f.Self}
	f.Role, f.Replayed, f.Upstream, f.Required, f.Standbys = Standby, 0x9000000, "h1", nil, nil
	for _, change := range changes {
		change(&f)
	}
	return f
}

// downFacts is h1 after the death of its server.
func downFacts(changes ...func(*Facts)) Facts {
	f := primaryFacts()
	f.Role, f.Died, f.WasPrimary = Down, true, true
	for _, change := range changes {
		change(&f)
	}
	return f
}

// hungFacts is h1 while its server does not answer.
func hungFacts(d time.Duration, changes ...func(*Facts)) Facts {
	f := primaryFacts(changes...)
	f.Role, f.HungFor = Unknown, d
	return f
}

func stalled(d time.Duration) func(*Facts) { return func(f *Facts) { f.StalledFor = d } }

// forgotten is a later promotion of a node that this host has seen and that is not on record.
func forgotten(node string) func(*Facts) {
	return func(f *Facts) { f.Known = f.Epoch; f.Known.Number, f.Known.Node = 8, node }
}

// third is another host without a database of its own.
func third(f *Facts) {
	f.Peers = append(f.Peers, Membership{Node: "h3", ID: 3, Online: true})
	f.Standbys = append(f.Standbys, Follower{Node: "h3"})
}

func lost(d time.Duration) func(*Facts) {
	return func(f *Facts) { f.Standbys = []Follower{{Node: "h2", LostFor: d, BehindFor: d}} }
}
func behind(f *Facts)     { f.Peers[0].InSync = 0 }
func notWaited(f *Facts)  { f.Required = nil }
func noQuorum(f *Facts)   { f.Quorate = false }
func noFencing(f *Facts)  { f.Fencing = false }
func async(f *Facts)      { f.Mode, f.Required = Async, nil }
func strict(f *Facts)     { f.Mode = Strict }
func unrecorded(f *Facts) { f.Epoch, f.Self.InSync, f.Founder = Epoch{}, 0, true }
func doubtful(f *Facts)   { f.Standbys[0].Doubtful = true }
func leaving(f *Facts)    { f.Standbys[0].Leaving = true }
func unclean(f *Facts)    { f.Peers[0].Online, f.Peers[0].Unclean = false, true }
func fenced(f *Facts)     { f.Peers[0].Online = false }
func otherEpoch(f *Facts) { f.Epoch.Number, f.Epoch.Node, f.Epoch.Timeline = 8, "h2", 10 }

func verbs(actions []Action) []Verb {
	var all []Verb
	for _, a := range actions {
		all = append(all, a.Verb)
	}
	return all
}

func TestDecide(t *testing.T) {
	tests := []struct {
		name  string
		facts Facts
		want  []Verb
	}{
		{"a primary with its standby has nothing to do", primaryFacts(), nil},
		{"a primary without a score gets one", primaryFacts(func(f *Facts) { f.Self.Scored = false }), []Verb{SetScore}},
		{"a primary that another promotion has overtaken stops at once", primaryFacts(otherEpoch), []Verb{Halt}},
		{"a primary whose record was replaced by an older one restores it", primaryFacts(forgotten("h1")), []Verb{Restore}},
		{"so it does where no record is left", primaryFacts(forgotten("h1"), func(f *Facts) { f.Epoch = Epoch{} }), []Verb{Restore}},
		{"so it does as a standby after a restart", standbyFacts(forgotten("h2")), []Verb{Restore}},
		{"but not without quorum", primaryFacts(forgotten("h1"), noQuorum), nil},
		{"nor from what is left of another database", primaryFacts(forgotten("h1"), func(f *Facts) { f.Known.System = 1 }), nil},
		{"nor before the database has said which it is", downFacts(forgotten("h1"), func(f *Facts) { f.System, f.Died, f.Self.Score = 0, false, Minus }), nil},
		{"a primary that knows of another's later promotion stops, whatever is on record", primaryFacts(forgotten("h2")), []Verb{Halt}},
		{"a primary decides nothing before its epoch is recorded", primaryFacts(func(f *Facts) { f.Epoch = Epoch{} }), nil},

		{"a standby just lost: commits wait", primaryFacts(lost(time.Second)), nil},
		{"a standby lost for long: published before anything is relaxed", primaryFacts(lost(11 * time.Second)), []Verb{Publish}},
		{"a record that it is complete may yet come: first one above it", primaryFacts(lost(11*time.Second), behind, doubtful), []Verb{Publish}},
		{"so it does where the standby has taken its leave", primaryFacts(leaving, behind, doubtful), []Verb{Publish}},
		{"and nothing while that is not safe", primaryFacts(lost(11*time.Second), behind, doubtful, unclean), nil},
		{"it streams again: the record is repeated", primaryFacts(behind, doubtful), []Verb{Publish}},
		{"published: now commits stop waiting", primaryFacts(lost(11*time.Second), behind), []Verb{Require}},
		{"published a moment ago: the hosts may have lost sight of each other just then", primaryFacts(lost(11*time.Second), behind, func(f *Facts) {
			f.Standbys[0].BehindFor = time.Second
		}), nil},
		{"published and fenced: commits stop waiting at once", primaryFacts(lost(time.Second), behind, fenced), []Verb{Require}},
		{"published and fenced, but a third host may not know it yet", primaryFacts(lost(time.Second), behind, fenced, third), nil},
		{"a fenced standby is published at once", primaryFacts(lost(time.Second), fenced), []Verb{Publish}},
		{"an unclean standby: commits wait however long it takes", primaryFacts(lost(time.Hour), unclean), nil},
		{"an unclean standby, already published: commits wait all the same", primaryFacts(lost(time.Hour), unclean, behind), nil},
		{"an unclean standby without fencing: the timeout alone", primaryFacts(lost(11*time.Second), unclean, noFencing), []Verb{Publish}},
		{"without quorum nothing is published", primaryFacts(lost(time.Hour), noQuorum), nil},
		{"without quorum nothing is relaxed", primaryFacts(lost(time.Hour), behind, noQuorum), nil},

		{"a standby that streams again is required first", primaryFacts(behind, notWaited), []Verb{Require}},
		{"a standby far behind is not waited for yet", primaryFacts(behind, notWaited, func(f *Facts) { f.Standbys[0].Flushed = 1 }), nil},
		{"required and flushed: published as complete", primaryFacts(behind), []Verb{Publish}},
		{"required, but not flushed so far", primaryFacts(behind, func(f *Facts) { f.Standbys[0].Flushed = 0x4000000 }), nil},
		{"required, but PostgreSQL does not wait for it yet", primaryFacts(behind, func(f *Facts) { f.Standbys[0].Waited = false }), nil},
		{"recorded as complete, but not waited for: required again", primaryFacts(notWaited), []Verb{Require}},
		{"a standby that says goodbye is released at once", primaryFacts(behind, leaving), []Verb{Require}},
		{"a standby that says goodbye is not taken in again", primaryFacts(behind, notWaited, leaving), nil},
		{"a name that is no peer is not waited for", primaryFacts(func(f *Facts) { f.Required = []string{"h2", "h9"} }), []Verb{Require}},

		{"strict: a standby lost for long: commits wait", primaryFacts(strict, lost(time.Hour)), nil},
		{"strict: a fenced standby: commits wait", primaryFacts(strict, lost(time.Hour), fenced), nil},
		{"strict: a standby that is behind and lost: commits wait", primaryFacts(strict, lost(time.Hour), behind), nil},
		{"strict: a standby is waited for before it ever streamed", primaryFacts(strict, lost(time.Hour), behind, notWaited), []Verb{Require}},
		{"strict: required and flushed: published as complete", primaryFacts(strict, behind), []Verb{Publish}},

		{"async: nobody is waited for", primaryFacts(async, func(f *Facts) { f.Required = []string{"h2"} }), []Verb{Require}},
		{"async: a standby too far behind is not promotable", primaryFacts(async, func(f *Facts) { f.Standbys[0].Flushed = 1 }), []Verb{Publish}},
		{"async: a standby that is near again is promotable", primaryFacts(async, behind), []Verb{Publish}},

		{"a primary whose disk hangs for a moment", primaryFacts(stalled(9 * time.Second)), nil},
		{"a primary whose disk hangs yields to a complete standby", primaryFacts(stalled(10 * time.Second)), []Verb{Yield}},
		{"so it does when it has lost its score for that", primaryFacts(stalled(11*time.Second), func(f *Facts) { f.Self.Score, f.YieldedFor = Minus, time.Second }), []Verb{Yield}},
		{"a primary whose disk hangs, without a successor, stays", primaryFacts(stalled(time.Hour), behind, notWaited, lost(time.Second)), nil},
		{"a primary that does not answer: nothing is concluded", hungFacts(9 * time.Second), nil},
		{"a primary that has hung for long yields to a complete standby", hungFacts(10 * time.Second), []Verb{Yield}},
		{"a primary that has hung for long, without a successor, stays", hungFacts(time.Hour, behind), nil},
		{"a standby that hangs concerns nobody", hungFacts(time.Hour, func(f *Facts) { f.WasPrimary = false }), nil},
		{"a primary that hangs and yielded in vain stays", hungFacts(time.Hour, func(f *Facts) { f.YieldedFor = time.Minute }), nil},

		{"a standby with its score has nothing to do", standbyFacts(), nil},
		{"a standby that is behind may not be promoted", standbyFacts(func(f *Facts) { f.Self.InSync = 0 }), []Verb{SetScore}},
		{"data of a primary without a record claim the role", standbyFacts(unrecorded), []Verb{SetScore}},
		{"a standby follows the new primary", standbyFacts(func(f *Facts) { f.Upstream = "h3" }), []Verb{Follow}},
		{"a standby that does not get onto the primary's history is brought back", standbyFacts(func(f *Facts) {
			f.History, f.DivergedFor = History{Timeline: 1}, 6*time.Second
		}), []Verb{SetScore, Fail}},

		{"a dead primary yields to a complete standby", downFacts(), []Verb{Yield}},
		{"a dead primary without one is reported", downFacts(behind), []Verb{Fail}},
		{"a dead primary whose standby has no score yet is reported", downFacts(func(f *Facts) { f.Peers[0].Score = Minus }), []Verb{Fail}},
		{"a dead primary nobody took over from is reported", downFacts(func(f *Facts) { f.YieldedFor = time.Minute }), []Verb{Fail}},
		{"a dead standby is reported", downFacts(func(f *Facts) { f.WasPrimary = false }), []Verb{Fail}},
		{"so is one that somebody promoted beside the primary", downFacts(func(f *Facts) { f.Epoch.Node = "h2" }), []Verb{Fail}},
		{"an ordered stop is no death", downFacts(func(f *Facts) { f.Died, f.Self.Score = false, Minus }), nil},
		{"unknown: nothing is concluded", primaryFacts(lost(time.Hour), behind, func(f *Facts) { f.Role = Unknown }), nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := Decide(tt.facts)
			if !slices.Equal(verbs(got), tt.want) {
				t.Errorf("Decide = %+v; want %v", got, tt.want)
			}
			for _, a := range got {
				if a.Why == "" {
					t.Errorf("%s has no reason", a.Verb)
				}
			}
		})
	}
}

func TestTheDeadLastPrimaryIsStillPromotableWhileItWaits(t *testing.T) {
	waiting := func(f *Facts) { f.Died, f.Waiting, f.Self.Score = false, true, Minus }
	if got := Decide(downFacts(waiting)); len(got) != 0 {
		t.Errorf("a successor is there: Decide = %+v", got)
	}
	got := Decide(downFacts(waiting, func(f *Facts) { f.Peers[0].Score = Minus }))
	if len(got) != 1 || got[0].Verb != SetScore || got[0].Number != HolderScore {
		t.Errorf("Decide = %+v; want the score %d", got, HolderScore)
	}
}

func TestPromotable(t *testing.T) {
	candidate := func(changes ...func(*Facts)) Candidate {
		return standbyFacts(append([]func(*Facts){func(f *Facts) { f.Peers[0].Online = false }}, changes...)...).Candidate
	}
	tests := []struct {
		name string
		c    Candidate
		want bool
	}{
		{"recorded as complete", candidate(), true},
		{"recorded as behind", candidate(func(f *Facts) { f.Self.InSync = 0 }), false},
		{"complete in an earlier epoch", candidate(func(f *Facts) { f.Self.InSync = 6 }), false},
		{"complete by an old record, but a later promotion is known", candidate(forgotten("h1")), false},
		{"so it is, but the administrator decides", candidate(forgotten("h1"), func(f *Facts) { f.Force = true }), true},
		{"behind, but the administrator decides", candidate(func(f *Facts) { f.Self.InSync, f.Force = 0, true }), true},
		{"no quorum", candidate(noQuorum), false},
		{"no quorum, forced", candidate(noQuorum, func(f *Facts) { f.Force = true }), false},
		{"the primary is neither member nor fenced", candidate(unclean), false},
		{"the same without fencing", candidate(unclean, noFencing), true},
		{"half rewound", candidate(func(f *Facts) { f.Unsound = true }), false},
		{"half rewound, forced", candidate(func(f *Facts) { f.Unsound, f.Force = true, true }), false},
		{"another cluster's data", candidate(func(f *Facts) { f.System = 1 }), false},
		{"a history without the recorded promotion", candidate(func(f *Facts) { f.History = History{Timeline: 11, Parents: []Switch{{1, 0x2000000}}} }), false},
		{"a later timeline of the recorded history", candidate(func(f *Facts) { f.History = History{Timeline: 11, Parents: []Switch{{1, 0x3000060}, {9, 0x8000000}}} }), true},
		{"nothing recorded yet, the data of a primary", candidate(unrecorded), true},
		{"nothing recorded yet, the data of a standby", candidate(unrecorded, func(f *Facts) { f.Founder = false }), false},
		{"nothing recorded yet, the data of a standby, forced", candidate(unrecorded, func(f *Facts) { f.Founder, f.Force = false, true }), true},
		{"nothing recorded yet, two hosts with the data of a primary", candidate(unrecorded, func(f *Facts) {
			f.Peers[0].Online, f.Peers[0].Score = true, AdoptScore
		}), false},
		{"the last primary itself", candidate(func(f *Facts) { f.Epoch.Node, f.Self.InSync = "h2", 0 }), true},
		{"the last primary, whose recorded promotion did not take effect", candidate(func(f *Facts) {
			f.Epoch.Node, f.Self.InSync, f.History = "h2", 0, History{Timeline: 1}
		}), true},
		{"the last primary, restored from an old copy", candidate(func(f *Facts) {
			f.Epoch.Node, f.History, f.Replayed = "h2", History{Timeline: 1}, 0x2000000
		}), false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := Promotable(tt.c); got.OK != tt.want || got.Why == "" {
				t.Errorf("Promotable = %+v; want %t", got, tt.want)
			}
		})
	}
}
