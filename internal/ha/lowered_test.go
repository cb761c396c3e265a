package ha

import (
	"slices"
	"testing"
	"time"
)

// loweredFacts is h1 as the last primary, started as a standby with hot_standby=off, beside a standby h2
// that is as complete.
func loweredFacts(lasted time.Duration, changes ...func(*Facts)) Facts {
	f := primaryFacts()
	f.Role, f.Replayed, f.Required, f.Standbys, f.WasPrimary = Standby, 0x9000000, nil, nil, false
	f.LoweredFor, f.Self.Scored = lasted, false
	for _, change := range changes {
		change(&f)
	}
	return f
}

func promotedPeer(f *Facts) {
	f.Epoch = Epoch{Number: 8, System: system, Timeline: 10, Highest: 10, Switch: 0x9000000, Node: "h2"}
	f.Peers[0].InSync, f.Peers[0].Score = 8, PrimaryScore
}

func TestAStandbyWithoutSessionsIsPromotedOrComesBack(t *testing.T) {
	fails := func(f Facts) bool {
		return slices.ContainsFunc(Decide(f), func(a Action) bool { return a.Verb == Fail })
	}
	// It is preferred to a peer that is equally complete.
	if got := Decide(loweredFacts(time.Second)); len(got) != 1 || got[0].Verb != SetScore || got[0].Number <= EligibleScore || got[0].Number >= PrimaryScore {
		t.Errorf("%+v", got)
	}
	for _, c := range []struct {
		name  string
		facts Facts
		fails bool
	}{
		{"it waits for its promotion", loweredFacts(time.Second), false},
		{"another host was promoted", loweredFacts(time.Second, promotedPeer), true},
		{"another host's promotion is recorded and not in effect yet", loweredFacts(time.Second, promotedPeer, func(f *Facts) { f.Peers[0].Score = EligibleScore }), false},
		{"it was chosen because the last primary is down", loweredFacts(time.Second, promotedPeer, func(f *Facts) { f.Peers[0].Online = false }), false},
		{"nobody is promoted for long", loweredFacts(LoweredPatience), true},
		{"a standby with sessions", loweredFacts(0, promotedPeer), false},
		{"it has been promoted", loweredFacts(LoweredPatience, func(f *Facts) { f.Role = Primary }), false},
	} {
		if got := fails(c.facts); got != c.fails {
			t.Errorf("%s: fails %v: %+v", c.name, got, Decide(c.facts))
		}
	}
	// A failover is never held up: the dead primary yields to the peer as ever, whatever it would start as.
	dead := downFacts(func(f *Facts) { f.LoweredFor = time.Second })
	if got := Decide(dead); got[0].Verb != Yield {
		t.Errorf("%+v", got)
	}
	// Incomplete it is not promotable, hot standby or not.
	behind := loweredFacts(time.Second, func(f *Facts) { f.Quorate = false })
	if got := Decide(behind); len(got) == 0 || got[0].Number != Minus {
		t.Errorf("%+v", got)
	}
}

// Stopped and started, the two hosts are equally complete: the one that puts lowered settings into use is to be promoted.
func TestAStandbyLeavesThePromotionToTheLastPrimaryThatLowersSettings(t *testing.T) {
	together := func(f *Facts) {
		f.Receiving, f.RaisedFor, f.Self.Scored = false, time.Second, false
		f.Peers[0].Score = Minus
	}
	for _, c := range []struct {
		name  string
		facts Facts
		score int
	}{
		{"both start", standbyFacts(together), Minus},
		{"the last primary has no score yet", standbyFacts(together, func(f *Facts) { f.Peers[0].Scored = false }), Minus},
		{"nothing is lowered", standbyFacts(together, func(f *Facts) { f.RaisedFor = 0 }), EligibleScore},
		{"the last primary may be promoted", standbyFacts(together, func(f *Facts) { f.Peers[0].Score = LoweredScore }), EligibleScore},
		{"the last primary is down", standbyFacts(together, func(f *Facts) { f.Peers[0].Online = false }), EligibleScore},
		{"the last primary does not come", standbyFacts(together, func(f *Facts) { f.RaisedFor = LastPrimaryPatience }), EligibleScore},
		{"the administrator has chosen this host", standbyFacts(together, func(f *Facts) { f.Force = true }), EligibleScore},
		{"the last primary dies, with its host in order", standbyFacts(together, func(f *Facts) { f.Self.Scored, f.Self.Score = true, EligibleScore }), EligibleScore},
	} {
		if got := scoreAfter(c.facts); got != c.score {
			t.Errorf("%s: score %d, want %d: %+v", c.name, got, c.score, Decide(c.facts))
		}
	}
}

// scoreAfter is the host's score once it has done what it decided.
func scoreAfter(f Facts) int {
	for _, a := range Decide(f) {
		if a.Verb == SetScore {
			return a.Number
		}
	}
	return f.Self.Score
}
