package ha

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// outage is the standby h2, which has received nothing for a while although h1 serves.
func outage(changes ...func(*Facts)) Facts {
	return standbyFacts(append([]func(*Facts){func(f *Facts) {
		f.Self.InSync, f.Self.Score = 0, Minus
		f.Outage = Outage{For: 6 * time.Second, Reached: f.Replayed, Limit: 5, Primary: &Upstream{
			System: system, History: f.History, Position: f.Replayed + 0x5000000, Oldest: f.Replayed - 0x1000000, Checkpointed: true}}
	}}, changes...)...)
}

func TestRepair(t *testing.T) {
	diverged := func(f *Facts) { f.History, f.DivergedFor = History{Timeline: 1}, 6*time.Second }
	removed := func(f *Facts) { f.Outage.Primary.Oldest = f.Replayed + 0x1000000 }
	reconnected := func(n int, idle time.Duration) func(*Facts) {
		return func(f *Facts) { f.Outage.Reconnects, f.Outage.Idle = n, idle }
	}
	restarted := func(n int) func(*Facts) { return func(f *Facts) { f.Outage.Restarts = n } }
	tests := []struct {
		name string
		f    Facts
		want []Verb
		says string // part of the complaint
	}{
		{"a standby that streams", standbyFacts(), nil, ""},
		{"nothing for a moment", outage(func(f *Facts) { f.Outage.For = 4 * time.Second }), nil, ""},
		{"nothing for longer: the connection is made anew", outage(), []Verb{Connect}, "nothing is received from h1"},
		{"the primary does not answer: nothing is concluded", outage(func(f *Facts) { f.Outage.Primary = nil }), nil, "h1 does not answer"},
		{"another cluster's server answers: nothing is done", outage(func(f *Facts) { f.Outage.Primary.System = 1 }), nil, "another cluster"},
		{"a repair has time to show its effect", outage(reconnected(1, 11*time.Second)), nil, "nothing is received"},
		{"it had none", outage(reconnected(1, 12*time.Second)), []Verb{Connect}, "nothing is received"},
		{"the threshold ends it", outage(reconnected(5, time.Hour)), nil, "given up after 5 repairs"},
		{"of the reconnections, not of what else may help", outage(reconnected(5, time.Hour), removed), []Verb{Replace}, "needs the WAL from"},
		{"the primary has removed the WAL: a copy", outage(removed), []Verb{Replace}, "needs the WAL from 0/9000000 on, h1 has none before 0/A000000"},
		{"it is here already, only not replayed", outage(removed, func(f *Facts) { f.Outage.Reached = f.Outage.Primary.Oldest }), []Verb{Connect}, "nothing is received"},
		{"an archive may have it", outage(removed, func(f *Facts) { f.Outage.Archive = true }), []Verb{Connect}, "nothing is received"},
		{"it is not known what the primary has", outage(func(f *Facts) { f.Outage.Primary.Oldest = 0 }), []Verb{Connect}, "nothing is received"},
		{"a copy was tried often enough", outage(removed, restarted(5)), nil, "given up after 5 repairs"},
		{"a timeline that the primary does not know", outage(func(f *Facts) { f.Outage.Primary.History.Timeline, f.Outage.Primary.History.Parents = 11, nil }), []Verb{Fail}, "not in the history"},
		{"beyond where the primary left the timeline", outage(func(f *Facts) {
			f.Outage.Primary.History = History{Timeline: 11, Parents: []Switch{{1, 0x3000060}, {9, 0x8000000}}}
		}), []Verb{Fail}, "left timeline 9 at 0/8000000"},
		{"on the way to the primary's new timeline", outage(func(f *Facts) {
			f.Outage.Primary.History = History{Timeline: 11, Parents: []Switch{{1, 0x3000060}, {9, 0x9000000}}}
		}), []Verb{Connect}, "nothing is received"},
		{"ahead of the primary", outage(func(f *Facts) { f.Outage.Primary.Position = 0x8000000 }), []Verb{Fail}, "ahead of h1"},
		{"a history without the recorded promotion: no question is needed", standbyFacts(diverged), []Verb{SetScore, Fail}, "does not contain the promotion"},
		{"which was repaired often enough", outage(diverged, restarted(5)), nil, "given up after 5 repairs"},
		{"the last primary has nobody to follow", outage(func(f *Facts) { f.Epoch.Node, f.Self.Score = "h2", EligibleScore }), nil, ""},
		{"a primary is left alone, whatever it was before", primaryFacts(func(f *Facts) { f.Outage, f.DivergedFor = outage(removed).Outage, time.Hour }), nil, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := Decide(tt.f)
			if !slices.Equal(verbs(got), tt.want) {
				t.Errorf("Decide = %+v; want %v", got, tt.want)
			}
			if complaint := Complaint(tt.f); !strings.Contains(complaint, tt.says) || (complaint == "") != (tt.says == "") {
				t.Errorf("complaint %q; want %q in it", complaint, tt.says)
			}
		})
	}
}

func TestWhenAStartMayWaitForTheArchive(t *testing.T) {
	epoch := Epoch{Number: 3, Node: "h1"}
	upstream := func(oldest LSN) *Upstream { return &Upstream{Oldest: oldest} }
	for _, c := range []struct {
		name string
		a    Arrival
		want bool
	}{
		{"no promotion is recorded: perhaps a backup that is restored", Arrival{Self: "h1", Redo: 50}, true},
		{"the last primary", Arrival{Self: "h1", Epoch: epoch, Redo: 50}, false},
		{"a complete standby, and no primary answers", Arrival{Self: "h2", Epoch: epoch, InSync: 3, Redo: 50}, false},
		{"a standby that is behind, and no primary answers", Arrival{Self: "h2", Epoch: epoch, InSync: 2, Redo: 50}, true},
		{"the primary has the WAL", Arrival{Self: "h2", Epoch: epoch, InSync: 2, Redo: 50, Primary: upstream(40)}, false},
		{"it has it no more", Arrival{Self: "h2", Epoch: epoch, InSync: 2, Redo: 50, Primary: upstream(60)}, true},
		{"it does not say what it has", Arrival{Self: "h2", Epoch: epoch, InSync: 2, Redo: 50, Primary: upstream(0)}, true},
		{"a new copy, with its WAL", Arrival{Self: "h2", Epoch: epoch, Primary: upstream(60)}, false},
	} {
		if got := NeedsArchive(c.a); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}
