package ha

import (
	"slices"
	"testing"
	"time"
)

// arrival is the old primary h2 coming back after a crash on timeline 2, which
// h1 left at 0/5000000 for timeline 3.
func arrival(changes ...func(*Arrival)) Arrival {
	a := Arrival{
		Self:  "h2",
		Epoch: Epoch{Number: 4, System: system, Timeline: 3, Highest: 3, Switch: 0x5000000, Node: "h1"},
		Data:  true, System: system, Ended: Crashed, Timeline: 2, Position: 0x4FFFF00,
		Primary: &Upstream{System: system, Checkpointed: true, Position: 0x6000000,
			History: History{Timeline: 3, Parents: []Switch{{1, 0x3000000}, {2, 0x5000000}}}},
	}
	for _, change := range changes {
		change(&a)
	}
	return a
}

func TestRejoin(t *testing.T) {
	noEpoch := func(a *Arrival) { a.Epoch = Epoch{} }
	empty := func(a *Arrival) { a.Data = false }
	forced := func(a *Arrival) { a.Forced = true }
	unmounted := func(a *Arrival) { a.Missing = "/srv/pg" }
	lastPrimary := func(a *Arrival) { a.Epoch.Node = "h2" }
	silent := func(a *Arrival) { a.Primary = nil }
	ended := func(e Ending, tl Timeline, at LSN) func(*Arrival) {
		return func(a *Arrival) { a.Ended, a.Timeline, a.Position = e, tl, at }
	}
	stuck := func(a *Arrival) {
		a.Ended, a.Timeline, a.Position, a.Stuck, a.Primary.Oldest = Replaying, 3, 0x5400000, 0x5800000, 0x6000000
	}
	old := func(a *Arrival) { a.Redo, a.Primary.Oldest = 0x4F00000, 0x5800000 }
	tests := []struct {
		name string
		a    Arrival
		want Course
	}{
		{"new cluster, no data: wait to be chosen", arrival(noEpoch, empty), Wait},
		{"new cluster, no data, chosen: initdb", arrival(noEpoch, empty, func(a *Arrival) { a.Granted = true }), Bootstrap},
		{"new cluster, data there: adopted", arrival(noEpoch), Start},
		{"an interrupted initdb is not adopted", arrival(noEpoch, func(a *Arrival) { a.Unsound = true }), Wait},
		{"existing cluster, empty disk: clone, never initdb", arrival(empty, func(a *Arrival) { a.Granted = true }), Clone},
		{"empty disk, primary silent: wait", arrival(empty, silent), Wait},
		{"empty disk of the last primary: wait for the mount", arrival(empty, lastPrimary), Wait},
		{"empty disk that is not mounted: wait", arrival(empty, unmounted), Wait},
		{"new cluster, file system not mounted: wait", arrival(noEpoch, empty, unmounted, func(a *Arrival) { a.Granted = true }), Wait},
		{"data on another file system than before", arrival(unmounted), Rewind},
		{"tablespace not mounted: wait", arrival(func(a *Arrival) { a.Absent = "/srv/fast" }), Wait},
		{"tablespace of the last primary not mounted: wait", arrival(lastPrimary, silent, func(a *Arrival) { a.Absent = "/srv/fast" }), Wait},
		{"half done: clone", arrival(func(a *Arrival) { a.Unsound = true }), Clone},
		{"half done: the system identifier is not even read", arrival(func(a *Arrival) { a.Unsound, a.System = true, 0 }), Clone},
		{"another cluster's data: refuse", arrival(func(a *Arrival) { a.System = 1 }), Refuse},
		{"another cluster's server in the primary's place: wait for ours", arrival(func(a *Arrival) { a.Primary.System = 1 }), Wait},
		{"another cluster's server in the primary's place, empty disk: wait", arrival(empty, func(a *Arrival) { a.Primary.System = 1 }), Wait},
		{"another cluster's server in the primary's place, half done: wait", arrival(func(a *Arrival) { a.Primary.System, a.Unsound = 1, true }), Wait},
		{"last primary: start", arrival(lastPrimary, silent), Start},
		{"last primary just demoted: wait for the successor", arrival(lastPrimary, silent, func(a *Arrival) { a.Demoted = true }), Wait},
		{"last primary, demoted and promoted again", arrival(lastPrimary, silent, func(a *Arrival) { a.Demoted, a.Granted = true, true }), Start},
		{"last primary, nobody was promoted", arrival(lastPrimary, silent, func(a *Arrival) { a.Demoted, a.Waited = true, time.Minute }), Start},
		{"complete standby: start without asking", arrival(silent, func(a *Arrival) { a.InSync = 4 }), Start},
		{"behind, primary silent: wait", arrival(silent), Wait},
		{"behind, primary silent, the administrator accepts the loss", arrival(silent, forced), Start},
		{"the loss is accepted, but the primary answers", arrival(forced), Rewind},
		{"the loss is accepted of data that are half done", arrival(silent, forced, func(a *Arrival) { a.Unsound = true }), Wait},
		{"crashed primary: rewind", arrival(), Rewind},
		{"crashed primary, and nobody can ask for the checkpoint: wait", arrival(func(a *Arrival) { a.Primary.Refused = "too many clients" }), Wait},
		{"crashed primary, no checkpoint on the new timeline yet: wait", arrival(func(a *Arrival) { a.Primary.Checkpointed = false }), Wait},
		{"primary shut down before the switch: follow", arrival(ended(Clean, 2, 0x4FFFF88)), Start},
		{"primary shut down after the switch: rewind", arrival(ended(Clean, 2, 0x5000000)), Rewind},
		{"standby that had not replayed beyond the switch: follow", arrival(ended(Replaying, 2, 0x5000000)), Start},
		{"standby that had replayed more: rewind", arrival(ended(Replaying, 2, 0x5000028)), Rewind},
		{"standby on the primary's timeline: follow", arrival(ended(Replaying, 3, 0x5800000)), Start},
		{"crashed recovery on the primary's timeline: follow", arrival(ended(Crashed, 3, 0x5800000)), Start},
		{"ahead of the primary on its own timeline: rewind", arrival(ended(Replaying, 3, 0x7000000)), Rewind},
		{"a timeline of its own: rewind", arrival(ended(Clean, 4, 0x5000100)), Rewind},
		{"crashed, and what a rewind needs is gone: clone", arrival(old), Clone},
		{"so it is where a checkpoint followed the switch", arrival(old, func(a *Arrival) { a.Redo, a.Position = 0x5600000, 0x5600100 }), Clone},
		{"so it is before the new primary's first checkpoint", arrival(old, func(a *Arrival) { a.Primary.Checkpointed = false }), Clone},
		{"crashed, and the primary still has what a rewind needs", arrival(old, func(a *Arrival) { a.Primary.Oldest = 0x4000000 }), Rewind},
		{"crashed, and an archive may have it", arrival(old, func(a *Arrival) { a.Archive = true }), Rewind},
		{"shut down before the switch, and the WAL of before is gone: follow", arrival(old, ended(Clean, 2, 0x4FFFF88)), Start},
		{"stuck for lack of WAL: clone", arrival(stuck), Clone},
		{"stuck, and on record as complete (rep_mode=strict): clone", arrival(stuck, func(a *Arrival) { a.InSync = 4 }), Clone},
		{"stuck, but the primary has that WAL again", arrival(stuck, func(a *Arrival) { a.Primary.Oldest = 0x5800000 }), Start},
		{"stuck, but has got on since", arrival(stuck, func(a *Arrival) { a.Position = 0x5900000 }), Start},
		{"stuck, but it is not known what the primary has", arrival(stuck, func(a *Arrival) { a.Primary.Oldest = 0 }), Start},
		{"stuck, but the primary is another cluster's: wait", arrival(stuck, func(a *Arrival) { a.Primary.System = 1 }), Wait},
		{"stuck, and the primary is silent: wait", arrival(stuck, silent), Wait},
		{"WAL before the control file's position is gone, but never was needed", arrival(stuck, func(a *Arrival) { a.Stuck = 0 }), Start},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := Rejoin(tt.a); got.Course != tt.want || got.Why == "" {
				t.Errorf("Rejoin = %+v; want %s", got, tt.want)
			}
		})
	}
}

func TestOnlyWhatAStandbyHasIsKnownToBeContained(t *testing.T) {
	at := func(e Ending, tl Timeline, lsn LSN) func(*Arrival) {
		return func(a *Arrival) { a.Ended, a.Timeline, a.Position = e, tl, lsn }
	}
	tests := []struct {
		name string
		a    Arrival
		want bool
	}{
		{"a standby that is behind", arrival(at(Replaying, 3, 0x5800000)), true},
		{"one that is not on the new timeline yet", arrival(at(Replaying, 2, 0x5000000)), true},
		{"one that went beyond the switch", arrival(at(Replaying, 2, 0x5000028)), false},
		{"one that is ahead", arrival(at(Replaying, 3, 0x7000000)), false},
		{"a crashed primary, whose end is not known", arrival(), false},
		{"a crash on the primary's timeline", arrival(at(Crashed, 3, 0x5800000)), false},
		{"a primary that does not answer", arrival(at(Replaying, 3, 0x5800000), func(a *Arrival) { a.Primary = nil }), false},
		{"no data", arrival(at(Replaying, 3, 0x5800000), func(a *Arrival) { a.Data = false }), false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.a.Contained(); got != tt.want {
				t.Errorf("Contained = %t", got)
			}
		})
	}
}

func TestNextTimeline(t *testing.T) {
	tests := []struct {
		name             string
		current, highest Timeline
		index, n         int
		want             Timeline
		reserved         []Timeline
	}{
		{"first host promotes to odd numbers", 1, 0, 0, 2, 3, []Timeline{2}},
		{"second host to even ones, next door", 1, 1, 1, 2, 2, nil},
		{"alternating needs no reservation", 2, 2, 0, 2, 3, nil},
		{"twice in a row skips the other's number", 3, 3, 0, 2, 5, []Timeline{4}},
		{"the record knows of higher numbers", 3, 8, 0, 2, 9, []Timeline{4, 5, 6, 7, 8}},
		{"a third host", 4, 4, 2, 3, 6, []Timeline{5}},
		{"one host alone uses all", 4, 4, 0, 1, 5, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, reserved := NextTimeline(tt.current, tt.highest, tt.index, tt.n)
			if got != tt.want || !slices.Equal(reserved, tt.reserved) {
				t.Errorf("NextTimeline = %d, %v; want %d, %v", got, reserved, tt.want, tt.reserved)
			}
		})
	}
}

// No two hosts ever use the same number, whatever they know of each other.
func TestTimelinesOfTwoHostsNeverMeet(t *testing.T) {
	for n := 2; n <= 5; n++ {
		owner := map[Timeline]int{}
		for index := range n {
			for current := Timeline(1); current < 40; current++ {
				next, _ := NextTimeline(current, 0, index, n)
				if other, used := owner[next]; used && other != index {
					t.Fatalf("of %d hosts, %d and %d both promote to timeline %d", n, other, index, next)
				}
				owner[next] = index
			}
		}
	}
}

func TestEpochSurvivesItsTextForm(t *testing.T) {
	e := Epoch{Number: 7, System: 1<<64 - 1, Timeline: 9, Highest: 11, Switch: 0x300000060, Node: "host-1.example"}
	got, err := ParseEpoch(e.String())
	if err != nil || got != e {
		t.Errorf("ParseEpoch(%q) = %+v, %v", e, got, err)
	}
	for _, bad := range []string{"", "epoch=0 node=h1", "epoch=1", "epoch=x node=h1", "epoch=1 node=h1 colour=red", "epoch=1 node=h1 switch=zero"} {
		if e, err := ParseEpoch(bad); err == nil {
			t.Errorf("ParseEpoch(%q) = %+v; want an error", bad, e)
		}
	}
}
