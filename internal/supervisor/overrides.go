package supervisor

import (
	"context"
	"os"
	"path/filepath"
	"time"

	"pgtwin/internal/ha"
	"pgtwin/internal/pg"
)

// overrides is what this host's postgresql.auto.conf has of settings that pgtwin decides.
type overrides struct {
	read  os.FileInfo // of the file as it was last read, nil: never
	wait  bool        // whether commits waited for standbys then (rep_mode)
	names []string
	tried time.Time

	loaded time.Time // the configuration, when the administrator's files were last looked at
	commit string    // the synchronous_commit that they lead to
}

// reclaimEvery is how long an ALTER SYSTEM that cannot be taken back is left before it is tried again.
const reclaimEvery = 10 * time.Second

// reclaim keeps what pgtwin decides to one writer, on a primary and on a standby. With other
// synchronous_standby_names the records of who is complete are not true, with a lowered
// synchronous_commit commits do not wait, and with another primary_conninfo a standby follows another
// server. The file is looked at and not pg_settings, because then nothing of it need be in force yet.
func (s *Supervisor) reclaim(ctx context.Context) {
	if s.seen.role != ha.Primary && s.seen.role != ha.Standby {
		return
	}
	names := s.overridden()
	if len(names) == 0 || time.Since(s.overrides.tried) < reclaimEvery {
		return
	}
	s.Log.Warn("taking back ALTER SYSTEM: pgtwin decides these settings, so that what is acknowledged is on the hosts that may be promoted",
		"settings", names)
	if err := s.takeBack(ctx, names); err != nil {
		s.Log.Error("what ALTER SYSTEM has set stays in force: commits may not wait for the standbys that may be promoted", "error", err)
	}
	s.overrides.tried = time.Now()
}

// takeBack does without a session where the server refuses one: its file is replaced.
func (s *Supervisor) takeBack(ctx context.Context, names []string) error {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	if s.conn != nil && s.conn.Reclaim(ctx, s.Instance.PGData, names) == nil {
		return nil
	}
	if _, err := pg.RemoveRecoverySettings(s.Instance.PGData, names); err != nil {
		return err
	}
	return s.reread()
}

// heedCommit brings synchronous_commit up to date with the administrator's files once PostgreSQL has read
// them again: where they ask for remote_apply commits wait for that.
func (s *Supervisor) heedCommit(ctx context.Context) {
	loaded := s.seen.look.ConfLoaded
	known := s.seen.role == ha.Primary || s.seen.role == ha.Standby && s.follows != ""
	if s.conn == nil || !known || ha.Mode(s.Instance.RepMode) == ha.Async || loaded.Equal(s.overrides.loaded) {
		return
	}
	s.overrides.loaded = loaded
	commit := pg.CommitWait(pg.ReadConfFiles(s.Instance.PGData))
	if commit == s.overrides.commit {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	if err := s.configure(ctx, s.follows, s.required(), s.spared()); err != nil {
		s.Log.Warn("synchronous_commit may not be as the files want it", "error", err)
		return
	}
	s.overrides.commit = commit
}

// overridden are the names, read anew when the file is another.
func (s *Supervisor) overridden() []string {
	now, err := os.Stat(filepath.Join(s.Instance.PGData, "postgresql.auto.conf"))
	if err != nil {
		return nil
	}
	was, wait := s.overrides.read, ha.Mode(s.Instance.RepMode) != ha.Async
	if was != nil && s.overrides.wait == wait && os.SameFile(was, now) && was.ModTime().Equal(now.ModTime()) && was.Size() == now.Size() {
		return s.overrides.names
	}
	s.overrides.tried = time.Time{}
	names, err := pg.SystemOverrides(s.Instance.PGData, wait)
	if err != nil {
		s.Log.Warn("cannot tell whether ALTER SYSTEM has set what pgtwin decides", "error", err)
	}
	s.overrides.read, s.overrides.wait, s.overrides.names = now, wait, names
	return names
}
