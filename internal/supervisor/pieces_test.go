package supervisor

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgtwin/internal/cluster"
	"pgtwin/internal/config"
	"pgtwin/internal/control"
	"pgtwin/internal/ha"
	"pgtwin/internal/pg"
)

// supervising is h1's supervisor, with epoch 7 recorded for h1 and all nodes in sync.
func supervising(role ha.Role, nodes ...string) *Supervisor {
	s := &Supervisor{
		Instance: config.Instance{Name: "db", Node: "h1", SlotName: "ha_slot", RepMode: "sync"},
		Log:      slog.New(slog.DiscardHandler),
		viewAt:   time.Now(),
		view:     cluster.View{Quorate: true, Fencing: true, Epoch: ha.Epoch{Number: 7, Timeline: 9, Node: "h1"}},
		seen: observation{at: time.Now(), role: role, intent: control.IntentRun,
			progress: control.Progress{Phase: control.PhaseRunning}, look: pg.Look{Timeline: 9, Written: 0x5000}},
		history: ha.History{Timeline: 9},
	}
	for id, node := range append([]string{"h1"}, nodes...) {
		s.view.Nodes = append(s.view.Nodes, ha.Membership{Node: node, ID: id + 1, Online: true, InSync: 7})
	}
	return s
}

func (s *Supervisor) streams(node string, pid int) {
	s.seen.look.Walsenders = append(s.seen.look.Walsenders,
		pg.Walsender{ApplicationName: node, PID: pid, State: "streaming", SyncState: "sync", Flushed: 0x5000, Replayed: 0x4000})
}

// reads takes over the view as refresh does.
func (s *Supervisor) reads() {
	s.memory.Read(s.seen.at, s.view.Epoch, others(s.view, s.Instance.Node), s.senders())
}

func TestRequiredNodesAreMatchedExactly(t *testing.T) {
	tests := []struct {
		setting string
		want    []string
	}{
		{"", nil},
		{pg.SynchronousNames([]string{"h10"}), []string{"h10"}},
		{pg.SynchronousNames([]string{"h2", "h10"}), []string{"h10", "h2"}},
		{pg.SynchronousNames([]string{"h1", "h2"}), []string{"h2"}}, // never this node itself
		{pg.SynchronousNames([]string{"xh2", "h2x"}), nil},
	}
	for _, test := range tests {
		s := supervising(ha.Primary, "h2", "h10")
		s.seen.look.Synchronous = test.setting
		if got := s.required(); !slices.Equal(got, test.want) {
			t.Errorf("%s: %v, want %v", test.setting, got, test.want)
		}
	}
}

func TestFollowersAreWhatThePrimarySees(t *testing.T) {
	s := supervising(ha.Primary, "h2", "h3")
	s.seen.look.Synchronous = pg.SynchronousNames([]string{"h2"})
	s.streams("h2", 11)
	f := s.facts()
	if len(f.Standbys) != 2 || !slices.Equal(f.Required, []string{"h2"}) {
		t.Fatalf("facts %+v", f)
	}
	h2, h3 := f.Standbys[0], f.Standbys[1]
	if h2.Node != "h2" || !h2.Streaming || !h2.Waited || h2.Flushed != 0x5000 || h2.LostFor != 0 {
		t.Errorf("h2: %+v", h2)
	}
	if h3.Node != "h3" || h3.Streaming || h3.Waited || h3.GrownAt != 0 {
		t.Errorf("h3: %+v", h3)
	}
}

func TestGrownAtIsWhenCommitsBeganToWait(t *testing.T) {
	s := supervising(ha.Primary, "h2")
	grownAt := func(required string, written ha.LSN) ha.LSN {
		s.seen.look.Synchronous, s.seen.look.Written = required, written
		return s.facts().Standbys[0].GrownAt
	}
	h2 := pg.SynchronousNames([]string{"h2"})
	for _, step := range []struct {
		required      string
		written, want ha.LSN
	}{{"", 0x1000, 0}, {h2, 0x2000, 0x2000}, {h2, 0x3000, 0x2000}, {"", 0x4000, 0}, {h2, 0x5000, 0x5000}} {
		if got := grownAt(step.required, step.written); got != step.want {
			t.Errorf("required %q at %s: grown at %s, want %s", step.required, step.written, got, step.want)
		}
	}
}

func TestAStandbyIsNotCompleteBeforeCommitsAreProvenToWait(t *testing.T) {
	s := supervising(ha.Primary, "h2")
	s.streams("h2", 11)
	s.view.Nodes[1].InSync = 0
	s.seen.look.Synchronous = pg.SynchronousNames([]string{"h2"})
	s.settings = 1 // seen to change, and proven of no change yet
	if h2 := s.facts().Standbys[0]; h2.Waited || h2.GrownAt != 0 {
		t.Errorf("not proven: %+v", h2)
	}
	s.seen.look.Written, s.enforced = 0x7000, 1
	if h2 := s.facts().Standbys[0]; !h2.Waited || h2.GrownAt != 0x7000 {
		t.Errorf("proven: %+v", h2)
	}
}

func TestAnEpochOfAnotherDatabaseIsNotKnown(t *testing.T) {
	const here, other = 7412345678901234567, 1
	tests := []struct {
		name             string
		server, recorded uint64 // system identifiers, 0: none
		known            bool
	}{
		{"of the database that runs and is on record", here, here, true},
		{"of a database of which nothing is on record", here, 0, true},
		{"before the server has answered", 0, here, true},
		{"of another server", other, 0, false},
		{"of another cluster than the one on record", 0, other, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := supervising(ha.Primary, "h2")
			s.latest = ha.Epoch{Number: 9, System: here, Node: "h1"}
			s.seen.look.System, s.view.Epoch.System = test.server, test.recorded
			if test.recorded == 0 {
				s.view.Epoch = ha.Epoch{}
			}
			if got := s.candidate().Known.Number == 9; got != test.known {
				t.Errorf("known: %t, want %t", got, test.known)
			}
		})
	}
}

func TestALostFollowerIsLostSinceItLastStreamed(t *testing.T) {
	s := supervising(ha.Primary, "h2")
	s.streams("h2", 11)
	s.facts()
	s.seen.look.Walsenders, s.seen.at = nil, s.seen.at.Add(5*time.Second)
	if h2 := s.facts().Standbys[0]; h2.LostFor != 5*time.Second || h2.Streaming {
		t.Errorf("%+v", h2)
	}
	s.streams("h2", 12)
	if h2 := s.facts().Standbys[0]; h2.LostFor != 0 {
		t.Errorf("after its return: %+v", h2)
	}
}

func TestAStandbyThatDeclaresItselfBehindIsLeaving(t *testing.T) {
	s := supervising(ha.Primary, "h2")
	s.streams("h2", 11)
	leaving := func() bool { return s.facts().Standbys[0].Leaving }
	s.reads()
	if leaving() {
		t.Error("leaving while it is recorded")
	}
	s.view.Nodes[1].InSync = 0
	s.reads()
	if !leaving() {
		t.Error("not leaving although its record is gone")
	}
	s.seen.look.Walsenders[0].PID = 12 // it has come back
	if leaving() {
		t.Error("still leaving on a new connection")
	}
}

func TestAStandbyThatThePrimaryDeclaresBehindIsNotLeaving(t *testing.T) {
	s := supervising(ha.Primary, "h2")
	s.streams("h2", 11)
	s.reads()
	s.memory.Publishing(s.seen.at, "h2", 0)
	s.view.Nodes[1].InSync = 0
	s.reads()
	if s.facts().Standbys[0].Leaving {
		t.Error("leaving")
	}
}

func TestWhatTheStateWarnsOf(t *testing.T) {
	tests := []struct {
		name   string
		role   ha.Role
		change func(*Supervisor)
		want   []string // the beginnings, in order
	}{
		{"nothing, on a primary with its standby", ha.Primary, func(s *Supervisor) { s.streams("h2", 11) }, nil},
		{"a cluster that has never answered", ha.Primary, func(s *Supervisor) { s.view, s.viewAt = cluster.View{}, time.Time{} }, []string{"Pacemaker does not answer"}},
		{"no quorum and no fencing", ha.Primary, func(s *Supervisor) { s.view.Quorate, s.view.Fencing = false, false },
			[]string{"this part of the cluster has no quorum", "fencing is not configured"}},
		{"a peer that is behind", ha.Primary, func(s *Supervisor) { s.view.Nodes[1].InSync = 6 }, []string{"h2 is behind"}},
		{"commits that wait", ha.Primary, func(s *Supervisor) { s.seen.look.Synchronous = pg.SynchronousNames([]string{"h2"}) }, []string{"commits wait for h2"}},
		{"a standby without WAL, that is not promotable", ha.Standby, func(s *Supervisor) { s.view.Nodes[0].InSync = 0; s.view.Epoch.Node = "h2" },
			[]string{"no WAL is received from h2", "not promotable"}},
		{"a standby without WAL, and why", ha.Standby, func(s *Supervisor) {
			s.view.Epoch.Node, s.view.Nodes[1].Score, s.seen.look.AwaitsWAL = "h2", ha.PrimaryScore, true
			s.dry, s.inquiring = time.Now().Add(-time.Minute), true
			s.inquiry = inquiry{node: "h2", at: time.Now(), err: errors.New("connection refused")}
			s.complaint = s.complain(s.facts())
		}, []string{"no WAL is received from h2: h2 does not answer as a primary: connection refused"}},
		{"replay that is paused", ha.Standby, func(s *Supervisor) {
			s.seen.look.Receiver, s.seen.look.ReplayPaused = &pg.Receiver{Status: "streaming"}, true
		}, []string{"replay is paused"}},
		{"a server that does not answer", ha.Unknown, func(s *Supervisor) { s.seen.err = errors.New("timeout") }, []string{"PostgreSQL does not answer: timeout"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := supervising(test.role, "h2")
			test.change(s)
			st := s.state()
			same := slices.EqualFunc(st.Warnings, test.want, func(got, want string) bool { return strings.HasPrefix(got, want) })
			if !same || st.WarnedSince.IsZero() != (len(test.want) == 0) {
				t.Errorf("warnings %q since %v, want %q", st.Warnings, st.WarnedSince, test.want)
			}
		})
	}
}

func TestStateOfAStandby(t *testing.T) {
	s := supervising(ha.Standby, "h2")
	age := 1.5
	s.view.Epoch.Node = "h2"
	s.seen.look = pg.Look{InRecovery: true, Timeline: 9, Received: 0x5000, Replayed: 0x4000, ReplayAge: &age,
		Receiver: &pg.Receiver{Status: "streaming", LatestEnd: 0x6000}}
	st := s.state()
	if st.Upstream != "h2" || !st.Receiving || st.LSN != 0x5000 || st.UpstreamLSN != 0x6000 || st.LagBytes != 0x2000 || st.LagSeconds != age {
		t.Errorf("%+v", st)
	}
	s.seen.look.Replayed = 0x6000
	if st := s.state(); st.LagBytes != 0 || st.LagSeconds != 0 {
		t.Errorf("a standby that has replayed all is %d bytes, %v s behind", st.LagBytes, st.LagSeconds)
	}
}

// From the order on, a monitor that said "promoted" would have Pacemaker demote again.
func TestYieldingEndsWithTheOrderToDemote(t *testing.T) {
	s := supervising(ha.Down, "h2")
	s.yielded = time.Now()
	for intent, want := range map[control.Intent]bool{control.IntentRun: true, control.IntentDemote: false, control.IntentStop: false} {
		s.seen.intent = intent
		if got := s.state().Yielding; got != want {
			t.Errorf("%s: %v", intent, got)
		}
	}
	s.seen.intent, s.yielded = control.IntentRun, time.Now().Add(-ha.DemotionPatience)
	if s.state().Yielding {
		t.Error("yields for longer than it stands back")
	}
}

func TestSentence(t *testing.T) {
	standbys := []control.Standby{{Node: "h3", State: "catchup", Sync: "async", LagBytes: 20 << 20}, {Node: "h2", State: "streaming", Sync: "sync"}}
	for want, st := range map[string]control.State{
		"primary, timeline 9; no standby is connected":                                          {Role: ha.Primary, Timeline: 9},
		"primary, timeline 9; h2 streaming, sync, 0 kB behind; h3 catchup, async, 20 MB behind": {Role: ha.Primary, Timeline: 9, Standbys: standbys},
		"standby of h1, timeline 9; 100 kB behind":                                              {Role: ha.Standby, Timeline: 9, Upstream: "h1", Receiving: true, LagBytes: 100 << 10},
		"standby, timeline 9; receives nothing from h1":                                         {Role: ha.Standby, Timeline: 9, Upstream: "h1"},
		"PostgreSQL runs but does not answer":                                                   {Role: ha.Unknown},
		"cloning: from h1":                                                                      {Role: ha.Down, Phase: control.PhaseCloning, Detail: "from h1"},
		"cloning: from h1, 1.0 GB of 4.0 GB (25 %), 96.0 MB/s, 32s left": {Role: ha.Down, Phase: control.PhaseCloning, Detail: "from h1",
			Progress: &control.Progress{Done: 1 << 30, Total: 4 << 30, Rate: 96 << 20}},
		"stopped": {Role: ha.Down, Phase: control.PhaseStopped},
	} {
		if got := Sentence(st); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestSizeIsQuietWhileLittleChanges(t *testing.T) {
	for bytes, want := range map[int64]string{0: "0 kB", 64<<10 - 1: "0 kB", 64 << 10: "64 kB", 1 << 20: "1 MB", 10<<30 - 1: "10239 MB", 10 << 30: "10 GB"} {
		if got := size(bytes); got != want {
			t.Errorf("%d: %q, want %q", bytes, got, want)
		}
	}
}

func TestReplacedCopiesGoOnceTheNewOneStreams(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	for _, mark := range []string{"20260101T120000", "20260102T120000"} {
		if err := os.MkdirAll(dir+".replaced-"+mark, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	streaming := &pg.Receiver{Status: "streaming"}
	for _, look := range []struct {
		name     string
		inSync   int
		receiver *pg.Receiver
		want     int
	}{
		{"while it is incomplete", 0, streaming, 2},
		{"while nothing is received", 3, nil, 2},
		{"in sync", 3, streaming, 1},
	} {
		s := &Supervisor{Instance: config.Instance{Node: "h2", PGData: dir, KeepReplaced: 1}, Log: slog.New(slog.DiscardHandler),
			life: t.Context(), copies: make(chan []string)}
		s.view = cluster.View{Epoch: ha.Epoch{Number: 3}, Nodes: []ha.Membership{{Node: "h2", InSync: look.inSync}}}
		s.seen.role, s.seen.look = ha.Standby, pg.Look{Receiver: look.receiver}
		s.tendCopies()
		if kept := <-s.copies; len(kept) != look.want {
			t.Errorf("%s: kept %v", look.name, kept)
		}
		s.background.Wait()
	}
}
