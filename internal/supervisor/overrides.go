package supervisor

import (
	"context"
	"os"
	"path/filepath"
	"time"

	"pgtwin/internal/ha"
	"pgtwin/internal/instance"
	"pgtwin/internal/pg"
)

// overrides is what this host's postgresql.auto.conf has of settings that pgtwin decides.
type overrides struct {
	read  os.FileInfo // of the file as it was last read, nil: never
	wait  bool        // whether commits waited for standbys then (rep_mode)
	names []string
	tried time.Time

	unguarded string    // the restore_command that it has, where that can end the server
	guarded   time.Time // the latest attempt at mending that

	loaded time.Time       // the configuration, when the administrator's files were last looked at
	heeded instance.Heeded // what they lead to
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
	s.guard(ctx)
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

// heedFiles brings the settings that follow the administrator's files up to date once PostgreSQL has read those again:
// synchronous_commit where they ask for remote_apply, and restore_command.
func (s *Supervisor) heedFiles(ctx context.Context) {
	loaded := s.seen.look.ConfLoaded
	known := s.seen.role == ha.Primary || s.seen.role == ha.Standby && s.follows != ""
	if s.conn == nil || !known || loaded.Equal(s.overrides.loaded) {
		return
	}
	s.overrides.loaded = loaded
	heeded := instance.HeededOf(s.Instance)
	if heeded == s.overrides.heeded {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	if err := s.configure(ctx, s.follows, s.required(), s.spared()); err != nil {
		s.Log.Warn("cannot put synchronous_commit and restore_command of the files into force", "error", err)
		return
	}
	s.overrides.heeded = heeded
}

// guard keeps a restore_command that ALTER SYSTEM has set from ending the server.
func (s *Supervisor) guard(ctx context.Context) {
	command := s.overrides.unguarded
	if command == "" || time.Since(s.overrides.guarded) < reclaimEvery {
		return
	}
	s.overrides.guarded = time.Now()
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	var err error
	if s.conn != nil {
		err = s.conn.Guard(ctx, s.Instance.PGData, command)
	} else if err = pg.GuardAuto(s.Instance.PGData, command); err == nil {
		err = s.reread()
	}
	if err != nil {
		s.Log.Warn("cannot wrap restore_command: a status above 125 of it would end a standby that loses its primary", "error", err)
		return
	}
	s.Log.Info("wrapped the restore_command that ALTER SYSTEM has set: a status above 125, for example because its program is not there, would end the server")
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
	s.overrides.tried, s.overrides.guarded = time.Time{}, time.Time{}
	s.overrides.unguarded = pg.Unguarded(pg.ReadConfFiles(s.Instance.PGData), s.Instance.PGData)
	names, err := pg.SystemOverrides(s.Instance.PGData, wait)
	if err != nil {
		s.Log.Warn("cannot tell whether ALTER SYSTEM has set what pgtwin decides", "error", err)
	}
	s.overrides.read, s.overrides.wait, s.overrides.names = now, wait, names
	return names
}
