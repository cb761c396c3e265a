package ha

import (
	"reflect"
	"strings"
	"testing"
)

func TestFork(t *testing.T) {
	theirs := History{Timeline: 4, Parents: []Switch{{1, 0x3000000}, {2, 0x5000000}}}
	tests := []struct {
		name string
		ours History
		want Switch
		ok   bool
	}{
		{"an old primary whose timeline they left", History{2, []Switch{{1, 0x3000000}}}, Switch{2, 0x5000000}, true},
		{"one that was left two promotions ago", History{1, nil}, Switch{1, 0x3000000}, true},
		{"a timeline of our own, begun after they left", History{3, []Switch{{1, 0x3000000}, {2, 0x6000000}}}, Switch{2, 0x5000000}, true},
		{"a timeline of our own, begun before they left", History{3, []Switch{{1, 0x3000000}, {2, 0x4000000}}}, Switch{2, 0x4000000}, true},
		{"ahead on their own timeline", theirs, Switch{4, 0x7000000}, true},
		{"timelines that skip numbers", History{7, []Switch{{1, 0x2000000}}}, Switch{1, 0x2000000}, true},
		{"nothing in common", History{9, []Switch{{8, 0x1000000}}}, Switch{}, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			at, ok := Fork(test.ours, theirs, 0x7000000)
			if at != test.want || ok != test.ok {
				t.Errorf("%v, %t, want %v, %t", at, ok, test.want, test.ok)
			}
		})
	}
}

func TestWhatLiesBeyondAFork(t *testing.T) {
	ours := History{5, []Switch{{1, 0x3000000}, {2, 0x6000000}}}
	tests := []struct {
		name string
		at   Switch
		want []Stretch
	}{
		{"on the last timeline", Switch{5, 0x7000000}, []Stretch{{5, 0x7000000, ^LSN(0)}}},
		{"on the one before it", Switch{2, 0x5000000}, []Stretch{{2, 0x5000000, 0x6000000}, {5, 0x6000000, ^LSN(0)}}},
		{"on the first", Switch{1, 0x2000000}, []Stretch{{1, 0x2000000, 0x3000000}, {2, 0x3000000, 0x6000000}, {5, 0x6000000, ^LSN(0)}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := ours.Beyond(test.at); !reflect.DeepEqual(got, test.want) {
				t.Errorf("%v, want %v", got, test.want)
			}
		})
	}
}

func TestDataThatCannotBeRewoundAreCloned(t *testing.T) {
	const obstacle = "neither checksums nor hints"
	got := Rejoin(arrival(func(a *Arrival) { a.NoRewind = obstacle }))
	if got.Course != Clone || !strings.Contains(got.Why, obstacle) || !strings.Contains(got.Why, "crashed as primary") {
		t.Errorf("%+v", got)
	}
	behind := arrival(func(a *Arrival) { a.NoRewind, a.Ended, a.Position = obstacle, Replaying, 0x4000000 })
	if got := Rejoin(behind); got.Course != Start {
		t.Errorf("data that need no rewind: %+v", got)
	}
}
