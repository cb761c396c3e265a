package control

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"pgtwin/internal/ha"
)

// serve runs a server for the length of the test.
func serve(t *testing.T, handle Handler) string {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "control.sock")
	listener, err := Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, listener, handle, slog.New(slog.DiscardHandler)) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return socket
}

func TestAnAnswerCarriesErrorAndState(t *testing.T) {
	socket := serve(t, func(_ context.Context, verb Verb) Answer {
		return Answer{Error: "refused " + string(verb), State: State{Role: ha.Standby, LSN: 0x3000060}}
	})
	got, err := Ask(t.Context(), socket, Promote)
	if err != nil {
		t.Fatal(err)
	}
	if got.Error != "refused promote" || got.State.Role != ha.Standby || got.State.LSN.String() != "0/3000060" {
		t.Errorf("Ask = %+v", got)
	}
}

func TestTheHandlerKnowsTheCallersDeadline(t *testing.T) {
	var seen time.Time
	socket := serve(t, func(ctx context.Context, _ Verb) Answer {
		seen, _ = ctx.Deadline()
		return Answer{}
	})
	want := time.Now().Add(7 * time.Second)
	ctx, cancel := context.WithDeadline(t.Context(), want)
	defer cancel()
	if _, err := Ask(ctx, socket, Status); err != nil {
		t.Fatal(err)
	}
	if !seen.Equal(want.Round(0)) {
		t.Errorf("the handler's deadline is %s, the caller's %s", seen, want)
	}
}

func TestAHungSupervisorIsAnErrorAtTheDeadline(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	socket := serve(t, func(context.Context, Verb) Answer {
		<-release
		return Answer{}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := Ask(ctx, socket, Status); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("err = %v; want the deadline", err)
	}
}

func TestASocketOfAKilledSupervisorIsReplaced(t *testing.T) {
	socket := serve(t, func(context.Context, Verb) Answer { return Answer{} })
	again, err := Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
}
