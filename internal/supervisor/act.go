package supervisor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"pgtwin/internal/cluster"
	"pgtwin/internal/config"
	"pgtwin/internal/control"
	"pgtwin/internal/ha"
	"pgtwin/internal/instance"
	"pgtwin/internal/pg"
	"pgtwin/internal/postmaster"
)

// act carries out one decision.
func (s *Supervisor) act(ctx context.Context, a ha.Action) error {
	ctx, cancel := context.WithTimeout(ctx, clusterTimeout)
	defer cancel()
	switch a.Verb {
	case ha.SetScore:
		s.Log.Info(fmt.Sprintf("promotion score %d: %s", a.Number, a.Why), "PGTWIN_SCORE", a.Number)
		return s.setScore(ctx, a.Number)
	case ha.Publish:
		return s.publish(ctx, a)
	case ha.Require:
		return s.require(ctx, a)
	case ha.Restore:
		s.Log.Error("recording this host's promotion again: "+a.Why, "PGTWIN_EPOCH", a.Number)
		return s.record(ctx, ha.Promotion{Epoch: s.latest, InSync: s.complete(a.Number)})
	case ha.Spare:
		return s.spare(ctx, a)
	case ha.Leave:
		return s.leave(ctx, a)
	case ha.Follow:
		return s.configure(ctx, a.Node, nil, 0)
	case ha.Yield:
		return s.yield(ctx, a)
	case ha.Connect:
		return s.reconnect(ctx, a)
	case ha.Fail, ha.Replace:
		return s.fail(ctx, a)
	case ha.Halt:
		s.noteCrash("stopped at once: " + a.Why)
		s.noteByHand(a)
		return postmaster.Shutdown(ctx, s.Instance.PGData, s.Log, postmaster.Ladder{Immediate: time.Second})
	}
	return fmt.Errorf("unknown action %q", a.Verb)
}

// require changes which standbys commits wait for.
func (s *Supervisor) require(ctx context.Context, a ha.Action) error {
	required, spared := s.required(), s.spared()
	released := slices.ContainsFunc(required, func(node string) bool { return !slices.Contains(a.Nodes, node) })
	if released || a.Number > spared {
		// While Pacemaker's tools hang the view grows old.
		if err := s.refresh(ctx); err != nil {
			return err
		}
		// With rep_mode=async a record does not promise that commits wait.
		if err := ha.CheckRelax(a, required, s.candidate()); err != nil && ha.Mode(s.Instance.RepMode) != ha.Async {
			return err
		}
	}
	if a.Number > spared {
		if err := ha.CheckSpare(a.Number, s.candidate()); err != nil {
			return err
		}
	}
	if s.heed.order(waitedFor(a.Nodes, a.Number), time.Now()) {
		s.Log.Info(fmt.Sprintf("commits wait for %s: %s", waitedFor(a.Nodes, a.Number), a.Why))
	}
	if err := s.configure(ctx, "", a.Nodes, a.Number); err != nil {
		return err
	}
	return s.insist(ctx)
}

// publish records durably whether a node holds every acknowledged commit.
func (s *Supervisor) publish(ctx context.Context, a ha.Action) error {
	if a.Number > 0 {
		s.Log.Info(fmt.Sprintf("%s is complete: %s", a.Node, a.Why), "PGTWIN_EPOCH", a.Number)
	} else {
		s.Log.Warn(fmt.Sprintf("%s is recorded as behind: %s", a.Node, a.Why))
	}
	// The record must stand on a view that is still true.
	if err := s.refresh(ctx); err != nil {
		return err
	}
	if err := ha.CheckPublish(a, s.candidate()); err != nil {
		return err
	}
	s.memory.Publishing(time.Now(), a.Node, a.Number)
	if err := s.write(ctx, ha.RecordRank, cluster.Record{InSync: map[string]int{a.Node: a.Number}}); err != nil {
		return err
	}
	s.known(a.Node, func(m *ha.Membership) { m.InSync = a.Number })
	s.memory.Published(time.Now(), a.Node, a.Number)
	return nil
}

// write records over everything that was recorded here before, what was given
// up included: should that come to be applied after all, it is refused.
func (s *Supervisor) write(ctx context.Context, above func(rank int) int, r cluster.Record) error {
	r.Rank = above(max(s.view.Rank, s.rank))
	s.rank = r.Rank
	if err := s.Cluster.Write(ctx, s.view, r); err != nil {
		return err
	}
	s.view.Rank = r.Rank
	return nil
}

// complete is the record in which this host alone holds the commits of an epoch.
func (s *Supervisor) complete(epoch int) map[string]int {
	all := map[string]int{s.Instance.Node: epoch}
	for _, peer := range others(s.view, s.Instance.Node) {
		all[peer.Node] = 0
	}
	return all
}

// setScore sets this host's promotion score.
func (s *Supervisor) setScore(ctx context.Context, score int) error {
	if err := s.Cluster.SetScore(ctx, s.Instance.Node, score); err != nil {
		return err
	}
	s.known(s.Instance.Node, func(m *ha.Membership) { m.Score, m.Scored = score, true })
	return nil
}

// known brings the view up to date with what was just written: reading it
// again would cost a process and Pacemaker's time.
func (s *Supervisor) known(node string, change func(*ha.Membership)) {
	for i := range s.view.Nodes {
		if s.view.Nodes[i].Node == node {
			change(&s.view.Nodes[i])
		}
	}
}

// configure rewrites the managed settings and lets PostgreSQL read them.
func (s *Supervisor) configure(ctx context.Context, upstream string, required []string, spared int) error {
	settings, err := instance.Settings(s.Instance, s.credential, upstream, required)
	if err != nil {
		return err
	}
	settings.Failover = s.outliveFailover()
	settings.Spared = spared
	s.wish.arrange(&settings)
	if err := s.apply(ctx, settings); err != nil {
		return err
	}
	s.follows = upstream
	return nil
}

// apply writes the managed settings where they differ and lets PostgreSQL read them.
func (s *Supervisor) apply(ctx context.Context, settings pg.Settings) error {
	uid, gid, err := pg.Owner(s.Instance.PGData)
	if err != nil {
		return err
	}
	changed, err := pg.WriteConf(config.ConfDir(s.Instance.Name), settings, uid, gid)
	if err != nil {
		return err
	}
	if changed {
		s.Log.Info("configuration changed", "follows", followed(settings), "commits_wait_for", pg.All(settings.Synchronous, settings.Spared).String())
	}
	return s.reread()
}

// reread lets PostgreSQL read its configuration again, by the signal that pg_reload_conf() sends, too
// (manual, "Server Signaling Functions"): that needs no session.
func (s *Supervisor) reread() error {
	if s.server == nil {
		return errors.New("cannot reload the configuration: PostgreSQL does not run")
	}
	if err := s.server.Signal(unix.SIGHUP); err != nil {
		return fmt.Errorf("cannot reload the configuration: %w", err)
	}
	return nil
}

// takeIn copies the administrator's access rules anew when the configuration
// has been read again: PostgreSQL before 16 cannot include them, and whoever
// ordered it to read them meant the original.
func (s *Supervisor) takeIn(ctx context.Context) {
	loaded := s.seen.look.ConfLoaded
	if s.conn == nil || loaded.Equal(s.loaded) {
		return
	}
	s.loaded = loaded
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	changed, err := s.writeAccess()
	if err == nil && changed {
		s.Log.Info("pg_hba.conf or pg_ident.conf has changed: reading it again")
		err = s.conn.Reload(ctx)
	}
	if err != nil {
		s.Log.Warn("the access rules may not be those in "+s.Instance.PGData, "error", err)
	}
}

func (s *Supervisor) writeAccess() (changed bool, err error) {
	settings, err := instance.Settings(s.Instance, s.credential, "", nil)
	if err != nil {
		return false, err
	}
	uid, gid, err := pg.Owner(s.Instance.PGData)
	if err != nil {
		return false, err
	}
	return pg.WriteAccess(config.ConfDir(s.Instance.Name), settings, uid, gid)
}

// followed is where the upstream is, for messages.
func followed(settings pg.Settings) string {
	if settings.Upstream == nil {
		return ""
	}
	return settings.Upstream.Host
}

// yield lets a peer take over from this host's dead primary: the score alone
// makes Pacemaker demote here and promote there.
func (s *Supervisor) yield(ctx context.Context, a ha.Action) error {
	if !s.yielded.IsZero() {
		return nil // it is on its way
	}
	if err := s.setScore(ctx, ha.Minus); err != nil {
		return err
	}
	s.yielded = time.Now()
	s.noteCrash(a.Node + " takes over: " + a.Why)
	return nil
}

// fail reports the instance to Pacemaker, once per activation.
func (s *Supervisor) fail(ctx context.Context, a ha.Action) error {
	if s.reported.Equal(s.seen.progress.Since) {
		return nil
	}
	// A failure of what Pacemaker has no result of gets a higher number than any
	// later action (get_fake_call_id in controld_execd.c), and it would recover
	// for ever. The probe that is on its way tells it what has happened.
	if err := s.refresh(ctx); err != nil || !s.view.Tracked {
		return err
	}
	if a.Verb == ha.Replace {
		if err := s.noteStuck(); err != nil {
			return err
		}
	}
	if err := s.Cluster.Fail(ctx, s.Instance.Node); err != nil {
		return err
	}
	if s.seen.role == ha.Standby {
		s.countRestart()
	}
	s.reported = s.seen.progress.Since
	s.noteCrash("reported to Pacemaker as failed: " + a.Why)
	return nil
}

// note adds to the history beside the loop, which does not wait for the disk.
func (s *Supervisor) note(e control.Event) {
	e.At = time.Now()
	s.background.Go(func() {
		if err := control.Note(config.HistoryFile(s.Instance.Name), e); err != nil {
			s.Log.Warn(err.Error())
		}
	})
}

func (s *Supervisor) noteCrash(what string) {
	s.Log.Error(what, "PGTWIN_ROLE", string(s.seen.role))
	s.note(control.Event{Kind: control.EventCrash, Node: s.Instance.Node, Epoch: s.view.Epoch.Number, Timeline: s.seen.look.Timeline, Why: what})
	s.crashes.Count, s.crashes.Last = s.crashes.Count+1, time.Now()
	s.keepCrashes()
}

// noteByHand keeps, for the status, that somebody promoted this standby.
func (s *Supervisor) noteByHand(a ha.Action) {
	if a.Number == 0 {
		return
	}
	s.crashes.ByHand, s.crashes.ByHandAt = a.Why, time.Now()
	s.keepCrashes()
}

func (s *Supervisor) keepCrashes() {
	if err := control.WriteJSON(config.CrashFile(s.Instance.Name), s.crashes, 0o644); err != nil {
		s.Log.Warn("cannot record the crash", "error", err)
	}
}
