package pg

import (
	"context"
	"errors"
	"testing"
	"time"
)

func TestAStandbyThatStopsWaitsForItsRelease(t *testing.T) {
	t.Parallel()
	s := newServer(t, "release", template)
	s.settings.Synchronous = []string{"a", "leaving"}
	c := s.start()

	released := make(chan error, 1)
	go func() { released <- AwaitRelease(t.Context(), s.local(), "leaving") }()
	eventually(t, "the farewell to be seen", func() error {
		if c.lookNow(t).Farewells != 1 {
			return errors.New("nobody says farewell")
		}
		return nil
	})
	select {
	case err := <-released:
		t.Fatalf("released while commits wait: %v", err)
	default:
	}
	s.settings.Synchronous = []string{"a"}
	s.configure()
	must(t, c.Reload(t.Context()))
	must(t, <-released)

	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := AwaitRelease(ctx, s.local(), "a"); err == nil {
		t.Error("released, but commits wait")
	}
}
