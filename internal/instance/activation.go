// Package instance is one activation of the database: it prepares the data
// directory, starts PostgreSQL on it as a standby, waits until it answers, and
// later stops it and clears away what is left. It never promotes and knows
// nothing of scores; what has to be done is decided in package ha.
package instance

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"pgtwin/internal/cluster"
	"pgtwin/internal/config"
	"pgtwin/internal/control"
	"pgtwin/internal/ha"
	"pgtwin/internal/ocf"
	"pgtwin/internal/pg"
	"pgtwin/internal/postmaster"
	"pgtwin/internal/runtime"
	"pgtwin/internal/storage"
)

// Cluster is what an activation asks of Pacemaker.
type Cluster interface {
	Read(ctx context.Context) (cluster.View, error)
}

// Activation is one run of the database unit.
type Activation struct {
	Instance config.Instance
	Cluster  Cluster
	Log      *slog.Logger

	open       func(context.Context, config.Instance, *slog.Logger) (runtime.Runtime, error)
	runtime    runtime.Runtime
	image      runtime.Image
	ticket     control.Ticket
	owner      owner
	credential pg.Credential
	secret     Secret // where the credential comes from
	began      time.Time
	progress   control.Progress
	plan       ha.Plan        // by which the data became what is started
	tail       *tail          // of the WAL that was discarded, and
	lost       *control.Event // what it had
	failure    string         // the last one, as it was logged
	shortage   shortage
	members    int              // of the cluster, as last read
	fellBack   bool             // PostgreSQL did not start with the administrator's files as they are
	tried      []pg.Kind        // copies that stood in for files before that
	tls        TLS              // the server's TLS files, as read before the start
	tlsCopies  bool             // copies of them are used
	before     *CollationRecord // of other programs, until compared; nil: there is nothing to compare
	archived   bool             // the start may need WAL of an archive (ha.NeedsArchive)
	nodes      []string         // of the cluster, as last read
}

// New prepares an activation of i; nothing is touched yet.
func New(i config.Instance, c Cluster, log *slog.Logger) *Activation {
	return &Activation{Instance: i, Cluster: c, Log: log, open: openRuntime}
}

// Failure is an error with the OCF exit code that the agent's start is to
// return for it.
type Failure struct {
	Code ocf.Code
	Err  error
}

func (f *Failure) Error() string { return f.Err.Error() }
func (f *Failure) Unwrap() error { return f.Err }

// Run brings PostgreSQL up as a standby and returns when it answers, or, where
// the runtime cannot leave it to systemd, when it has ended. The reason for a
// failure is left in the progress file for the agent.
func (a *Activation) Run(ctx context.Context) error {
	a.began = time.Now()
	err := control.NoRoom(a.run(ctx))
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		// Ordered to stop, which is no failure of what it was doing.
		return a.report(control.Progress{Phase: control.PhaseStopped})
	}
	failed := control.Progress{Phase: control.PhaseFailed, Detail: err.Error(), Code: int(ocf.ErrGeneric)}
	if failure := (*Failure)(nil); errors.As(err, &failure) {
		failed.Code = int(failure.Code)
	}
	return errors.Join(err, a.report(failed))
}

func (a *Activation) run(ctx context.Context) error {
	if err := a.takeTicket(); err != nil {
		return err
	}
	if err := a.report(control.Progress{Phase: control.PhaseChecking}); err != nil {
		return err
	}
	if err := a.standBack(ctx); err != nil {
		return err
	}
	for attempt := 1; ; attempt++ {
		err := a.bringUp(ctx)
		if !errors.Is(err, runtime.ErrInterrupted) || ctx.Err() != nil || attempt == attempts {
			return err
		}
		a.Log.Warn("beginning anew: "+err.Error(), "attempt", attempt)
	}
}

// attempts is how often an activation begins, where the service by which
// containers are run ends under it: to Pacemaker a start that fails is final.
const attempts = 3

func (a *Activation) bringUp(ctx context.Context) error {
	if err := a.check(ctx); err != nil {
		return err
	}
	defer a.runtime.Close()
	lock, err := storage.Lock(a.Instance.PGData)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := a.alone(ctx); err != nil {
		return err
	}
	arrival, err := a.prepare(ctx)
	if err != nil {
		return err
	}
	return a.start(ctx, arrival)
}

// clearance is how long an activation after a demotion keeps quiet once the
// successor is recorded: the promotion and the move of the virtual address
// need the processors more than a container that is prepared for a rejoin.
const clearance = 2 * time.Second

// standBack waits, after a demotion, for another host to be promoted. It costs
// nothing but a look at the cluster now and then.
func (a *Activation) standBack(ctx context.Context) error {
	if a.ticket.Intent != control.IntentDemote {
		return nil
	}
	var succeeded time.Time
	for time.Since(a.began) < ha.DemotionPatience && !exists(config.Grant(a.Instance.Name)) {
		if err := a.report(control.Progress{Phase: control.PhaseWaiting, Detail: "another host is to be promoted"}); err != nil {
			return err
		}
		// The first look, too, comes late: it costs a process when every one counts.
		select {
		case <-ctx.Done():
			return errors.New("stopped while another host was to be promoted")
		case <-time.After(time.Second):
		}
		view, err := a.readCluster(ctx)
		if err != nil {
			return err
		}
		if view.Epoch.Node != a.Instance.Node && succeeded.IsZero() {
			succeeded = time.Now()
		}
		if !succeeded.IsZero() && time.Since(succeeded) > clearance {
			return nil
		}
	}
	return nil
}

// takeTicket uses up the start ticket: a restart that the agent did not order
// does not start the database.
func (a *Activation) takeTicket() error {
	path := config.Ticket(a.Instance.Name)
	if err := Authorized(a.Instance.Name); err != nil {
		return err
	}
	if err := control.ReadJSON(path, &a.ticket); err != nil {
		return fmt.Errorf("cannot read the start ticket: %w", err)
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("cannot use the start ticket: %w", err)
	}
	// From here on the end of the server is a death, also after a demotion.
	if err := os.WriteFile(config.Intent(a.Instance.Name), []byte(control.IntentRun), 0o644); err != nil {
		return fmt.Errorf("cannot note that the database is to run: %w", err)
	}
	return nil
}

// Authorized says whether Pacemaker has ordered a start: the agent's ticket of
// this boot is there.
func Authorized(name string) error {
	var ticket control.Ticket
	if err := control.ReadJSON(config.Ticket(name), &ticket); err != nil {
		return fmt.Errorf("pgtwin@%s is started by Pacemaker alone (crm resource start): %w", name, err)
	}
	boot, err := BootID()
	if err != nil {
		return err
	}
	if ticket.BootID != boot {
		return fmt.Errorf("pgtwin@%s is started by Pacemaker alone: the start ticket is from an earlier boot", name)
	}
	return nil
}

// BootID names this boot of the host (random(4), /proc/sys/kernel/random).
func BootID() (string, error) {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("cannot tell this boot from another: %w", err)
	}
	return string(id[:len(id)-1]), nil
}

// report shows what is being done in systemctl status, in pgtwin status and to
// the agent, which waits for the first sign of it.
func (a *Activation) report(p control.Progress) error {
	if p.Phase != a.progress.Phase || p.Detail != a.progress.Detail {
		a.Log.Info(sentence(p), "PGTWIN_PHASE", string(p.Phase))
	}
	return a.show(p)
}

// show is report without a line in the journal.
func (a *Activation) show(p control.Progress) error {
	now := time.Now()
	p.Since = a.progress.Since
	if p.Phase != a.progress.Phase || p.Detail != a.progress.Detail {
		p.Since = now
	}
	p.Updated, p.Comparing, p.TLSCopies = now, a.before != nil, a.tlsCopies
	if a.runtime != nil {
		p.Runtime, p.Image = a.runtime.Name(), cmp.Or(a.image.Digest, a.image.ID)
	}
	a.progress = p
	if _, err := daemon.SdNotify(false, "STATUS="+sentence(p)); err != nil {
		a.Log.Warn("cannot show the status in systemd", "error", err)
	}
	return control.WriteJSON(config.ProgressFile(a.Instance.Name), p, 0o644)
}

// sentence is a progress in words, for example "cloning: from h1, 1.2 GB of
// 5.0 GB (24 %), 95.0 MB/s, 40s left".
func sentence(p control.Progress) string {
	text := string(p.Phase)
	if p.Detail != "" {
		text += ": " + p.Detail
	}
	if amount := p.Amount(); amount != "" {
		text += ", " + amount
	}
	return text
}

// alone makes sure that nothing else works on the data directory: neither a
// server that was started by hand nor a container of an earlier activation.
func (a *Activation) alone(ctx context.Context) error {
	server, err := postmaster.Find(a.Instance.PGData)
	if err != nil {
		return fmt.Errorf("cannot make sure that nothing runs on %s: %w", a.Instance.PGData, err)
	}
	if server != nil {
		return &Failure{ocf.ErrGeneric, fmt.Errorf("PostgreSQL runs on %s already (process %d), outside pgtwin: stop it first", a.Instance.PGData, server.PID)}
	}
	if err := a.runtime.Remove(ctx, a.Instance.Name); err != nil {
		return fmt.Errorf("cannot clear away the container of an earlier activation: %w", err)
	}
	if err := a.removeJob(ctx); err != nil {
		return err
	}
	// What a crashed server has left names a process of another PID namespace
	// or another boot. In a container process 1 always runs, and the crash
	// recovery of pg_rewind would not start.
	return removeFile(filepath.Join(a.Instance.PGData, "postmaster.pid"))
}

// prepare works until the data directory can be started.
func (a *Activation) prepare(ctx context.Context) (ha.Arrival, error) {
	failures := 0
	var rewound error // the failure of a rewind
	for {
		arrival, err := a.look(ctx)
		if err != nil {
			return arrival, err
		}
		plan := afterRewind(ha.Rejoin(arrival), rewound)
		switch plan.Course {
		case ha.Start:
			a.Log.Info("starting as a standby: "+plan.Why, "timeline", arrival.Timeline, "epoch", arrival.Epoch.Number)
			if a.plan.Course == "" {
				a.plan = plan
			}
			return arrival, nil
		case ha.Refuse:
			return arrival, &Failure{ocf.ErrArgs, errors.New(plan.Why)}
		case ha.Wait:
			err = a.report(control.Progress{Phase: control.PhaseWaiting, Detail: plan.Why})
		case ha.Bootstrap:
			err = a.bootstrap(ctx, plan.Why)
		case ha.Rewind:
			err = a.rewind(ctx, arrival, plan.Why)
			if !errors.Is(err, errNotBegun) {
				rewound = err
			}
		case ha.Clone:
			err = a.clone(ctx, arrival, plan.Why)
		}
		if err == nil && plan.Course != ha.Wait {
			a.plan = plan
		}
		if err != nil && ctx.Err() == nil {
			failures++
			if err := a.reportFailure(plan, failures, err); err != nil {
				return arrival, err
			}
		}
		if err := a.pause(ctx, plan, failures); err != nil {
			return arrival, err
		}
	}
}

// backOff is how long to wait after so many failures.
func backOff(failures int) time.Duration {
	return min(time.Duration(failures)*time.Second, 15*time.Second)
}

// reportFailure says what failed and when it is tried again. What repeats
// itself is in the status, but only once in the journal.
func (a *Activation) reportFailure(plan ha.Plan, failures int, why error) error {
	level := slog.LevelWarn
	if why.Error() == a.failure {
		level = slog.LevelDebug
	}
	a.failure = why.Error()
	wait := backOff(failures)
	a.Log.Log(context.Background(), level, fmt.Sprintf("%s failed, next attempt in %s: %v", plan.Course, wait, why), "attempt", failures)
	return a.show(control.Progress{Phase: control.PhaseWaiting,
		Detail: fmt.Sprintf("the %s failed, attempt %d follows in %s: %v", plan.Course, failures+1, wait, why)})
}

// pause waits before the next look: a moment while waiting for others, which
// a promotion of this host cuts short, and longer after each failure.
func (a *Activation) pause(ctx context.Context, plan ha.Plan, failures int) error {
	wait := 500 * time.Millisecond
	if plan.Course != ha.Wait {
		wait = backOff(failures)
	}
	granted := exists(config.Grant(a.Instance.Name))
	for end := time.Now().Add(wait); time.Now().Before(end); {
		select {
		case <-ctx.Done():
			return fmt.Errorf("stopped while %s", sentence(a.progress))
		case <-time.After(min(20*time.Millisecond, wait)):
		}
		if !granted && exists(config.Grant(a.Instance.Name)) {
			return nil
		}
	}
	return nil
}
