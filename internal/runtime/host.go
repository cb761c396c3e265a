package runtime

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
)

// Host runs the programs of the host's packages.
type Host struct {
	opts Options

	mu      sync.Mutex
	started map[string]*process
}

// process is a started database: done is closed when it has ended, with exit set.
type process struct {
	cmd  *exec.Cmd
	done chan struct{}
	exit int
}

func newHost(opts Options) *Host {
	return &Host{opts: opts, started: map[string]*process{}}
}

// Name implements Runtime.
func (h *Host) Name() string { return "host" }

// Image implements Runtime: there is only the zero Image.
func (h *Host) Image(context.Context, string) (Image, error) { return Image{}, nil }

// Running implements Runtime: no containers.
func (h *Host) Running(context.Context) ([]string, error) { return nil, nil }

// Close implements Runtime: there is nothing to end.
func (h *Host) Close() error { return nil }

// Start implements Runtime. The server writes to our own stdout and stderr,
// which in a service are the journal's stream.
func (h *Host) Start(ctx context.Context, s Spec) (Started, error) {
	if err := ctx.Err(); err != nil {
		return Started{}, fmt.Errorf("cannot start %s: %w", s.Argv[0], err)
	}
	// The database outlives every context of ours.
	cmd, err := h.command(context.Background(), s)
	if err != nil {
		return Started{}, err
	}
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		return Started{}, fmt.Errorf("cannot start %s: %w", cmd.Path, err)
	}
	p := &process{cmd: cmd, done: make(chan struct{})}
	h.mu.Lock()
	h.started[s.Name] = p
	h.mu.Unlock()
	// Reaps the server, so that a dead one does not look alive as a zombie. It
	// ends with the server or with our process, which the server is to outlive:
	// there is nobody to wait for it.
	go p.reap()
	return Started{PID: cmd.Process.Pid, MainPID: cmd.Process.Pid}, nil
}

func (p *process) reap() {
	_ = p.cmd.Wait() // the state says it all
	p.exit = exitStatus(p.cmd.ProcessState)
	close(p.done)
}

// Run implements Runtime. The job is the first process of a PID namespace, as
// it is in a container: the kernel kills all of a namespace with its first
// process (pid_namespaces(7)), even those that left the process group.
func (h *Host) Run(ctx context.Context, s Spec, output io.Writer) (int, error) {
	cmd, err := h.command(ctx, s)
	if err != nil {
		return 0, err
	}
	cmd.Stdout, cmd.Stderr = output, output
	cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWPID
	cmd.WaitDelay = cleanupTimeout
	err = cmd.Run()
	if ctx.Err() != nil {
		return 0, fmt.Errorf("cannot finish %s: %w", cmd.Path, context.Cause(ctx))
	}
	if exited := new(exec.ExitError); err != nil && !errors.As(err, &exited) {
		return 0, fmt.Errorf("cannot run %s: %w", cmd.Path, err)
	}
	return exitStatus(cmd.ProcessState), nil
}

// Wait implements Runtime.
func (h *Host) Wait(ctx context.Context, name string) (int, error) {
	p := h.process(name)
	if p == nil {
		return 0, fmt.Errorf("cannot wait for %s: it was not started here", name)
	}
	select {
	case <-p.done:
		return p.exit, nil
	case <-ctx.Done():
		return 0, fmt.Errorf("cannot wait for %s: %w", name, context.Cause(ctx))
	}
}

// Remove implements Runtime. It knows only what this Host started; the unit's
// control group is what kills the others.
func (h *Host) Remove(ctx context.Context, name string) error {
	p := h.process(name)
	if p == nil {
		return nil
	}
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("cannot kill %s: %w", name, err)
	}
	if _, err := h.Wait(ctx, name); err != nil {
		return err
	}
	h.mu.Lock()
	delete(h.started, name)
	h.mu.Unlock()
	return nil
}

func (h *Host) process(name string) *process {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.started[name]
}

// command prepares a program with the environment of the Spec alone: our own
// has NOTIFY_SOCKET, through which PostgreSQL would tell systemd that it is
// ready before we think so.
func (h *Host) command(ctx context.Context, s Spec) (*exec.Cmd, error) {
	program, err := h.lookup(s.Argv[0])
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, program, s.Argv[1:]...)
	cmd.Env = append([]string{"PATH=" + filepath.Dir(program) + ":/usr/bin:/bin"}, s.Env...)
	cmd.Dir = directory(s)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setsid:     true,
		Credential: &syscall.Credential{Uid: s.UID, Gid: s.GID, Groups: s.Groups},
	}
	return cmd, nil
}

// lookup finds a program; all come from one directory.
func (h *Host) lookup(program string) (string, error) {
	dir, missing := HostPrograms(h.opts.BinDir, h.opts.Major, "postgres", program)
	if slices.Contains(missing, program) {
		return "", fmt.Errorf("cannot find %s in %s: PostgreSQL is %w there, install its packages or set pg_bindir",
			program, dir, ErrNotInstalled)
	}
	return filepath.Join(dir, program), nil
}

func directory(s Spec) string {
	if s.Dir == "" {
		return "/"
	}
	return s.Dir
}

// signalOf returns the number of the signal that ended a process.
func signalOf(state *os.ProcessState) int {
	return int(state.Sys().(syscall.WaitStatus).Signal())
}

var _ Runtime = (*Host)(nil)
