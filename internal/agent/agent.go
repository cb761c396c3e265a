// Package agent tells the story of each OCF action. It asks systemd for the
// units and the supervisor for PostgreSQL; it talks to neither a container
// runtime nor a database itself, because it is started anew for every action
// and has to be quick.
package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"pgtwin/internal/cluster"
	"pgtwin/internal/config"
	"pgtwin/internal/control"
	"pgtwin/internal/ocf"
	"pgtwin/internal/postmaster"
	"pgtwin/internal/units"
)

// Agent carries out one action on this node.
type Agent struct {
	Log    *slog.Logger
	Helper string   // path of pgtwin-helper
	Config []string // paths of pgtwin.toml, the later over the earlier

	systemd systemd
}

// systemd is what the agent asks of the service manager; see units.Systemd.
type systemd interface {
	State(ctx context.Context, unit string) (units.State, error)
	Queue(ctx context.Context, verb units.Verb, unit string) error
	Stop(ctx context.Context, unit string) error
	ResetFailed(ctx context.Context, unit string) error
	Install(ctx context.Context, files map[string]string) (changed bool, err error)
	Close()
}

// Handlers are the actions, by their OCF names.
func (a *Agent) Handlers() ocf.Handlers {
	return ocf.Handlers{
		"start":        a.Start,
		"stop":         a.Stop,
		"monitor":      a.Monitor,
		"promote":      a.Promote,
		"demote":       a.Demote,
		"notify":       a.Notify,
		"validate-all": a.Validate,
		"reload-agent": a.Reload,
	}
}

// Close ends the conversation with systemd, if there was one.
func (a *Agent) Close() {
	if a.systemd != nil {
		a.systemd.Close()
	}
}

func (a *Agent) connect(ctx context.Context) (systemd, error) {
	if a.systemd != nil {
		return a.systemd, nil
	}
	connected, err := units.Connect(ctx)
	if err != nil {
		return nil, err
	}
	a.systemd = connected
	return a.systemd, nil
}

// configure makes the instance from the parameters and pgtwin.toml.
func (a *Agent) configure(req ocf.Request) (config.Instance, error) {
	params, warnings, err := req.Parameters()
	for _, w := range warnings {
		a.Log.Warn(w)
	}
	if err != nil {
		return config.Instance{}, err
	}
	file, err := config.Load(a.Config...)
	if err != nil {
		return config.Instance{}, &ocf.Error{Code: ocf.ErrConfigured, Err: err}
	}
	i, err := config.Build(params, file, req.Node, req.Resource)
	if err != nil {
		return config.Instance{}, &ocf.Error{Code: ocf.ErrConfigured, Err: err}
	}
	return i, nil
}

// running is the instance as it was started. Where it was not, in this boot,
// only what is needed to look for it is taken from the parameters: what is
// wrong with the rest must not keep a stop from succeeding.
func (a *Agent) running(req ocf.Request) (config.Instance, error) {
	name := given(req, "container_name")
	i, err := config.ReadInstance(name)
	if err == nil || !errors.Is(err, os.ErrNotExist) {
		return i, err
	}
	return config.Instance{Name: name, Resource: req.Resource, Node: req.Node, PGData: given(req, "pgdata")}, nil
}

func given(req ocf.Request, name string) string {
	if value := req.Params[name]; value != "" {
		return value
	}
	return ocf.Default(name)
}

// ask asks the supervisor, again and again while it is being restarted.
func (a *Agent) ask(ctx context.Context, i config.Instance, verb control.Verb) (control.Answer, error) {
	for {
		answer, err := control.Ask(ctx, config.ControlSocket(i.Name), verb)
		if err == nil {
			return answer, nil
		}
		select {
		case <-ctx.Done():
			return control.Answer{}, err
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// try asks the supervisor once, for at most patience.
func (a *Agent) try(ctx context.Context, i config.Instance, verb control.Verb, patience time.Duration) (control.Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return control.Ask(ctx, config.ControlSocket(i.Name), verb)
}

// gone is the proof that nothing of the instance runs: the unit is down, its
// cgroup is empty, and no server works in the data directory.
func (a *Agent) gone(ctx context.Context, i config.Instance) (bool, error) {
	systemd, err := a.connect(ctx)
	if err != nil {
		return false, err
	}
	state, err := systemd.State(ctx, units.Database(i.Name))
	if err != nil {
		return false, err
	}
	if !state.Stopped() {
		return false, nil
	}
	left, err := units.CgroupProcesses(units.DatabaseGroup(i.Name))
	if err != nil || len(left) > 0 {
		return false, err
	}
	servers, err := postmaster.Processes(i.PGData)
	return len(servers) == 0, err
}

// order writes what is wanted of the database, before anything is done about
// it: the supervisor tells a stop from a death by it.
func order(i config.Instance, intent control.Intent) error {
	if err := os.MkdirAll(config.RunDir(i.Name), 0o755); err != nil {
		return fmt.Errorf("cannot leave the order: %w", err)
	}
	if err := os.WriteFile(config.Intent(i.Name), []byte(intent), 0o644); err != nil {
		return fmt.Errorf("cannot leave the order: %w", err)
	}
	return nil
}

// allow writes the ticket for one activation.
func allow(i config.Instance, intent control.Intent) error {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return fmt.Errorf("cannot write the start ticket: %w", err)
	}
	ticket := control.Ticket{BootID: string(boot[:len(boot)-1]), Intent: intent}
	return control.WriteJSON(config.Ticket(i.Name), ticket, 0o600)
}

func remove(paths ...string) error {
	for _, path := range paths {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("cannot clear away %s: %w", path, err)
		}
	}
	return nil
}

// scores is Pacemaker as the agent needs it.
func scores(i config.Instance) *cluster.Client {
	return cluster.New(i.Resource, i.Name, i.Node)
}
