package instance

import (
	"context"
	"errors"
	"fmt"
	"os"

	"pgtwin/internal/config"
	"pgtwin/internal/control"
	"pgtwin/internal/ha"
	"pgtwin/internal/ocf"
	"pgtwin/internal/pg"
	"pgtwin/internal/runtime"
)

// launch starts PostgreSQL as a standby. A standby must not have less than pg_control requires, and
// pg_control keeps the values of the last primary: a value that the administrator has lowered comes into
// use only where hot_standby is off, because PostgreSQL does not compare then, and the promotion writes
// the lower one down. So the host that is to be promoted in any case is started so, once an epoch. Where
// that start fails, or another host is promoted instead (ha.Decide), the next start is an ordinary one.
func (a *Activation) launch(ctx context.Context, arrival ha.Arrival) (runtime.Started, error) {
	d, err := demandsOf(a.Instance, a.members)
	if err != nil {
		return runtime.Started{}, err
	}
	for _, sentence := range overruled(a.Instance, d.files) {
		a.Log.Warn(sentence)
	}
	raised := d.raised(a.Instance)
	if lowered := pg.Lowerings(raised); len(lowered) > 0 && a.before == nil && a.mayLower(arrival) { // the comparison needs a session
		started, err := a.startLowered(ctx, arrival, d, lowered)
		if err == nil || ctx.Err() != nil || errors.Is(err, runtime.ErrInterrupted) {
			return started, err
		}
		a.Log.Warn("starting with the settings that the WAL requires instead: " + err.Error())
	}
	for _, r := range raised {
		a.Log.Warn(r.String())
	}
	return a.runServer(ctx, pg.Server{PGData: a.Instance.PGData, ConfigFile: config.PostgresConf(a.Instance.Name), Major: majorOf(a.Instance), Raised: raised})
}

// demands are what the settings of a start are made of.
type demands struct {
	files   pg.ConfFiles
	control pg.Control
	needs   pg.Needs
}

// demandsOf reads them; members is how many hosts the cluster has, 0 where that is not known.
func demandsOf(i config.Instance, members int) (d demands, err error) {
	if d.control, err = pg.ReadControl(i.PGData); err != nil {
		return d, err
	}
	d.files = filesInForce(i)
	d.needs, err = pg.FindNeeds(i.PGData, max(1, members-1, len(i.Nodes)-1), d.control)
	return d, err
}

// raised are the settings for which a hot standby takes more than the files say. With rep_mode=strict no
// value is lowered: a promotion asks PostgreSQL first whether commits would wait, and a server with
// hot_standby=off answers nobody.
func (d demands) raised(i config.Instance) []pg.Raised {
	all := pg.Raise(d.files, d.control, d.needs)
	for n := range all {
		if all[n].Lowering && ha.Mode(i.RepMode) == ha.Strict {
			all[n].Lowering = false
			all[n].Why = "the WAL here was written with as many, and a standby with fewer cannot replay it; with rep_mode=strict fewer " +
				"do not come into use: set rep_mode=sync, restart all hosts together (crm resource restart), and set it back"
		}
	}
	return all
}

// mayLower says whether this host is to be promoted whatever happens: it was the last primary and nobody
// took over, or Pacemaker or the administrator has chosen it. A host that only holds every commit is not:
// it may be needed as a standby, and then answers questions.
func (a *Activation) mayLower(arrival ha.Arrival) bool {
	if arrival.Epoch.Number == 0 || arrival.Epoch.Node != a.Instance.Node && !arrival.Granted && !arrival.Forced {
		return false
	}
	var tried ha.Epoch
	err := control.ReadJSON(config.LoweringFile(a.Instance.Name), &tried)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		a.Log.Warn("lowered settings wait for the next epoch", "error", err)
		return false
	}
	return tried != arrival.Epoch
}

// startLowered starts the server with hot_standby=off.
func (a *Activation) startLowered(ctx context.Context, arrival ha.Arrival, d demands, lowered []pg.Raised) (runtime.Started, error) {
	if err := control.WriteJSON(config.LoweringFile(a.Instance.Name), arrival.Epoch, 0o644); err != nil {
		return runtime.Started{}, err
	}
	for _, r := range lowered {
		a.Log.Info(fmt.Sprintf("starting with hot_standby=off, so that the promotion of this host puts %s = %s into use", r.Name, r.Wanted))
	}
	server := pg.Server{PGData: a.Instance.PGData, ConfigFile: config.PostgresConf(a.Instance.Name), Major: majorOf(a.Instance),
		Raised: pg.RaiseNeeded(d.files, d.needs), HotStandbyOff: true}
	for _, r := range server.Raised {
		a.Log.Warn(r.String())
	}
	return a.runServer(ctx, server)
}

// starting is the progress of a start.
func starting(server pg.Server, detail string) control.Progress {
	if server.HotStandbyOff {
		detail += " without sessions, because lowered settings are to come into use"
	}
	return control.Progress{Phase: control.PhaseStarting, Detail: detail, HotStandbyOff: server.HotStandbyOff,
		Lowering: len(pg.Lowerings(server.Raised)) > 0}
}

// takeBack takes what pgtwin decides out of postgresql.auto.conf, and recovery.signal out of the data.
func (a *Activation) takeBack() error {
	dir := a.Instance.PGData
	overrides, err := pg.SystemOverrides(dir, commitsWait(a.Instance))
	if err != nil {
		return err
	}
	if removed, err := pg.RemoveRecoverySettings(dir, overrides); err != nil {
		return err
	} else if len(removed) > 0 {
		a.Log.Warn("took settings that pgtwin manages out of postgresql.auto.conf", "settings", removed)
	}
	if command := pg.Unguarded(pg.ReadConfFiles(dir), dir); command != "" {
		if err := pg.GuardAuto(dir, command); err != nil {
			return err
		}
	}
	removed, err := pg.RemoveRecoverySignal(dir)
	if removed {
		a.Log.Warn("removed recovery.signal: every server of pgtwin starts by standby.signal, and beside it this file would " +
			"outlive the promotion and keep other starts of this directory from working")
	}
	return err
}

// commitsWait says whether commits wait for standbys (rep_mode).
func commitsWait(i config.Instance) bool { return ha.Mode(i.RepMode) != ha.Async }

// Heeded are managed settings that follow the administrator's files while the server runs.
type Heeded struct{ Commit, Restore string }

// HeededOf takes them from the files in force; Commit is "" where commits wait for nobody (rep_mode=async).
func HeededOf(i config.Instance) Heeded {
	files := filesInForce(i)
	h := Heeded{Restore: pg.Guarded(files.Main["restore_command"].Text)}
	if commitsWait(i) {
		h.Commit = pg.CommitWait(files)
	}
	return h
}

// heedFiles adds the settings that depend on the administrator's files. Without a control file, as where
// the data are not there yet, there are none.
func heedFiles(s *pg.Settings, i config.Instance) {
	heeded := HeededOf(i)
	s.SynchronousCommit, s.Restore = heeded.Commit, heeded.Restore
	d, err := demandsOf(i, 0)
	if err != nil {
		return
	}
	s.Raised = pg.RaiseNeeded(d.files, d.needs)
}

// raiseLevel makes data that ran with wal_level=minimal fit for a standby's start, which every start here
// is: PostgreSQL refuses to replay such WAL, whatever wal_level is by now.
func (a *Activation) raiseLevel(ctx context.Context, arrival ha.Arrival) error {
	d, err := demandsOf(a.Instance, a.members)
	if err != nil || d.control.WALLevel != pg.WALMinimal {
		return err
	}
	if arrival.Epoch.Number > 0 {
		return &Failure{ocf.ErrArgs, errMinimal(a.Instance.PGData)}
	}
	if err := a.report(control.Progress{Phase: control.PhaseStarting,
		Detail: "recovering once in single-user mode, because the database ran with wal_level=minimal, which no standby can follow"}); err != nil {
		return err
	}
	if err := a.takeBack(); err != nil {
		return err
	}
	if err := a.configure(arrival); err != nil {
		return err
	}
	if err := pg.RemoveStandbySignal(a.Instance.PGData); err != nil {
		return err
	}
	if err := a.job(ctx, pg.RaiseLevel(a.Instance.PGData, config.PostgresConf(a.Instance.Name), pg.RaiseNeeded(d.files, d.needs)), a.Instance.PGData); err != nil {
		return fmt.Errorf("cannot raise wal_level of the data: %w", err)
	}
	a.Log.Info("wal_level of the data is raised from minimal to replica")
	return nil
}

func errMinimal(pgdata string) error {
	return fmt.Errorf("the WAL in %s was written with wal_level=minimal by a server outside pgtwin, and no standby can replay it: "+
		"set wal_level = replica, start PostgreSQL once by hand without standby.signal (pg_ctl -D %[1]s start), stop it, and start the resource again", pgdata)
}

// Raised lists the settings of this host for which more is in force than the administrator's files say,
// or would be after a start; members is how many hosts the cluster has, 0 where that is not known. Files
// with an error are not compared, because the last good ones are in force.
func Raised(i config.Instance, members int) ([]pg.Raised, error) {
	d, err := demandsOf(i, members)
	if err != nil || len(d.files.Problems) > 0 || d.files.Accepted {
		return nil, err
	}
	return d.raised(i), nil
}
