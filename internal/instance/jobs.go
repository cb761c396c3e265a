package instance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"pgtwin/internal/config"
	"pgtwin/internal/control"
	"pgtwin/internal/ha"
	"pgtwin/internal/pg"
	"pgtwin/internal/runtime"
	"pgtwin/internal/storage"
)

// bootstrap makes the first database of a new cluster.
func (a *Activation) bootstrap(ctx context.Context, why string) error {
	if err := a.report(control.Progress{Phase: control.PhaseInit, Detail: why}); err != nil {
		return err
	}
	c, err := storage.NewCopy(a.Instance.PGData, nil, config.MarkerFile(a.Instance.Name))
	if err != nil {
		return err
	}
	return a.replace(ctx, c, nil, func() error {
		return a.job(ctx, pg.InitDB(c.Staging, a.Instance.User), c.Staging)
	})
}

// clone copies the primary. The old data stay until the copy is complete and
// verified, and are kept beside it then.
func (a *Activation) clone(ctx context.Context, arrival ha.Arrival, why string) error {
	source := arrival.Epoch.Node
	detail := fmt.Sprintf("from %s: %s", source, why)
	if err := a.report(control.Progress{Phase: control.PhaseCloning, Detail: detail}); err != nil {
		return err
	}
	if err := a.keepLost(ctx, arrival); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, a.Instance.BasebackupTimeout,
		fmt.Errorf("basebackup_timeout (%s) is over", a.Instance.BasebackupTimeout))
	defer cancel()
	if err := a.stillShort(); err != nil {
		return err
	}
	if err := a.putBack(); err != nil {
		return err
	}
	items, err := a.planConfiguration(ctx, source)
	if err != nil {
		return err
	}
	c, needs, err := a.planClone(ctx, source)
	if err != nil {
		return err
	}
	err = a.replace(ctx, c, needs, func() error {
		backup := a.backup(c)
		if err := a.job(ctx, pg.BaseBackup(a.upstream(source), backup), stagings(c)...); err != nil {
			return err
		}
		if err := a.report(control.Progress{Phase: control.PhaseCloning, Detail: "verifying the copy of " + source}); err != nil {
			return err
		}
		major, err := pg.MajorVersion(c.Staging)
		if err != nil {
			return err
		}
		if err := a.job(ctx, pg.VerifyBackup(c.Staging, major), stagings(c)...); err != nil {
			return err
		}
		return a.completeConfiguration(c.Staging, items)
	})
	if err != nil {
		return err
	}
	return storage.Unmark(config.MarkerFile(a.Instance.Name))
}

// rewind brings the data directory back to where it left the primary's
// history, and forward from there. The marker outlives a crash: what was begun
// is cloned, never started.
func (a *Activation) rewind(ctx context.Context, arrival ha.Arrival, why string) error {
	source := arrival.Epoch.Node
	if err := a.report(control.Progress{Phase: control.PhaseRewinding, Detail: fmt.Sprintf("to %s: %s", source, why)}); err != nil {
		return err
	}
	if err := a.keepLost(ctx, arrival); err != nil {
		return err
	}
	items, err := a.planConfiguration(ctx, source)
	if err != nil {
		return err
	}
	// pg_rewind starts the server once to recover it, with this configuration.
	if err := a.configure(ha.Arrival{Epoch: arrival.Epoch}); err != nil {
		return err
	}
	if err := a.keepSnapshot(); err != nil {
		return err
	}
	marker := config.MarkerFile(a.Instance.Name)
	if err := storage.Mark(marker, "rewind"); err != nil {
		return err
	}
	if err := a.rewindFiles(ctx, source, items); err != nil {
		return err
	}
	return storage.Unmark(marker)
}

// rewindFindsConfig is the first major version whose pg_rewind can be told
// where the configuration is.
const rewindFindsConfig = 15

func (a *Activation) runRewind(ctx context.Context, source string) error {
	dir, configFile := a.Instance.PGData, config.PostgresConf(a.Instance.Name)
	major, err := pg.MajorVersion(dir)
	if err != nil {
		return err
	}
	if major < rewindFindsConfig {
		if err := a.job(ctx, pg.CrashRecovery(dir, configFile), dir); err != nil {
			return err
		}
		configFile = ""
	}
	target := a.upstream(source)
	// Where database postgres is missing the grants are in template1.
	if target.Database, err = pg.DatabaseOf(ctx, target); err != nil {
		return err
	}
	return a.job(ctx, pg.Rewind(dir, target, configFile, a.hasArchive(ctx, configFile)), dir)
}

// jobName is the container of a job, told from the database's own.
func (a *Activation) jobName() string { return a.Instance.Name + "-job" }

func (a *Activation) removeJob(ctx context.Context) error {
	return a.runtime.Remove(ctx, a.jobName())
}

// job runs one of PostgreSQL's programs, which also sees dirs, and shows its
// progress.
func (a *Activation) job(ctx context.Context, argv []string, dirs ...string) error {
	// A job that could not be ended may still be working on the data.
	if err := a.removeJob(ctx); err != nil {
		return fmt.Errorf("cannot end the job before %s: %w", argv[0], err)
	}
	spec, err := a.spec(a.jobName(), argv, dirs...)
	if err != nil {
		return err
	}
	var pace pace
	output := &jobOutput{report: func(done, total int64) {
		p := a.progress
		p.Done, p.Total, p.Rate = done, total, pace.rate(done, time.Now())
		if err := a.report(p); err != nil {
			a.Log.Warn("cannot show the progress", "error", err)
		}
	}}
	exit, err := a.runtime.Run(ctx, spec, output)
	if err != nil {
		return fmt.Errorf("cannot run %s: %w", argv[0], errors.Join(err, context.Cause(ctx)))
	}
	if exit != 0 {
		return fmt.Errorf("%s failed with status %d: %s", argv[0], exit, output.tail())
	}
	return nil
}

// jobOutput reads what a program writes: lines of progress, which end in a
// carriage return, and messages, of which the last are kept for the error.
type jobOutput struct {
	report  func(done, total int64)
	pending []byte
	last    []string
}

var _ io.Writer = (*jobOutput)(nil)

const keptLines = 5

func (o *jobOutput) Write(p []byte) (int, error) {
	o.pending = append(o.pending, p...)
	for {
		end := bytes.IndexAny(o.pending, "\r\n")
		if end < 0 {
			return len(p), nil
		}
		o.line(strings.TrimSpace(string(o.pending[:end])))
		o.pending = o.pending[end+1:]
	}
}

func (o *jobOutput) line(line string) {
	if done, total, ok := pg.ParseProgress(line); ok {
		o.report(done, total)
		return
	}
	if line != "" {
		o.last = append(o.last, line)
		o.last = o.last[max(0, len(o.last)-keptLines):]
	}
}

func (o *jobOutput) tail() string {
	if rest := strings.TrimSpace(string(o.pending)); rest != "" {
		o.line(rest)
	}
	return strings.Join(o.last, "; ")
}

// spec is what the database and its jobs have in common: as the owner of the
// data, everything at the same path inside and outside.
func (a *Activation) spec(name string, argv []string, dirs ...string) (runtime.Spec, error) {
	i := a.Instance
	spec := runtime.Spec{
		Name:    name,
		Image:   a.image.ID,
		Argv:    argv,
		Env:     []string{"LC_ALL=C.UTF-8", "PGDATA=" + i.PGData},
		UID:     a.owner.uid,
		GID:     a.owner.gid,
		Groups:  a.owner.identity().Groups,
		ShmSize: i.ShmSize,
		Mounts: []runtime.Mount{
			{Source: i.SocketDir, Target: i.SocketDir},
			{Source: config.StateDir(i.Name), Target: config.StateDir(i.Name), ReadOnly: true},
			{Source: config.PassFileCopy(i.Name), Target: config.PassFileCopy(i.Name), ReadOnly: true},
		},
	}
	seen, err := a.visible(dirs)
	for _, dir := range seen {
		spec.Mounts = append(spec.Mounts, runtime.Mount{Source: dir, Target: dir})
	}
	return spec, err
}
