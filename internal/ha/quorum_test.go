package ha

import (
	"strings"
	"testing"
	"time"
)

// quorumFacts is a primary h1 with two standbys, of which a commit has to be on one.
func quorumFacts(changes ...func(*Facts)) Facts {
	f := primaryFacts(third)
	f.Peers[1] = Membership{Node: "h3", ID: 3, Online: true, InSync: 7, Score: EligibleScore, Scored: true}
	f.Standbys[1] = Follower{Node: "h3", Streaming: true, Waited: true, Flushed: 0x9000000, GrownAt: 0x5000000}
	f.Required, f.Quorum, f.Spare, f.Spared, f.SpareFor = []string{"h2", "h3"}, 1, 1, 1, time.Hour
	for _, change := range changes {
		change(&f)
	}
	return f
}

func h2Lost(d time.Duration) func(*Facts) {
	return func(f *Facts) { f.Standbys[0] = Follower{Node: "h2", LostFor: d} }
}
func strictly(f *Facts)     { f.Spared = 0 }
func noneSpared(f *Facts)   { f.Spare, f.Spared = 0, 0 }
func h3Alone(f *Facts)      { behind(f); f.Required, f.Spared = []string{"h3"}, 0 }
func h2Bare(f *Facts)       { f.Standbys[0].Waited, f.Standbys[0].GrownAt = false, 0 }
func h3Late(f *Facts)       { f.Standbys[1].Flushed = 0x4000000 }
func justRecorded(f *Facts) { strictly(f); f.SpareFor = time.Second }

func TestQuorumIsKept(t *testing.T) {
	tests := []struct {
		name   string
		facts  Facts
		want   []Verb
		spared int // by the setting that is asked for, or by the record
	}{
		{"two standbys, one of which is spared", quorumFacts(), nil, 0},
		{"to spare one is recorded first", quorumFacts(noneSpared), []Verb{Spare}, 1},
		{"but not while one is lost", quorumFacts(noneSpared, h2Lost(time.Second)), nil, 0},
		{"recorded: commits do not wait for one of them any more", quorumFacts(strictly), []Verb{Require}, 1},
		{"recorded a moment ago: the other side of a split may not know", quorumFacts(justRecorded), nil, 0},
		{"recorded, but a host is unclean", quorumFacts(strictly, func(f *Facts) { f.Peers[1].Unclean = true }), nil, 0},
		{"without quorum nothing is let go", quorumFacts(strictly, noQuorum), nil, 0},
		{"the setting never spares more than is recorded", quorumFacts(func(f *Facts) { f.Spare, f.Quorum = 0, 2 }), []Verb{Require}, 0},
		{"the administrator wants all: the setting goes first", quorumFacts(func(f *Facts) { f.Quorum = 0 }), []Verb{Require}, 0},
		{"then the record", quorumFacts(strictly, func(f *Facts) { f.Quorum = 0 }), []Verb{Spare}, 0},
		{"not while one may lack what was acknowledged before", quorumFacts(strictly, h3Late, func(f *Facts) { f.Quorum = 0 }), nil, 0},
		{"nor before commits are proven to wait", quorumFacts(strictly, h2Bare, func(f *Facts) { f.Quorum = 0 }), nil, 0},
		{"so do two when there are only two to be on", quorumFacts(strictly, func(f *Facts) { f.Quorum = 2 }), []Verb{Spare}, 0},
		{"rep_mode=strict waits for all", quorumFacts(strict), []Verb{Require}, 0},
		{"rep_mode=async records nothing of the kind", quorumFacts(async, func(f *Facts) { f.Spared = 0 }), []Verb{Spare}, 0},

		{"one standby is lost: commits go on, and it is recorded in time", quorumFacts(h2Lost(time.Second)), nil, 0},
		{"in time", quorumFacts(h2Lost(7 * time.Second)), []Verb{Publish}, 0},
		{"then the other alone counts, at once, because nothing is relaxed", quorumFacts(h2Lost(7*time.Second), behind), []Verb{Require}, 0},
		{"and then it may lack nothing", quorumFacts(h2Lost(11*time.Second), h3Alone), []Verb{Spare}, 0},
		{"if it has all", quorumFacts(h2Lost(11*time.Second), h3Alone, h3Late), nil, 0},
		{"the lost one is back: it is required before it counts", quorumFacts(noneSpared, h3Alone, h2Bare), []Verb{Require}, 0},
		{"and is a member when it has flushed all", quorumFacts(noneSpared, behind), []Verb{Publish}, 0},
		{"and when the other's sender is known to go by the new setting, too", quorumFacts(noneSpared, behind, h3Late), nil, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			actions := Decide(tt.facts)
			if len(actions) != len(tt.want) {
				t.Fatalf("%+v, want %v", actions, tt.want)
			}
			for i, a := range actions {
				if a.Verb != tt.want[i] || (a.Verb == Spare || a.Verb == Require) && a.Number != tt.spared {
					t.Errorf("%+v, want %v, spared %d", a, tt.want, tt.spared)
				}
			}
		})
	}
}

// memberFacts is the standby h2 of the same cluster when h1 has ended.
func memberFacts(changes ...func(*Facts)) Facts {
	f := standbyFacts(fenced)
	f.Peers = append(f.Peers, Membership{Node: "h3", ID: 3, Online: true, InSync: 7, Score: EligibleScore, Scored: true})
	f.Spare, f.Received, f.Positions = 1, 0x9000000, map[string]LSN{"h3": 0x9000000}
	for _, change := range changes {
		change(&f)
	}
	return f
}

func h3At(at LSN) func(*Facts) { return func(f *Facts) { f.Positions["h3"] = at } }
func h3Silent(f *Facts)        { f.Positions = nil }
func served(f *Facts)          { f.Receiving, f.Peers[0].Online = true, true }

func TestAMemberOfAQuorumIsElected(t *testing.T) {
	tests := []struct {
		name  string
		facts Facts
		why   string // it is not promotable, "" if it is
		ahead string
		score int // that it gives itself
	}{
		{"as far as the other", memberFacts(), "", "", EligibleScore},
		{"further than the other", memberFacts(h3At(0x8000000)), "", "", EligibleScore},
		{"less far", memberFacts(h3At(0x9000060)), "h3 has more", "h3", LaggingScore},
		{"the other's position is not known", memberFacts(h3Silent), "2 of them have to be compared, 1 can be", "", Minus},
		{"the other is down, whatever it said before", memberFacts(func(f *Facts) { f.Peers[1].Online = false }), "1 can be", "", Minus},
		{"the other is no member", memberFacts(func(f *Facts) { f.Peers[1].InSync = 0 }), "1 can be", "", Minus},
		{"the old primary's position is no member's", memberFacts(h3Silent, func(f *Facts) { f.Peers[0].Online, f.Positions = true, map[string]LSN{"h1": 1} }), "1 can be", "", Minus},
		{"none may lack a commit: nobody is asked", memberFacts(h3Silent, func(f *Facts) { f.Spare = 0 }), "", "", EligibleScore},
		{"not a member itself", memberFacts(func(f *Facts) { f.Self.InSync = 0 }), "may be missing here", "", Minus},
		{"served by the primary, any is as good as another", memberFacts(served, h3Silent), "1 can be", "", EligibleScore},
		{"served by the primary, and slow", memberFacts(served, h3Silent, func(f *Facts) { f.Lagging = true }), "1 can be", "", LaggingScore},
		{"while the old primary is to be fenced, the comparison is made for the score", memberFacts(h3At(0x9000060), func(f *Facts) {
			f.Peers[0].Unclean = true
		}), "h1 may be running", "h3", LaggingScore},
		{"the administrator accepts a loss", memberFacts(h3Silent, func(f *Facts) { f.Force = true }), "", "", Minus},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v := Promotable(tt.facts.Candidate)
			if v.OK != (tt.why == "") || !strings.Contains(v.Why, tt.why) {
				t.Errorf("%+v, want %q", v, tt.why)
			}
			if got := Ahead(tt.facts.Candidate); got != tt.ahead {
				t.Errorf("ahead is %q, want %q", got, tt.ahead)
			}
			if tt.facts.Force {
				return
			}
			tt.facts.Self.Scored, tt.facts.UnservedFor = false, time.Hour
			if a := Decide(tt.facts); len(a) == 0 || a[0].Verb != SetScore || a[0].Number != tt.score {
				t.Errorf("%+v, want score %d", a, tt.score)
			}
		})
	}
}

func TestAScoreStaysWhileTheOthersAreAboutToAnswer(t *testing.T) {
	f := memberFacts(h3Silent)
	for after, want := range map[time.Duration]int{time.Second: 0, AnswerPatience: 1} {
		f.UnservedFor = after
		if a := Decide(f); len(a) != want {
			t.Errorf("after %s: %+v", after, a)
		}
	}
	f.UnservedFor, f.Positions = time.Second, map[string]LSN{"h3": 0x9000060}
	if a := Decide(f); len(a) != 1 || a[0].Number != LaggingScore {
		t.Errorf("answered: %+v", a)
	}
}

func TestSuccessorOfAQuorum(t *testing.T) {
	c := quorumFacts(func(f *Facts) { f.Peers[0].Score = LaggingScore }).Candidate
	if got := Successor(c); got != "h3" {
		t.Errorf("%q, want the better one", got)
	}
	c.Peers[0].Online = false
	if got := Successor(c); got != "" {
		t.Errorf("%q, and nobody to compare it with", got)
	}
}

func TestChecksOfWhatIsSpared(t *testing.T) {
	c := quorumFacts().Candidate
	tests := []struct {
		name   string
		change func(*Facts)
		number int
		ok     bool
	}{
		{"as many as are recorded", func(*Facts) {}, 1, true},
		{"more than are recorded by now", func(f *Facts) { f.Spare = 0 }, 1, false},
		{"no quorum by now", noQuorum, 1, false},
		{"a host out of sight by now", unclean, 1, false},
	}
	for _, tt := range tests {
		if err := CheckSpare(tt.number, quorumFacts(tt.change).Candidate); (err == nil) != tt.ok {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	if err := CheckAllowance(c.Epoch, c); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(*Facts){"another primary by now": otherEpoch, "no quorum by now": noQuorum} {
		if err := CheckAllowance(c.Epoch, quorumFacts(change).Candidate); err == nil {
			t.Errorf("%s: recorded", name)
		}
	}
}

func TestAllowance(t *testing.T) {
	now := time.Unix(1000, 0)
	at := func(s int) time.Time { return now.Add(time.Duration(s) * time.Second) }
	var a Allowance
	if a.For(now) != 0 {
		t.Error("known before it was read")
	}
	a.Read(at(0), 1)
	a.Read(at(3), 1)
	if got := a.For(at(5)); got != 5*time.Second {
		t.Errorf("known for %s", got)
	}
	a.Read(at(6), 0)
	if got := a.For(at(7)); got != time.Second {
		t.Errorf("changed, and known for %s", got)
	}
	a.Writing()
	if a.For(at(8)) != 0 {
		t.Error("known while it is written")
	}
}
