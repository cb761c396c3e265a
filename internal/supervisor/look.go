package supervisor

import (
	"context"
	"log/slog"

	"pgtwin/internal/config"
	"pgtwin/internal/control"
)

// Look is one look at the instance without a supervisor, for the agent when
// the supervisor does not answer.
func Look(ctx context.Context, i config.Instance, log *slog.Logger) control.State {
	s := &Supervisor{Instance: i, Log: log}
	defer s.disconnect()
	ctx, cancel := context.WithCancel(ctx)
	s.life = ctx
	defer s.background.Wait()
	defer cancel()
	s.observe(ctx)
	return s.state()
}
