package cli

import (
	"errors"
	"strings"
	"testing"
	"time"

	"pgtwin/internal/control"
	"pgtwin/internal/ha"
)

// orphaned is what h2 learns when h1, which had gone on without it, is gone.
func orphaned(changes ...func(*facts)) facts {
	f := wellOn("h2")
	f.withoutPeer("h1")
	f.member("h2").InSync = 0
	f.state.Receiving, f.state.InSync, f.state.Committed = false, false, now.Add(-5*time.Minute)
	for _, change := range changes {
		change(&f)
	}
	return f
}

func TestWhatAPromotionWouldLose(t *testing.T) {
	tests := []struct {
		name  string
		facts facts
		want  []string
	}{
		{"a host that was left behind", orphaned(), []string{"h1 was primary (epoch 7, timeline 9) and went on without h2", "h2 has WAL up to 0/5000148 on timeline 9", "(5m0s ago)", "h1 holds every acknowledged commit (it is down)"}},
		{"the other host may be writing", orphaned(func(f *facts) { f.member("h1").Unclean = true }), []string{"not fenced"}},
		{"a host that is complete", orphaned(func(f *facts) { f.member("h2").InSync = 7 }), []string{"nothing would be lost"}},
		{"no record", orphaned(func(f *facts) { f.view.Epoch = ha.Epoch{} }), []string{"No promotion is recorded"}},
		{"a host that does not run", orphaned(func(f *facts) { f.state = &control.State{Updated: now, Role: ha.Down} }), []string{"went on without h2"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := test.facts.loss()
			for _, want := range test.want {
				if !strings.Contains(got, want) {
					t.Errorf("%q is not in\n%s", want, got)
				}
			}
		})
	}
}

func TestWhenAPromotionIsNotForced(t *testing.T) {
	tests := []struct {
		name  string
		facts facts
		want  string // "": it may be
	}{
		{"no primary anywhere", orphaned(), ""},
		{"a primary elsewhere", wellOn("h2"), "h1 is primary"},
		{"no Pacemaker", orphaned(func(f *facts) { f.view, f.clusterErr = nil, errors.New("not connected") }), "Pacemaker does not answer"},
		{"an instance that was not started", orphaned(func(f *facts) { f.instance = nil }), "has not started it"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			err := test.facts.mayBeForced()
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
}
