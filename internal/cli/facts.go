package cli

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"pgtwin/internal/cluster"
	"pgtwin/internal/config"
	"pgtwin/internal/control"
	"pgtwin/internal/ocf"
	"pgtwin/internal/units"
)

// How long each source may take; they are asked at the same time.
const (
	supervisorPatience = 2 * time.Second
	systemdPatience    = 2 * time.Second
	clusterPatience    = 5 * time.Second
)

// facts is what could be learnt of an instance. What is nil was not to be
// learnt, and the error beside it says why.
type facts struct {
	now  time.Time
	name string
	here string   // this host's name in the cluster
	kept bool     // there is something of the instance on this host
	all  []string // the instances of this host
	full []string // the file systems of our own files that are, in words

	instance    *config.Instance
	instanceErr error

	state      *control.State // may be old
	supervisor error          // why the supervisor did not answer

	database *units.State // the database's unit
	watcher  *units.State // the supervisor's unit

	view       *cluster.View
	status     *cluster.Status
	clusterErr error
}

// instances lists the instances that have left something on this host.
func instances() []string {
	var names []string
	volatile, _ := filepath.Glob(config.InstanceFile("*")) // the pattern is good
	for _, path := range volatile {
		names = append(names, filepath.Base(filepath.Dir(path)))
	}
	kept, _ := filepath.Glob(config.StateDir("*"))
	for _, path := range kept {
		names = append(names, filepath.Base(path))
	}
	names = slices.DeleteFunc(names, func(name string) bool {
		_, err := ocf.InstanceName(name)
		return err != nil
	})
	slices.Sort(names)
	return slices.Compact(names)
}

// gather asks every source at the same time. It never fails: what does not
// answer is a fact too.
func gather(ctx context.Context, name string) facts {
	f := facts{now: time.Now(), name: name, all: instances()}
	f.kept = slices.Contains(f.all, name)
	for _, dir := range []string{config.RunDir(name), config.StateDir(name)} {
		if text := control.Full(dir); f.kept && text != "" {
			f.full = append(f.full, text)
		}
	}
	if i, err := config.ReadInstance(name); err != nil {
		f.instanceErr = err
	} else {
		f.instance, f.here = &i, i.Node
	}
	if f.here == "" {
		f.here, _ = os.Hostname() // without a name no host is marked as this one
	}
	var asking sync.WaitGroup
	asking.Go(func() { f.askSupervisor(ctx) })
	asking.Go(func() { f.askSystemd(ctx) })
	asking.Go(func() { f.askCluster(ctx) })
	asking.Wait()
	f.now = time.Now()
	return f
}

// askSupervisor asks on the control socket, else reads what the supervisor
// wrote last.
func (f *facts) askSupervisor(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, supervisorPatience)
	defer cancel()
	answer, err := control.Ask(ctx, config.ControlSocket(f.name), control.Status)
	if err == nil && answer.Error == "" {
		f.state = &answer.State
		return
	}
	if err == nil {
		err = errors.New(answer.Error)
	}
	f.supervisor = err
	var written control.State
	if control.ReadJSON(config.StatusFile(f.name), &written) == nil {
		f.state = &written
	}
}

func (f *facts) askSystemd(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, systemdPatience)
	defer cancel()
	systemd, err := units.Connect(ctx)
	if err != nil {
		return
	}
	defer systemd.Close()
	look := func(unit string) *units.State {
		state, err := systemd.State(ctx, unit)
		if err != nil {
			return nil
		}
		return &state
	}
	f.database, f.watcher = look(units.Database(f.name)), look(units.Supervisor(f.name))
}

func (f *facts) askCluster(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, clusterPatience)
	defer cancel()
	resource, node := "", ""
	if f.instance != nil {
		resource, node = f.instance.Resource, f.instance.Node
	}
	client := cluster.New(resource, f.name, node)
	if view, err := client.Read(ctx); err != nil {
		f.clusterErr = err
	} else {
		f.view = &view
	}
	if status, err := client.Status(ctx); err == nil {
		f.status = &status
	} else if f.clusterErr == nil {
		f.clusterErr = err
	}
}

// stale is the age from which the supervisor's word is not taken for the
// present: it looks at PostgreSQL at least every second.
const stale = 5 * time.Second

// fresh is the state where it is of now, else nil.
func (f *facts) fresh() *control.State {
	if f.state == nil || f.age().Abs() >= stale {
		return nil
	}
	return f.state
}

func (f *facts) age() time.Duration { return f.now.Sub(f.state.Updated) }
