package pg

import (
	"errors"
	"testing"

	"pgtwin/internal/ha"
)

func TestAStandbyKnowsItsPositionOnceItHasReadAllOfItsWAL(t *testing.T) {
	t.Parallel()
	a := newServer(t, "a", template)
	ca := a.start()
	b, cb := standbyOf(a, ca, "b")
	late, cl := standbyOf(a, ca, "late")
	streaming(t, ca, cb)
	streaming(t, ca, cl)
	system := ca.lookNow(t).System
	late.stop()
	ca.must(t, "CREATE TABLE public.t AS SELECT i, repeat('x', 500) FROM generate_series(1, 50000) AS i")
	streaming(t, ca, cb)
	end := ca.lookNow(t).Flushed

	inDatabase := func(s *server) Target {
		target := s.remote()
		target.Database = "postgres"
		return target
	}
	if _, err := AskPosition(t.Context(), inDatabase(a), system); err == nil {
		t.Error("a primary has a standby's position")
	}
	if _, err := AskPosition(t.Context(), inDatabase(b), system+1); err == nil {
		t.Error("another database has a position")
	}
	a.crash()
	b.crash()
	cb = b.start()
	eventually(t, "a position", func() error {
		at, err := AskPosition(t.Context(), inDatabase(b), system)
		if err == nil && at < end {
			t.Fatalf("at %s after a crash, it had flushed %s", at, end)
		}
		return err
	})

	// What another standby lacks it can get without a primary, and without a slot.
	late.follow(b)
	late.settings.Slot = ""
	cl = late.start()
	eventually(t, "the late standby to catch up", func() error {
		if cl.lookNow(t).Position() < cb.lookNow(t).Position() {
			return errors.New("it is behind")
		}
		return nil
	})
	if at, err := AskPosition(t.Context(), inDatabase(late), system); err != nil || at < end {
		t.Errorf("the late standby is at %s, %v", at, err)
	}
	must(t, cl.Promote(t.Context()))
	if got := cl.value(t, "SELECT count(*)::text FROM public.t"); got != "50000" {
		t.Errorf("%s rows", got)
	}
	if l := cl.lookNow(t); l.Timeline != 2 || l.Position() == ha.LSN(0) {
		t.Errorf("promoted: %+v", l)
	}
}
