package sim

import (
	"testing"
	"time"

	"pgtwin/internal/ha"
)

// story is a cluster in good order to which a test does something.
type story struct {
	*world
	t                *testing.T
	primary, standby *host
}

func tell(t *testing.T, config string) *story {
	t.Helper()
	s := &story{world: newWorld(configured(config), realCore(), 1, true), t: t}
	s.ledger = ledger{w: s.world}
	s.awaitOrder()
	return s
}

// awaitOrder goes on until the service is there, and all of it.
func (s *story) awaitOrder() {
	s.t.Helper()
	var r Result
	if !s.until(&r, patience, s.inOrder(patience)) {
		s.t.Fatalf("no good order: %v", s.ledger.violation)
	}
	s.primary = s.world.primary()
	s.standby = s.hosts[(s.primary.id+1)%len(s.hosts)]
}

// pass lets time go by.
func (s *story) pass(d time.Duration) {
	s.t.Helper()
	var r Result
	s.until(&r, d, func() bool { return false })
	if s.ledger.violation != nil {
		s.t.Fatal(s.ledger.violation)
	}
}

func TestAStaleStandbyThatBootsAloneWaits(t *testing.T) {
	s := tell(t, "two-sync")
	first, stale := s.primary, s.standby
	returns := s.keepOff(stale)
	s.pass(30 * time.Second)
	before := s.ledger.commits
	if s.pass(5 * time.Second); s.ledger.commits == before {
		t.Fatal("the primary does not go on alone")
	}
	recovers := s.keepOff(first)
	returns()
	s.pass(3 * time.Minute)
	if stale.server != nil && stale.server.primary {
		t.Fatal("the stale standby is primary")
	}
	recovers()
	s.awaitOrder()
	if s.primary != first {
		t.Errorf("%s is primary, %s has every commit", s.primary.name, first.name)
	}
}

func TestALossIsRecordedBeforeCommitsGoOn(t *testing.T) {
	s := tell(t, "two-sync")
	recorded := func() bool { return s.primary.cib.inSync[s.standby.id] > 0 }
	over := s.cutReplication(s.standby, only(s.primary.id))
	s.pass(200 * ms) // what was in transit
	before := s.ledger.commits
	for s.ledger.commits == before && s.now < 2*time.Minute {
		if s.pass(50 * ms); s.ledger.commits > before && recorded() {
			t.Fatal("a commit was acknowledged alone, and the standby is recorded as complete")
		}
	}
	if s.ledger.commits == before {
		t.Fatal("commits wait for ever")
	}
	over()
	s.awaitOrder()
}

func TestASplitWithFencingLeavesOneWriter(t *testing.T) {
	s := tell(t, "two-sync")
	over := s.begin(Fault{Kind: CutBoth}, s.primary)
	s.pass(40 * time.Second)
	running := 0
	for _, h := range s.hosts {
		if h.server != nil && h.server.primary {
			running++
		}
	}
	if running != 1 {
		t.Errorf("%d hosts are primary", running)
	}
	over()
	s.awaitOrder()
}

func TestNoTimelineIsUsedTwice(t *testing.T) {
	s := tell(t, "two-sync")
	used := map[ha.Timeline]bool{}
	for range 8 {
		s.primary.killed(KillServer)
		s.pass(time.Second)
		s.awaitOrder()
	}
	for _, p := range s.ledger.promotions {
		if used[p.on] {
			t.Errorf("timeline %d is used twice", p.on)
		}
		used[p.on] = true
		if int(p.on-1)%2 != p.host.id {
			t.Errorf("timeline %d is not %s's", p.on, p.host.name)
		}
	}
	if len(used) < 9 {
		t.Errorf("%d promotions, expected one per death", len(used))
	}
}

func TestAMoveTakesSecondsAndLosesNothing(t *testing.T) {
	s := tell(t, "two-sync")
	target := s.standby
	s.operate(Move, target)
	s.pass(8 * time.Second)
	if s.world.primary() != target {
		t.Errorf("%s is not primary after the move", target.name)
	}
	s.awaitOrder()
}

func TestInStrictModeCommitsWaitForTheStandby(t *testing.T) {
	s := tell(t, "two-strict")
	returns := s.keepOff(s.standby)
	s.pass(10 * time.Second)
	before := s.ledger.commits
	s.pass(time.Minute)
	if s.ledger.commits != before {
		t.Error("commits were acknowledged without the standby")
	}
	returns()
	s.awaitOrder()
}
