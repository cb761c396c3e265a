package corpus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"pgtwin/internal/config"
	"pgtwin/internal/control"
	"pgtwin/internal/instance"
	"pgtwin/internal/ocf"
	"pgtwin/internal/postmaster"
	"pgtwin/internal/supervisor"
)

// Host is one host, as Pacemaker and systemd act on it.
type Host struct {
	boot    boot
	cluster remote
	log     *slog.Logger

	mu          sync.Mutex
	instance    config.Instance
	activation  *unit
	supervision *unit
}

// unit is a systemd unit that runs.
type unit struct {
	cancel context.CancelFunc
	done   chan struct{}
}

func (u *unit) ended() bool {
	select {
	case <-u.done:
		return true
	default:
		return false
	}
}

// begin runs do until it returns or is cancelled.
func begin(do func(ctx context.Context)) *unit {
	ctx, cancel := context.WithCancel(context.Background())
	u := &unit{cancel, make(chan struct{})}
	go func() { defer close(u.done); do(ctx) }()
	return u
}

// orderTimeout is that of Pacemaker's operations.
const orderTimeout = 60 * time.Second

// configure makes the instance as the agent does, from the resource's parameters and pgtwin.toml.
func (h *Host) configure(params map[string]string) (config.Instance, error) {
	req := ocf.Request{Resource: "postgres-db", Node: h.boot.Node, Params: params}
	parsed, warnings, err := req.Parameters()
	for _, w := range warnings {
		h.log.Warn(w)
	}
	if err != nil {
		return config.Instance{}, err
	}
	file, err := config.Load()
	if err != nil {
		return config.Instance{}, err
	}
	return config.Build(parsed, file, h.boot.Node, req.Resource)
}

// Validate is validate-all at level 10.
func (h *Host) Validate(params map[string]string, _ *int) error {
	i, err := h.configure(params)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), orderTimeout)
	defer cancel()
	return instance.Check(ctx, i, h.log)
}

// Start is the agent's start: it returns when the activation has taken over.
func (h *Host) Start(params map[string]string, _ *int) error {
	i, err := h.configure(params)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(config.RunDir(i.Name), 0o755); err != nil {
		return err
	}
	if err := i.WriteFile(config.InstanceFile(i.Name)); err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.instance = i
	if err := h.activate(control.IntentRun); err != nil {
		return err
	}
	if h.supervision == nil || h.supervision.ended() {
		h.supervise()
	}
	return awaitTakeover(i)
}

// activate is the start of the database unit, with the order and the ticket that the agent writes before.
func (h *Host) activate(intent control.Intent) error {
	i := h.instance
	boot, err := instance.BootID()
	err = errors.Join(err, remove(config.ProgressFile(i.Name)), remove(config.Grant(i.Name)),
		os.WriteFile(config.Intent(i.Name), []byte(intent), 0o644),
		control.WriteJSON(config.Ticket(i.Name), control.Ticket{BootID: boot, Intent: intent}, 0o600))
	if err != nil {
		return err
	}
	h.activation = begin(func(ctx context.Context) {
		err := instance.New(i, h.cluster, h.log).Run(ctx)
		if err != nil {
			h.log.Error("the activation has failed: " + err.Error())
		}
		if server, _ := postmaster.Find(i.PGData); err == nil && server != nil {
			server.Done(ctx) // the main process of the unit from here on
		}
		// ExecStopPost=
		if err := instance.Cleanup(context.WithoutCancel(ctx), i, h.log); err != nil {
			h.log.Error("the clean-up has failed: " + err.Error())
		}
		if err := killRest(); err != nil {
			h.log.Error("the rest of the unit is not killed: " + err.Error())
		}
	})
	return nil
}

// killRest is what systemd does to what is left in the unit's control group (KillMode=mixed): all processes of
// this host that are not root's are PostgreSQL's.
func killRest() error {
	entries, err := os.ReadDir("/proc")
	for _, entry := range entries {
		pid, errPID := strconv.Atoi(entry.Name())
		info, errStat := os.Stat("/proc/" + entry.Name())
		if errPID != nil || errStat != nil || info.Sys().(*syscall.Stat_t).Uid == 0 {
			continue
		}
		if errKill := unix.Kill(pid, unix.SIGKILL); errKill != nil && errKill != unix.ESRCH {
			err = errors.Join(err, errKill)
		}
	}
	return err
}

func (h *Host) supervise() {
	i := h.instance
	h.supervision = begin(func(ctx context.Context) {
		for ctx.Err() == nil { // Restart=always
			s := supervisor.Supervisor{Instance: i, Cluster: h.cluster, Log: h.log}
			if err := s.Run(ctx); err != nil {
				h.log.Error("the supervisor has ended: " + err.Error())
				time.Sleep(100 * time.Millisecond) // RestartSec=
			}
		}
	})
}

func awaitTakeover(i config.Instance) error {
	for end := time.Now().Add(orderTimeout); ; time.Sleep(10 * time.Millisecond) {
		var p control.Progress
		err := control.ReadJSON(config.ProgressFile(i.Name), &p)
		switch {
		case err == nil && p.Phase == control.PhaseFailed:
			return errors.New(p.Detail)
		case err == nil && p.Phase != control.PhaseChecking && p.Phase != control.PhaseStopped:
			return nil
		case time.Now().After(end):
			return fmt.Errorf("the activation does not take over: %w", err)
		}
	}
}

// Ask is what the agent asks the supervisor.
func (h *Host) Ask(verb control.Verb, answer *control.Answer) error {
	ctx, cancel := context.WithTimeout(context.Background(), orderTimeout)
	defer cancel()
	for {
		given, err := control.Ask(ctx, config.ControlSocket(h.name()), verb)
		if err == nil {
			*answer = given
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (h *Host) name() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.instance.Name
}

// Demote is the agent's demote: a clean end, and an activation as a standby behind it.
func (h *Host) Demote(_ int, _ *int) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	i := h.instance
	if err := os.WriteFile(config.Intent(i.Name), []byte(control.IntentDemote), 0o644); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), orderTimeout)
	defer cancel()
	if server, err := postmaster.Find(i.PGData); err == nil && server != nil {
		checkpoint, done := context.WithTimeout(ctx, orderTimeout/3)
		if _, err := control.Ask(checkpoint, config.ControlSocket(i.Name), control.Checkpoint); err != nil {
			h.log.Info("shutting down without a checkpoint before", "error", err)
		}
		done()
		if err := server.Signal(unix.SIGINT); err != nil { // it has just ended
			h.log.Info("leaving the shutdown to the unit", "error", err)
		}
	}
	if err := h.stopDatabase(ctx); err != nil {
		return err
	}
	return h.activate(control.IntentDemote)
}

// stopDatabase is systemctl stop.
func (h *Host) stopDatabase(ctx context.Context) error {
	if h.activation == nil {
		return nil
	}
	err := instance.Stop(ctx, h.instance, h.log)
	h.activation.cancel()
	<-h.activation.done
	return err
}

// Stop is the agent's stop.
func (h *Host) Stop(_ int, _ *int) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	i := h.instance
	ctx, cancel := context.WithTimeout(context.Background(), orderTimeout)
	defer cancel()
	release, done := context.WithTimeout(ctx, 6*time.Second)
	if _, err := control.Ask(release, config.ControlSocket(i.Name), control.Release); err != nil {
		h.log.Info("the supervisor does not answer", "error", err)
	}
	done()
	err := os.WriteFile(config.Intent(i.Name), []byte(control.IntentStop), 0o644)
	err = errors.Join(err, remove(config.Ticket(i.Name)), h.stopDatabase(ctx))
	if h.supervision != nil {
		h.supervision.cancel()
		<-h.supervision.done
	}
	return errors.Join(err, remove(config.ProgressFile(i.Name)), remove(config.StatusFile(i.Name)))
}

// Signal sends a signal to the postmaster.
func (h *Host) Signal(signal int, _ *int) error {
	server, err := postmaster.Find(h.pgdata())
	if err != nil || server == nil {
		return fmt.Errorf("no server runs on %s: %w", h.boot.Node, err)
	}
	return server.Signal(unix.Signal(signal))
}

func (h *Host) pgdata() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.instance.PGData
}

// Plain is the argument of Host.Before.
type Plain struct {
	PGData   string
	Argv     []string // beyond -D
	Database string
	SQL      []string
	End      string // fast, or immediate for a crash
}

// Before lets a server run as the administrator runs it, for the statements.
func (h *Host) Before(p Plain, _ *int) error {
	account, err := postgres()
	if err != nil {
		return err
	}
	// The statements come in although the administrator's rules may want a password.
	const rules = "/run/trust"
	if err := os.WriteFile(rules, []byte("local all all trust\n"), 0o644); err != nil {
		return err
	}
	argv := append([]string{"postgres", "-D", p.PGData, "-c", "unix_socket_directories=/run/postgresql", "-c", "port=5432"}, p.Argv...)
	cmd := program(h.boot.Bin, account, append(argv, "-c", "hba_file="+rules)...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	errSQL := h.statements(p, ended)
	signal := unix.SIGINT
	if p.End == "immediate" {
		signal = unix.SIGQUIT
	}
	if err := cmd.Process.Signal(signal); err != nil {
		return errors.Join(errSQL, err)
	}
	err = <-ended
	if p.End == "immediate" {
		err = nil
	}
	return errors.Join(errSQL, err)
}

func (h *Host) statements(p Plain, ended chan error) error {
	ctx, cancel := context.WithTimeout(context.Background(), orderTimeout)
	defer cancel()
	for {
		conn, err := connect(ctx, "/run/postgresql", 5432, p.Database)
		if err == nil {
			err = execute(ctx, conn, p.SQL)
			return errors.Join(err, conn.Close(ctx))
		}
		select {
		case err := <-ended:
			ended <- err
			return fmt.Errorf("the administrator's own server does not start: %w", err)
		case <-ctx.Done():
			return err
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// mentions says whether text has the words, in any case.
func mentions(text, words string) bool {
	return strings.Contains(strings.ToLower(text), strings.ToLower(words))
}

func anyMentions(texts []string, words string) bool {
	return slices.ContainsFunc(texts, func(text string) bool { return mentions(text, words) })
}
