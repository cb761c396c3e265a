package supervisor

import (
	"os"
	"testing"
	"time"

	"pgtwin/internal/config"
	"pgtwin/internal/ha"
	"pgtwin/internal/pg"
)

// thirsty is the standby h1 of h2 that waits for WAL and receives none.
func thirsty(changes ...func(*Supervisor)) *Supervisor {
	s := supervising(ha.Standby, "h2")
	s.view.Epoch.Node = "h2"
	s.view.Nodes[1].Score, s.view.Nodes[1].Scored = ha.PrimaryScore, true
	s.seen.look.AwaitsWAL, s.seen.look.Received, s.seen.look.Replayed = true, 0x6000, 0x5000
	s.inquiring = true // there is nobody to ask
	s.dry = time.Now().Add(-time.Minute)
	for _, change := range changes {
		change(s)
	}
	return s
}

func TestWhatCountsAsAnOutage(t *testing.T) {
	streams := func(pid int, since time.Duration) func(*Supervisor) {
		return func(s *Supervisor) {
			s.seen.look.Receiver = &pg.Receiver{PID: pid, Status: "streaming"}
			s.stream = stream{10, s.seen.at.Add(-since)}
			s.stream.note(s.seen)
		}
	}
	tests := []struct {
		name string
		s    *Supervisor
		want bool
	}{
		{"all is replayed and nothing comes", thirsty(), true},
		{"it streams", thirsty(streams(10, time.Second)), false},
		{"it has just begun to stream", thirsty(streams(11, time.Hour)), false},
		{"it began to, and was refused", thirsty(func(s *Supervisor) { streams(11, time.Hour)(s); s.facts(); s.seen.look.Receiver = nil }), true},
		{"it still replays what is here", thirsty(func(s *Supervisor) { s.seen.replays = true }), false},
		{"replay waits for something else", thirsty(func(s *Supervisor) { s.seen.look.AwaitsWAL = false }), false},
		{"for a moment, between two attempts", thirsty(func(s *Supervisor) {
			s.seen.look.AwaitsWAL, s.awaited = false, s.seen.at.Add(-time.Second)
		}), true},
		{"the primary's host is gone", thirsty(func(s *Supervisor) { s.view.Nodes[1].Online = false }), false},
		{"the primary is down", thirsty(func(s *Supervisor) { s.view.Nodes[1].Score = ha.Minus }), false},
		{"the primary's promotion has not taken effect", thirsty(func(s *Supervisor) { s.view.Nodes[1].Score = ha.EligibleScore }), false},
		{"this host was primary last", thirsty(func(s *Supervisor) { s.view.Epoch.Node = "h1" }), false},
		{"a primary", thirsty(func(s *Supervisor) { s.seen.role = ha.Primary }), false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			o := test.s.facts().Outage
			if got := o.For >= time.Minute; got != test.want || o.Reached != 0x6000 {
				t.Errorf("%+v", o)
			}
		})
	}
}

func TestOnlyAnAnswerOfThisOutageCounts(t *testing.T) {
	answer := ha.Upstream{Oldest: 1}
	for name, test := range map[string]struct {
		node string
		at   time.Duration // ago
		want bool
	}{
		"of now":               {"h2", time.Second, true},
		"of before the outage": {"h2", 2 * time.Minute, false},
		"of a while ago":       {"h2", 30 * time.Second, false},
		"of a primary before":  {"h3", time.Second, false},
	} {
		s := thirsty()
		s.inquiry = inquiry{node: test.node, at: time.Now().Add(-test.at), primary: &answer}
		if got := s.facts().Outage.Primary != nil; got != test.want {
			t.Errorf("an answer %s: counts %t", name, got)
		}
	}
}

func TestRepairsOutliveTheSupervisorUntilReplicationGoesWell(t *testing.T) {
	s := thirsty()
	s.Instance.Name = "repairstest"
	must(t, os.MkdirAll(config.RunDir(s.Instance.Name), 0o755))
	t.Cleanup(func() { os.RemoveAll(config.RunDir(s.Instance.Name)) })
	must(t, s.noteStuck())
	s.countRestart()

	next := thirsty()
	next.Instance.Name = s.Instance.Name
	next.recallRepairs()
	if o := next.facts().Outage; o.Restarts != 1 || o.Stuck != 0x6000 || o.Idle > time.Minute {
		t.Errorf("%+v", o)
	}
	next.seen.look.Receiver = &pg.Receiver{PID: 10, Status: "streaming"}
	next.stream.note(next.seen)
	next.seen.at = next.seen.at.Add(ha.RepairMemory)
	if o := next.facts().Outage; o.Restarts != 1 {
		t.Errorf("forgotten at once: %+v", o)
	}
	next.seen.at = next.seen.at.Add(time.Second)
	if next.facts(); next.repairs != (ha.Repairs{}) {
		t.Errorf("left %+v", next.repairs)
	}
	last := thirsty()
	last.Instance.Name = s.Instance.Name
	if last.recallRepairs(); last.repairs != (ha.Repairs{}) {
		t.Errorf("left for another supervisor: %+v", last.repairs)
	}
}

// A promotion is recorded before it takes effect, which takes seconds on a slow host. A standby cannot follow it until
// then, and reported as failed it would be stopped for nothing.
func TestAStandbyIsDivergedOnceTheRecordedPromotionIsInEffect(t *testing.T) {
	for _, c := range []struct {
		name string
		with func(*Supervisor)
		want bool
	}{
		{"another primary serves", func(*Supervisor) {}, true},
		{"its promotion is not in effect", func(s *Supervisor) { s.view.Nodes[1].Score = ha.EligibleScore }, false},
		{"its promotion, which lowers settings, is not in effect", func(s *Supervisor) { s.view.Nodes[1].Score = ha.LoweredScore }, false},
		{"it is gone", func(s *Supervisor) { s.view.Nodes[1].Online = false }, false},
		{"it is on our history", func(s *Supervisor) { s.view.Epoch.Timeline = 9 }, false},
	} {
		s := thirsty(func(s *Supervisor) { s.view.Epoch.Timeline, s.view.Epoch.Switch = 11, 0x4000 }, c.with)
		s.diverged = s.seen.at.Add(-time.Minute)
		if got := s.facts().DivergedFor >= time.Minute; got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}
