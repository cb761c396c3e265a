package ha

import (
	"testing"
	"time"
)

// watched is what a primary with one peer h2 sees at a moment.
type watched struct {
	after    time.Duration // since the first look
	sender   *Sender
	required bool
	written  LSN
}

func follow(m *Memory, looks ...watched) (last Follower) {
	began := time.Unix(1000, 0)
	for _, w := range looks {
		senders, required := map[string]Sender{}, []string(nil)
		if w.sender != nil {
			senders["h2"] = *w.sender
		}
		if w.required {
			required = []string{"h2"}
		}
		last = m.Followers(began.Add(w.after), []Membership{{Node: "h2"}}, senders, required, w.written)[0]
	}
	return last
}

func TestMemoryOfAStandby(t *testing.T) {
	at := func(flushed LSN) *Sender { return &Sender{PID: 1, Streaming: true, Flushed: flushed} }
	tests := []struct {
		name      string
		looks     []watched
		streaming bool
		lost      time.Duration
	}{
		{"one that is up to date streams, however long nothing happens", []watched{{0, at(10), true, 10}, {time.Hour, at(10), true, 10}}, true, 0},
		{"one that gets on streams, however far behind", []watched{{0, at(1), true, 100}, {time.Hour, at(2), true, 200}}, true, 0},
		{"one that flushes nothing for a moment streams", []watched{{0, at(10), true, 10}, {time.Second, at(10), true, 20}}, true, time.Second},
		{"one that flushes nothing for long is lost", []watched{{0, at(10), true, 10}, {time.Second, at(10), true, 20}, {9 * time.Second, at(10), true, 20}}, false, 9 * time.Second},
		{"one that hung and gets on streams", []watched{{0, at(10), true, 10}, {9 * time.Second, at(10), true, 20}, {10 * time.Second, at(11), true, 20}}, true, 0},
		{"one that is gone is lost since it last streamed", []watched{{0, at(10), true, 10}, {3 * time.Second, nil, true, 10}}, false, 3 * time.Second},
		{"one that was never seen is not lost yet", []watched{{0, nil, false, 10}}, false, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := follow(&Memory{}, tt.looks...); got.Streaming != tt.streaming || got.LostFor != tt.lost {
				t.Errorf("streaming %t, lost for %s; want %t, %s", got.Streaming, got.LostFor, tt.streaming, tt.lost)
			}
		})
	}
}

func TestMemoryOfARecord(t *testing.T) {
	began := time.Unix(1000, 0)
	epoch := Epoch{Number: 7}
	complete, lagging := []Membership{{Node: "h2", InSync: 7}}, []Membership{{Node: "h2"}}
	senders := map[string]Sender{"h2": {PID: 11, Streaming: true, Flushed: 10}}
	view := func(m *Memory, senders map[string]Sender) Follower {
		return m.Followers(began.Add(3*time.Second), lagging, senders, nil, 10)[0]
	}
	var released Memory
	released.Read(began, epoch, complete, senders)
	released.Read(began.Add(time.Second), epoch, lagging, senders)
	if f := view(&released, senders); !f.Leaving || f.BehindFor != 2*time.Second {
		t.Errorf("a standby that took its record back: %+v", f)
	}
	if f := view(&released, map[string]Sender{"h2": {PID: 12, Streaming: true}}); f.Leaving {
		t.Errorf("back on another connection: %+v", f)
	}

	var taken Memory
	taken.Read(began, epoch, complete, senders)
	taken.Publishing(began, "h2", 0)
	taken.Published(began.Add(time.Second), "h2", 0)
	taken.Read(began.Add(2*time.Second), epoch, lagging, senders)
	if f := view(&taken, senders); f.Leaving || f.BehindFor != 2*time.Second {
		t.Errorf("a record that was taken back here: %+v", f)
	}

	// A record that it is complete, to which there was no answer.
	var doubtful Memory
	doubtful.Publishing(began, "h2", 7)
	doubtful.Read(began.Add(time.Second), epoch, lagging, senders)
	if f := view(&doubtful, senders); f.Leaving || !f.Doubtful {
		t.Errorf("a record that may yet come: %+v", f)
	}
	doubtful.Publishing(began.Add(time.Second), "h2", 0)
	if f := view(&doubtful, senders); !f.Doubtful {
		t.Errorf("it is not outranked yet: %+v", f)
	}
	doubtful.Published(began.Add(2*time.Second), "h2", 0)
	if f := view(&doubtful, senders); f.Doubtful || f.BehindFor != time.Second {
		t.Errorf("outranked: %+v", f)
	}

	if f := released.Followers(began.Add(time.Minute), lagging, senders, nil, 10)[0]; f.Leaving {
		t.Errorf("still there a minute after its farewell: %+v", f)
	}

	var gone Memory
	gone.Read(began, epoch, complete, senders)
	gone.Read(began, epoch, lagging, nil)
	if f := view(&gone, nil); !f.Leaving {
		t.Errorf("released and gone: %+v", f)
	}
}

func TestCheckPublish(t *testing.T) {
	complete, gone := Action{Verb: Publish, Node: "h2", Number: 7}, Action{Verb: Publish, Node: "h2"}
	tests := []struct {
		name   string
		action Action
		facts  Facts
		ok     bool
	}{
		{"nothing has changed", gone, primaryFacts(), true},
		{"complete, and nothing has changed", complete, primaryFacts(), true},
		{"the quorum is lost", gone, primaryFacts(noQuorum), false},
		{"the peer may be running out of sight", gone, primaryFacts(unclean), false},
		{"so it may, but nothing could fence it", gone, primaryFacts(unclean, noFencing), true},
		{"another host was promoted", gone, primaryFacts(otherEpoch), false},
		{"complete in an epoch that is over", complete, primaryFacts(func(f *Facts) { f.Epoch.Number = 8 }), false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := CheckPublish(tt.action, tt.facts.Candidate); (err == nil) != tt.ok {
				t.Errorf("%v, want ok=%t", err, tt.ok)
			}
		})
	}
}

func TestNextPromotion(t *testing.T) {
	c := standbyFacts(func(f *Facts) { f.Replayed = 0x9000000 }).Candidate
	p := NextPromotion(c, Sync)
	want := Epoch{Number: 8, System: system, Timeline: 10, Highest: 10, Switch: 0x9000000, Node: "h2"}
	if p.Epoch != want || p.InSync["h2"] != 8 || p.InSync["h1"] != 0 || len(p.InSync) != 2 || p.Required != nil || p.Reserved != nil {
		t.Errorf("%+v, want %+v", p, want)
	}
	c.Epoch, c.Self.InSync = want, 8
	if again := NextPromotion(c, Sync); again.Epoch != want || again.InSync["h2"] != 8 {
		t.Errorf("a promotion that was begun: %+v, want %+v", again, want)
	}
	c.Known = want
	if next := NextPromotion(c, Sync); next.Epoch.Number != 9 {
		t.Errorf("a promotion that has taken effect, on data that do not have it: %+v", next)
	}
	c = standbyFacts().Candidate
	if p := NextPromotion(c, Strict); len(p.Required) != 1 || p.Required[0] != "h1" {
		t.Errorf("strict: the first commit waits for %v", p.Required)
	}
}

func TestCheckRelax(t *testing.T) {
	alone := Action{Verb: Require}
	tests := []struct {
		name   string
		action Action
		facts  Facts
		ok     bool
	}{
		{"recorded as behind", alone, primaryFacts(behind), true},
		{"nobody is released", Action{Verb: Require, Nodes: []string{"h2"}}, primaryFacts(noQuorum), true},
		{"the quorum is lost", alone, primaryFacts(behind, noQuorum), false},
		{"it may be running out of sight", alone, primaryFacts(behind, unclean), false},
		{"so it may, but nothing could fence it", alone, primaryFacts(behind, unclean, noFencing), true},
		{"recorded as complete again", alone, primaryFacts(), false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := CheckRelax(tt.action, []string{"h2"}, tt.facts.Candidate); (err == nil) != tt.ok {
				t.Errorf("%v, want ok=%t", err, tt.ok)
			}
		})
	}
}
