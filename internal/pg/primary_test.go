package pg

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"

	"pgtwin/internal/ha"
)

func TestPromotionSkipsReservedTimelinesAndStandbysFollow(t *testing.T) {
	t.Parallel()
	a := newServer(t, "a", template)
	ca := a.start()
	b, cb := standbyOf(a, ca, "b")
	c, cc := standbyOf(a, ca, "c")
	streaming(t, ca, cb)
	a.stop()

	must(t, WriteMarkers(b.data, ha.History{Timeline: 1}, []ha.Timeline{2, 3}))
	must(t, cb.Promote(t.Context()))
	must(t, cb.Promote(t.Context())) // is one already
	look := cb.lookNow(t)
	if look.InRecovery || look.Timeline != 4 {
		t.Fatalf("promoted to timeline %d, want 4", look.Timeline)
	}
	history, err := ReadHistory(b.data, 4)
	must(t, err)
	if len(history.Parents) != 1 || !history.Contains(1, history.Parents[0].At) {
		t.Errorf("history %+v", history)
	}

	must(t, cb.EnsureSlot(t.Context(), "c"))
	c.follow(b)
	c.configure()
	must(t, cc.Reload(t.Context()))
	cb.must(t, "CREATE TABLE public.t4 (i int)")
	streaming(t, cb, cc)
	if s := cc.lookNow(t); s.Timeline != 4 {
		t.Errorf("the standby is on timeline %d", s.Timeline)
	}
	remoteIdentity(t, b, look.System, history)

	// Restarted without a checkpoint of its own, the standby finds its way by the same markers.
	c.stop()
	control, err := ReadControl(c.data)
	must(t, err)
	if removed, err := RemoveMarkers(c.data, control.Reached()); removed != nil || err != nil {
		t.Errorf("removed %v, %v", removed, err)
	}
	streaming(t, cb, c.start())
}

func remoteIdentity(t *testing.T, s *server, wantSystem uint64, want ha.History) {
	t.Helper()
	system, tl, lsn, err := IdentifySystem(t.Context(), s.remote())
	if err != nil || system != wantSystem || tl != want.Timeline || lsn < want.Parents[0].At {
		t.Errorf("identified %d, %d, %s, %v", system, tl, lsn, err)
	}
	got, err := ReplicationHistory(t.Context(), s.remote(), tl)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("history %+v, %v", got, err)
	}
	if got, err := ReplicationHistory(t.Context(), s.remote(), 1); err != nil || got.Parents != nil {
		t.Errorf("history of timeline 1: %+v, %v", got, err)
	}
}

func TestAMarkerLeftByACrashIsRemovedBeforeTheStart(t *testing.T) {
	t.Parallel()
	a := newServer(t, "a", template)
	ca := a.start()
	b, cb := standbyOf(a, ca, "b")
	streaming(t, ca, cb)
	must(t, WriteMarkers(b.data, ha.History{Timeline: 1}, []ha.Timeline{2, 3}))
	streaming(t, ca, cb) // a running standby does not mind
	b.crash()

	control, err := ReadControl(b.data)
	must(t, err)
	removed, err := RemoveMarkers(b.data, control.Reached())
	if err != nil || !slices.Equal(removed, []ha.Timeline{3, 2}) {
		t.Fatalf("removed %v, %v", removed, err)
	}
	streaming(t, ca, b.start())
}

func TestSlots(t *testing.T) {
	t.Parallel()
	s := newServer(t, "slots", template)
	c := s.start()
	ctx := t.Context()
	for range 2 {
		must(t, c.EnsureSlot(ctx, "x"))
	}
	look := c.lookNow(t)
	if len(look.Slots) != 1 || look.Slots[0].Restart == 0 {
		t.Fatalf("slots %+v", look.Slots)
	}
	c.must(t, "CREATE TABLE public.t (i int)")
	to := c.lookNow(t).Flushed
	for range 2 {
		must(t, c.AdvanceSlot(ctx, "x", to))
	}
	if got := c.lookNow(t).Slots[0].Restart; got != to {
		t.Errorf("advanced to %s, want %s", got, to)
	}
	for range 2 {
		must(t, c.DropSlot(ctx, "x"))
	}
	if got := c.lookNow(t).Slots; got != nil {
		t.Errorf("left %+v", got)
	}
}

func TestAnotherWriterOfSynchronousStandbyNamesIsFoundAndUndone(t *testing.T) {
	t.Parallel()
	s := newServer(t, "reclaim", template)
	s.settings.Synchronous = []string{"a", "b"}
	c := s.start()
	ours := c.lookNow(t)
	if SystemSet(ours.SynchronousFrom) || ours.SynchronousFrom == "" {
		t.Errorf("from %q", ours.SynchronousFrom)
	}
	c.must(t, "ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 (a, b)'")
	must(t, c.Reload(t.Context()))
	eventually(t, "the other setting", func() error {
		if !SystemSet(c.lookNow(t).SynchronousFrom) {
			return errors.New("it is not in force")
		}
		return nil
	})
	must(t, c.Reclaim(t.Context(), s.data, []string{"synchronous_standby_names"}))
	eventually(t, "our setting", func() error {
		if now := c.lookNow(t); now.Synchronous != ours.Synchronous {
			return errors.New(now.Synchronous)
		}
		return nil
	})
}

func TestAStandbyThatIsLedAwayIsBroughtBack(t *testing.T) {
	t.Parallel()
	a := newServer(t, "a", template)
	ca := a.start()
	b, cb := standbyOf(a, ca, "b")
	streaming(t, ca, cb)
	if l := cb.lookNow(t); l.Overridden != nil || !l.AwaitsWAL {
		t.Errorf("%+v", l)
	}
	cb.must(t, "ALTER SYSTEM SET primary_conninfo = 'host=127.0.0.1 port=1'")
	must(t, cb.Reload(t.Context()))
	eventually(t, "the end of streaming", func() error {
		if l := cb.lookNow(t); l.Receiver.Streaming() || !l.AwaitsWAL || !slices.Equal(l.Overridden, []string{"primary_conninfo"}) {
			return fmt.Errorf("%+v", l)
		}
		return nil
	})
	must(t, cb.Reclaim(t.Context(), b.data, []string{"primary_conninfo"}))
	streaming(t, ca, cb)
	if l := cb.lookNow(t); l.Overridden != nil {
		t.Errorf("left %q", l.Overridden)
	}
}
