package ha

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func blind(f *Facts) { f.Blind = true }
func held(f *Facts) {
	f.Held, f.Repairable, f.Receiving, f.Outage.Limit = "max_connections is 100 here and 300 on the primary", true, true, 3
}
func unserved(f *Facts)  { f.Receiving = false }
func notInSync(f *Facts) { f.Self.InSync = 0 }

// What is not seen is not acted on, and what is held is not promoted.
func TestDecideOnWhatIsNotSeenOrHeld(t *testing.T) {
	refused := func(f *Facts) { f.Self.Score = Minus }
	tests := []struct {
		name  string
		facts Facts
		want  []Verb
	}{
		{"a blind primary has nothing to do", primaryFacts(blind), nil},
		{"a blind primary keeps its score", primaryFacts(blind, func(f *Facts) { f.Self.Scored = false }), []Verb{SetScore}},
		{"a blind primary that another promotion has overtaken stops at once", primaryFacts(blind, otherEpoch), []Verb{Halt}},
		{"a blind primary records no standby as behind", primaryFacts(blind, lost(time.Hour)), nil},
		{"a blind primary lets no commit go", primaryFacts(blind, lost(time.Hour), behind), nil},
		{"a blind primary requires nobody", primaryFacts(blind, notWaited), nil},
		{"a blind primary yields to nobody", primaryFacts(blind, func(f *Facts) { f.HungFor = time.Hour }), nil},
		{"with rep_mode=async neither", primaryFacts(blind, async, lost(time.Hour)), nil},
		{"a blind standby stays eligible", standbyFacts(blind), nil},
		{"a blind standby follows a new primary", standbyFacts(blind, func(f *Facts) { f.Upstream = "h3" }), []Verb{Follow}},
		{"a blind standby is not repaired", standbyFacts(blind, unserved, func(f *Facts) { f.DivergedFor = time.Minute }), nil},

		{"a held standby declares itself behind, and is not promotable", standbyFacts(held), []Verb{SetScore, Leave}},
		{"then it is started anew", standbyFacts(held, refused, notInSync), []Verb{Fail}},
		{"with its primary lost, its record stands", standbyFacts(held, refused, unserved), []Verb{Fail}},
		{"without quorum too", standbyFacts(held, refused, noQuorum), []Verb{Fail}},
		{"in strict mode commits wait for its return", standbyFacts(held, refused, strict), []Verb{Fail}},
		{"it is not started anew for ever", standbyFacts(held, refused, notInSync, func(f *Facts) { f.Outage.Restarts = 3 }), nil},
		{"what a start does not lift is not started anew", standbyFacts(held, refused, notInSync, func(f *Facts) { f.Repairable = false }), nil},
		{"one of a quorum neither", standbyFacts(held, func(f *Facts) { f.Spare = 1 }), []Verb{SetScore, Leave}},
		{"held data of a primary claim no promotion while none is recorded", standbyFacts(held, unrecorded), []Verb{SetScore, Fail}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := Decide(tt.facts)
			if !slices.Equal(verbs(got), tt.want) {
				t.Errorf("Decide = %+v; want %v", got, tt.want)
			}
			for _, a := range got {
				if a.Verb == SetScore && tt.facts.Held != "" && a.Number != Minus {
					t.Errorf("a held standby gets the score %d", a.Number)
				}
			}
		})
	}
}

func TestAHeldStandbyIsNotPromotable(t *testing.T) {
	lone := func(f *Facts) { f.Peers[0].Online = false }
	forced := func(f *Facts) { f.Force = true }
	for name, change := range map[string]func(*Facts){"recorded as complete": lone, "and the administrator accepts a loss": forced} {
		v := Promotable(standbyFacts(lone, held, change).Candidate)
		if v.OK || !strings.Contains(v.Why, "max_connections is 100 here") {
			t.Errorf("%s: %+v", name, v)
		}
	}
}

func TestAPromotionByHandIsSaidToBeOne(t *testing.T) {
	byHand := func(f *Facts) {
		otherEpoch(f)
		f.Epoch.Switch = 0x8000000
		f.History = History{Timeline: 11, Parents: []Switch{{1, 0x3000060}, {9, 0x8000000}, {10, 0x9000000}}}
	}
	if a := Decide(primaryFacts(byHand)); len(a) != 1 || a[0].Verb != Halt || !strings.Contains(a[0].Why, "somebody promoted PostgreSQL here by hand, to timeline 11, while h2 is the primary (epoch 8)") {
		t.Errorf("%+v", a)
	}
	if a := Decide(primaryFacts(otherEpoch)); len(a) != 1 || strings.Contains(a[0].Why, "by hand") {
		t.Errorf("overtaken: %+v", a)
	}
}

// A standby that declares itself behind because its replay is held does not stop.
func TestAStandbyWhoseReplayIsHeldStaysBehind(t *testing.T) {
	began := time.Unix(1000, 0)
	epoch := Epoch{Number: 7}
	complete, declared := []Membership{{Node: "h2", InSync: 7}}, []Membership{{Node: "h2"}}
	at := func(flushed, replayed LSN) map[string]Sender {
		return map[string]Sender{"h2": {PID: 11, Streaming: true, Flushed: flushed, Replayed: replayed}}
	}
	var m Memory
	m.Read(began, epoch, complete, at(20, 10))
	m.Read(began.Add(time.Second), epoch, declared, at(20, 10))
	later := began.Add(time.Hour)
	if f := m.Followers(later, declared, at(30, 10), nil, 30)[0]; !f.Leaving {
		t.Errorf("an hour later, and nothing replayed: %+v", f)
	}
	if f := m.Followers(later, declared, at(30, 11), nil, 30)[0]; f.Leaving {
		t.Errorf("its replay goes on: %+v", f)
	}
}

func TestATimeInWhichNobodyLookedIsNoLoss(t *testing.T) {
	began := time.Unix(1000, 0)
	peers := []Membership{{Node: "h2", InSync: 7}}
	senders := map[string]Sender{"h2": {PID: 11, Streaming: true, Flushed: 10}}
	var m Memory
	m.Followers(began, peers, senders, nil, 10)
	m.Unseen(began.Add(time.Hour), peers)
	if f := m.Followers(began.Add(time.Hour+time.Second), peers, nil, nil, 10)[0]; f.LostFor != time.Second {
		t.Errorf("lost for %s", f.LostFor)
	}
}
