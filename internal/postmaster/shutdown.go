package postmaster

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/sys/unix"
)

// Ladder is how long a shutdown waits on each step.
type Ladder struct {
	Fast      time.Duration // after SIGINT: sessions are cut off, a checkpoint is written, WAL is sent out
	Immediate time.Duration // after SIGQUIT: no checkpoint; then SIGKILL
}

// Shutdown ends the server on a data directory: fast, then immediate (manual, "Shutting Down the
// Server"), then by SIGKILL. It answers nil only with the proof that no server process is left,
// which includes that there was none to begin with; it needs no connection and no pid file.
func Shutdown(ctx context.Context, pgdata string, log *slog.Logger, ladder Ladder) error {
	steps := []struct {
		mode     string
		signal   unix.Signal
		patience time.Duration
	}{
		{"fast shutdown", unix.SIGINT, ladder.Fast},
		{"immediate shutdown", unix.SIGQUIT, ladder.Immediate},
	}
	for _, step := range steps {
		servers, err := serverProcesses(pgdata)
		if err != nil || len(servers) == 0 {
			return err
		}
		if postmaster := postmasterOf(servers); postmaster != nil {
			log.InfoContext(ctx, "stopping PostgreSQL", "mode", step.mode, "pid", postmaster.PID, "patience", step.patience)
			if err := postmaster.Signal(step.signal); err != nil && !gone(err) {
				return err
			}
		}
		awaitAll(ctx, step.patience, servers)
	}
	return kill(ctx, pgdata, log)
}

// awaitAll waits for all of them to end, but no longer than patience. It does not say whether they
// did: the caller looks again, because there may be new ones.
func awaitAll(ctx context.Context, patience time.Duration, servers []Process) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for _, p := range servers {
		if p.Done(ctx) != nil {
			return
		}
	}
}

// kill repeats until nothing is left: a server that forks while it is being looked at leaves a child.
func kill(ctx context.Context, pgdata string, log *slog.Logger) error {
	for {
		servers, err := serverProcesses(pgdata)
		if err != nil || len(servers) == 0 {
			return err
		}
		log.WarnContext(ctx, "killing PostgreSQL: it did not stop in time", "pids", pids(servers))
		for _, p := range servers {
			if err := p.Signal(unix.SIGKILL); err != nil && !gone(err) {
				return err
			}
		}
		for _, p := range servers {
			if err := p.Done(ctx); err != nil {
				return fmt.Errorf("cannot stop PostgreSQL on %s: %w", pgdata, err)
			}
		}
	}
}
