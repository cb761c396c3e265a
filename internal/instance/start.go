package instance

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"pgtwin/internal/config"
	"pgtwin/internal/control"
	"pgtwin/internal/ha"
	"pgtwin/internal/pg"
	"pgtwin/internal/postmaster"
	"pgtwin/internal/runtime"
	"pgtwin/internal/storage"
	"pgtwin/internal/units"
)

var (
	errNotYet = errors.New("PostgreSQL does not take connections yet")
	errEnded  = errors.New("PostgreSQL ended while starting")
)

// start runs PostgreSQL as a standby and waits until it answers. Where PostgreSQL does not start with the
// administrator's files, the copies of those with which it has are tried: of the configuration files, then
// of the TLS files.
func (a *Activation) start(ctx context.Context, arrival ha.Arrival) error {
	err := a.startOnce(ctx, arrival)
	if err != nil && a.fallBack(err) {
		err = a.giveBack(a.startOnce(ctx, arrival))
	}
	if errors.Is(err, errEnded) && a.fallBackTLS(err) {
		err = a.startOnce(ctx, arrival)
	}
	if err != nil {
		return a.explain(err)
	}
	return nil
}

func (a *Activation) startOnce(ctx context.Context, arrival ha.Arrival) error {
	if err := a.checkFiles(arrival); err != nil {
		return err
	}
	if err := a.noteOrigin(arrival); err != nil {
		return err
	}
	if err := a.noteMounts(); err != nil {
		return err
	}
	if err := a.raiseLevel(ctx, arrival); err != nil {
		return err
	}
	if err := a.readyData(); err != nil {
		return err
	}
	if err := a.configure(arrival); err != nil {
		return err
	}
	a.recallCollations()
	a.archived = ha.NeedsArchive(arrival)
	started, err := a.launch(ctx, arrival)
	if err != nil {
		return err
	}
	a.keepTLS()
	if err := a.compareCollations(ctx); err != nil {
		return errors.Join(err, a.abandon(ctx))
	}
	a.nameLost(ctx)
	a.noteRejoin(arrival)
	return a.handOver(ctx, started)
}

// runServer starts PostgreSQL and waits until it answers.
func (a *Activation) runServer(ctx context.Context, server pg.Server) (runtime.Started, error) {
	var err error
	if server.TLS, err = a.tlsSettings(); err != nil {
		return runtime.Started{}, err
	}
	spec, err := a.spec(a.Instance.Name, server.Argv())
	if err != nil {
		return runtime.Started{}, err
	}
	spec.Unit, spec.Slice = units.Database(a.Instance.Name), units.Slice(a.Instance.Name)
	if err := a.report(a.beginning(server)); err != nil {
		return runtime.Started{}, err
	}
	started, err := a.runtime.Start(ctx, spec)
	if err != nil {
		return started, fmt.Errorf("cannot start PostgreSQL: %w", errors.Join(err, a.abandon(ctx)))
	}
	if err := a.awaitReady(ctx, started); err != nil {
		return started, errors.Join(err, a.abandon(ctx))
	}
	return started, nil
}

// noteMounts remembers which file systems have the data.
func (a *Activation) noteMounts() error {
	links, err := storage.Links(a.Instance.PGData)
	if err != nil {
		return err
	}
	dirs := []string{a.Instance.PGData}
	for _, l := range links {
		dirs = append(dirs, l.Dir)
	}
	return storage.NoteMounts(config.MountFile(a.Instance.Name), dirs...)
}

// noteOrigin keeps, until the first promotion is recorded, whether the data
// were a primary's: from its first start here on every server is a standby.
func (a *Activation) noteOrigin(arrival ha.Arrival) error {
	path := config.FounderFile(a.Instance.Name)
	if arrival.Epoch.Number > 0 {
		return removeFile(path)
	}
	standby, err := pg.MeantStandby(a.Instance.PGData)
	if err != nil || standby || arrival.Ended == ha.Replaying {
		return err
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		return fmt.Errorf("cannot note that the data are a primary's: %w", err)
	}
	return nil
}

// readyData leaves the data directory as a start wants it: as a standby's, and
// without settings of ours or reservations that would contradict.
func (a *Activation) readyData() error {
	dir := a.Instance.PGData
	c, err := pg.ReadControl(dir)
	if err != nil {
		return err
	}
	if removed, err := pg.RemoveMarkers(dir, c.Reached()); err != nil {
		return err
	} else if len(removed) > 0 {
		a.Log.Info("removed timeline reservations of a promotion that did not happen", "timelines", removed)
	}
	if err := a.takeBack(); err != nil {
		return err
	}
	return pg.SetStandbySignal(dir)
}

// configure writes the configuration of a standby of the recorded primary. A
// start waits for no standby: who is required is decided after a promotion.
func (a *Activation) configure(arrival ha.Arrival) error {
	upstream := ""
	if node := arrival.Epoch.Node; node != a.Instance.Node {
		upstream = node
	}
	if err := a.settleFiles(); err != nil {
		return err
	}
	a.settleTLS()
	if err := a.settleNetwork(); err != nil {
		return err
	}
	settings, err := Settings(a.Instance, a.credential, upstream, nil)
	if err != nil {
		return err
	}
	_, err = pg.WriteConf(config.ConfDir(a.Instance.Name), settings, a.owner.uid, a.owner.gid)
	return err
}

// Settings are instance i's as a standby of upstream, or, with "", as a server
// without one; commits wait for the nodes of required.
func Settings(i config.Instance, c pg.Credential, upstream string, required []string) (pg.Settings, error) {
	major, err := pg.MajorVersion(i.PGData)
	if err != nil {
		return pg.Settings{}, err
	}
	standIns, err := ReadStandIns(i.Name)
	if err != nil {
		return pg.Settings{}, err
	}
	s := pg.Settings{
		Accepted:           standIns.Kinds(),
		Name:               i.Name,
		Major:              major,
		PGData:             i.PGData,
		Port:               i.Port,
		SocketDir:          i.SocketDir,
		User:               i.User,
		ReplicationUser:    c.User,
		WALKeepSize:        int(i.WALKeepSize >> 20),
		MaxSlotWALKeepSize: i.MaxSlotWALKeepSize,
	}
	heedFiles(&s, i)
	reach, err := ReadReach(i.Name)
	if err != nil {
		return pg.Settings{}, err
	}
	s.ReplicationHosts, s.ReplicationTLS = reach.hosts(i), reach.TLS
	for _, node := range required {
		s.Synchronous = append(s.Synchronous, config.ApplicationNameOf(i, node))
		s.SynchronizedSlots = append(s.SynchronizedSlots, config.SlotFor(i, node))
	}
	if upstream != "" {
		target := Upstream(i, c, upstream)
		target.ApplicationName = i.ApplicationName
		s.Upstream, s.Slot = &target, config.SlotFor(i, i.Node)
	}
	return s, nil
}

// awaitReady waits as long as PostgreSQL needs, crash recovery included; the
// agent does not wait for it.
func (a *Activation) awaitReady(ctx context.Context, started runtime.Started) error {
	var commands postmaster.Commands
	server, err := postmaster.Open(started.PID)
	if err != nil {
		return fmt.Errorf("%w: see journalctl -u %s: %w", errEnded, units.Database(a.Instance.Name), err)
	}
	began := time.Now()
	for tick := 1; ; tick++ {
		if err := a.answers(ctx); err == nil {
			a.Log.Info("PostgreSQL answers", "seconds", time.Since(began).Seconds(), "pid", started.PID)
			return nil
		}
		if !server.Alive() {
			return fmt.Errorf("%w: see journalctl -u %s", errEnded, units.Database(a.Instance.Name))
		}
		if tick > 100 && tick%20 == 0 { // an ordinary start has no use for the look at all processes
			a.endCommands(&commands)
		}
		if tick == 100 || tick%500 == 0 {
			if err := a.reportRecovery(time.Since(began)); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("stopped while PostgreSQL was starting: %w", context.Cause(ctx))
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// endCommands ends a restore_command that hangs, as where the archive is gone, in a start that does without it: PostgreSQL asks
// the archive first even for WAL that is here.
func (a *Activation) endCommands(commands *postmaster.Commands) {
	if a.archived {
		return
	}
	hung, err := commands.EndHung(a.Instance.PGData, pg.Guard)
	if err != nil {
		a.Log.Debug("cannot look for commands that hold up the start", "error", err)
	}
	for _, p := range hung {
		a.Log.Warn(fmt.Sprintf("ended %q (process %d), which held up the start: restore_command or archive_cleanup_command hangs", p.Program(), p.PID))
	}
}

// reportRecovery shows how far crash recovery has come.
func (a *Activation) reportRecovery(lasted time.Duration) error {
	detail := fmt.Sprintf("PostgreSQL recovers, %s so far", lasted.Round(time.Second))
	p := control.Progress{Phase: control.PhaseStarting, Detail: detail, HotStandbyOff: a.progress.HotStandbyOff, Lowering: a.progress.Lowering}
	if c, err := pg.ReadControl(a.Instance.PGData); err == nil {
		p.Detail, p.Done = recovery(c, a.replaying(c), lasted)
	}
	return a.report(p)
}

// replaying is where the startup process is, 0 where that cannot be seen.
func (a *Activation) replaying(c pg.Control) ha.LSN {
	segment, err := postmaster.Recovering(a.Instance.PGData)
	if err != nil {
		return 0
	}
	at, _ := pg.SegmentStart(segment, c.SegmentSize)
	return at
}

// recovery says how far a recovery is, and the bytes that are done.
func recovery(c pg.Control, at ha.LSN, lasted time.Duration) (detail string, done int64) {
	detail = fmt.Sprintf("PostgreSQL recovers (%s) from %s", c.State, c.Redo)
	if at > c.Redo {
		detail += fmt.Sprintf(", is at %s", at)
		done = int64(at - c.Redo)
	}
	if c.MinRecovery > at && c.MinRecovery > c.Redo {
		detail += fmt.Sprintf(", takes connections at %s at the earliest", c.MinRecovery)
	}
	if c.BackupStart > 0 {
		detail += fmt.Sprintf(", waits for the end of the backup that began at %s, up to which it needs the WAL of its primary or of an archive (restore_command)", c.BackupStart)
	}
	return fmt.Sprintf("%s, %s so far", detail, lasted.Round(time.Second)), done
}

func (a *Activation) answers(ctx context.Context) error {
	accepts, err := pg.Accepts(a.Instance.PGData)
	if err != nil || !accepts {
		return errors.Join(err, errNotYet)
	}
	if a.progress.HotStandbyOff {
		return nil // it takes no sessions
	}
	limited, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	conn, err := pg.ConnectServer(limited, Local(a.Instance))
	if err == nil {
		return conn.Close(limited)
	}
	if ctx.Err() != nil { // systemd has asked for a stop, and nothing is wrong with the server
		return context.Cause(ctx)
	}
	// The server itself has written that it takes connections. That it takes none of ours, for whatever
	// is wrong with a database, a role or the number of sessions, or, with hot_standby=off, none at all,
	// is nothing that waiting would mend.
	a.Log.Warn("PostgreSQL is ready, but refuses pgtwin a session", "error", err)
	return nil
}

// Local is the connection to this host's own server, over its socket as root.
func Local(i config.Instance) pg.Target {
	return pg.Target{Host: i.SocketDir, Port: i.Port, Major: majorOf(i), User: i.User, Database: "postgres",
		ApplicationName: "pgtwin", ConnectTimeout: 2 * time.Second}
}

// majorOf is the major version of the data here, which every host of a replicated database has; 0 where
// there are none yet.
func majorOf(i config.Instance) int {
	major, err := pg.MajorVersion(i.PGData)
	if err != nil {
		return 0
	}
	return major
}

// handOver makes PostgreSQL's process, or the one that waits for it, the unit's
// main process and lets go. Where the runtime offers none, the helper stays.
func (a *Activation) handOver(ctx context.Context, started runtime.Started) error {
	if err := a.report(control.Progress{Phase: control.PhaseRunning, HotStandbyOff: a.progress.HotStandbyOff, Lowering: a.progress.Lowering}); err != nil {
		return err
	}
	ready := daemon.SdNotifyReady
	if started.MainPID > 0 {
		ready = fmt.Sprintf("MAINPID=%d\n%s", started.MainPID, ready)
	}
	if _, err := daemon.SdNotify(false, ready); err != nil {
		return errors.Join(fmt.Errorf("cannot tell systemd that PostgreSQL is ready: %w", err), a.abandon(ctx))
	}
	if ctx.Err() != nil {
		// This process has received systemd's SIGTERM. The server, which is the main process from now on, will get none.
		return a.abandon(ctx)
	}
	if started.MainPID > 0 {
		return nil
	}
	exit, err := a.runtime.Wait(ctx, a.Instance.Name)
	if ctx.Err() != nil {
		return a.abandon(ctx)
	}
	if err != nil {
		return fmt.Errorf("cannot watch the container: %w", err)
	}
	if exit != 0 {
		return fmt.Errorf("PostgreSQL ended with status %d", exit)
	}
	return nil
}

// abandon stops what was started, also when ctx has ended already.
func (a *Activation) abandon(ctx context.Context) error {
	return shutdown(context.WithoutCancel(ctx), a.Instance, a.Log)
}

// removeFile removes a file that need not be there.
func removeFile(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("cannot remove %s: %w", path, err)
	}
	return nil
}
