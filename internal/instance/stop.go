package instance

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"pgtwin/internal/config"
	"pgtwin/internal/control"
	"pgtwin/internal/postmaster"
)

// Stop ends PostgreSQL with a fast shutdown, or by force when it takes too
// long. It signals the postmaster itself: no runtime, connection or free disk
// space is needed, and there is nothing to do where nothing runs.
func Stop(ctx context.Context, i config.Instance, log *slog.Logger) error {
	return shutdown(ctx, i, log)
}

func shutdown(ctx context.Context, i config.Instance, log *slog.Logger) error {
	// Three quarters for a clean end, which spares the next start its crash
	// recovery; the rest for an immediate one.
	fast := i.StopTimeout * 3 / 4
	ladder := postmaster.Ladder{Fast: fast, Immediate: (i.StopTimeout - fast) / 2}
	if err := postmaster.Shutdown(ctx, i.PGData, log, ladder); err != nil {
		return fmt.Errorf("cannot stop PostgreSQL on %s: %w", i.PGData, err)
	}
	return nil
}

// Cleanup is for after the unit's main process has ended, however it did:
// nothing of PostgreSQL runs on. The container's record is removed at the end;
// between a crash or a demotion and the activation that follows it stays, for
// that to remove: the promotion elsewhere needs the processors now.
func Cleanup(ctx context.Context, i config.Instance, log *slog.Logger) error {
	err := errors.Join(shutdown(ctx, i, log), removeFile(config.Grant(i.Name)))
	intent, readErr := control.ReadIntent(config.Intent(i.Name))
	if readErr != nil {
		return errors.Join(err, readErr)
	}
	if !i.ContainerMode || intent != control.IntentStop {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	r, openErr := openRuntime(ctx, i, log)
	if openErr != nil {
		return errors.Join(err, openErr)
	}
	defer r.Close()
	return errors.Join(err, r.Remove(ctx, i.Name), r.Remove(ctx, i.Name+"-job"))
}
