package runtime

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"strings"
	"syscall"
	"time"

	"github.com/containers/podman/v5/pkg/bindings"
)

// podmanService is a "podman system service" of our own. Containers that it
// starts are its descendants: they live in our unit's control group and, with
// the log driver passthrough, write to its stdout and stderr. The system's
// podman.socket would start them in a unit of its own (podman-run(1), --cgroups).
type podmanService struct {
	dir  string // holds the socket
	proc *os.Process
	conn context.Context // carries the bindings' connection
	done chan struct{}   // closed when the process has ended and err is set
	err  error
}

// startPodmanService starts a service that gives output to its containers as
// stdout and stderr, and waits until it answers.
func startPodmanService(ctx context.Context, stateDir string, stdout, stderr io.Writer) (*podmanService, error) {
	dir, err := os.MkdirTemp(stateDir, "podman-")
	if err != nil {
		return nil, fmt.Errorf("cannot start podman: %w", err)
	}
	v := &podmanService{dir: dir, done: make(chan struct{})}
	if err := v.launch(stdout, stderr); err != nil {
		os.RemoveAll(dir)
		return nil, fmt.Errorf("cannot start podman: %w", err)
	}
	if err := v.connect(ctx); err != nil {
		v.stop()
		return nil, fmt.Errorf("cannot reach our own podman system service: %w", err)
	}
	return v, nil
}

func (v *podmanService) socket() string { return filepath.Join(v.dir, "sock") }

// launch starts the process. It dies with us: PR_SET_PDEATHSIG(2const) means
// the thread that forked, so one goroutine keeps its thread until the end.
func (v *podmanService) launch(stdout, stderr io.Writer) error {
	// Events would go to the journal, several lines per container; errors are enough.
	cmd := exec.Command("podman", "--log-level=error", "--events-backend=none",
		"system", "service", "--time=0", "unix://"+v.socket())
	cmd.Env = podmanEnvironment(os.Environ())
	cmd.Stdout, cmd.Stderr = stdout, stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	cmd.WaitDelay = cleanupTimeout
	started := make(chan error, 1)
	go func() {
		goruntime.LockOSThread()
		defer goruntime.UnlockOSThread()
		defer close(v.done)
		err := cmd.Start()
		v.proc = cmd.Process
		started <- err
		if err == nil {
			v.err = cmd.Wait()
		}
	}()
	return <-started
}

// connect waits until the socket accepts and opens the bindings' connection.
// There is nothing to wait on but the socket, and the bindings would sleep
// 100 ms after a failure, so it is tried here first.
func (v *podmanService) connect(ctx context.Context) error {
	ticker := time.NewTicker(poll)
	defer ticker.Stop()
	for {
		c, err := net.Dial("unix", v.socket())
		if err == nil {
			c.Close()
			break
		}
		select {
		case <-ticker.C:
		case <-v.done:
			return fmt.Errorf("%w: %w", ErrInterrupted, errors.Join(v.err, err))
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	// The connection lives as long as the service, not as the caller's context.
	conn, err := bindings.NewConnection(context.WithoutCancel(ctx), "unix://"+v.socket())
	v.conn = conn
	return err
}

// with returns ctx for calls of the bindings over this service.
func (v *podmanService) with(ctx context.Context) context.Context {
	return connected{Context: ctx, conn: v.conn}
}

// alive reports whether the service still runs.
func (v *podmanService) alive() bool {
	select {
	case <-v.done:
		return false
	default:
		return true
	}
}

// reapTime is more than the time from the end of a process, which its peers
// see at once, until it is reaped.
const reapTime = 100 * time.Millisecond

// interrupted adds to an error of the service that it is due to its end.
func (v *podmanService) interrupted(err error) error {
	if err == nil || errors.Is(err, ErrImageMissing) || errors.Is(err, ErrInterrupted) {
		return err
	}
	select {
	case <-v.done:
		return fmt.Errorf("%w: %w", ErrInterrupted, err)
	case <-time.After(reapTime):
		return err
	}
}

// stop ends the service, not its containers, and waits until everything that
// was written to its pipe has been copied.
func (v *podmanService) stop() {
	if v.conn != nil {
		if c, err := bindings.GetClient(v.conn); err == nil {
			c.Client.CloseIdleConnections() // the service waits for them otherwise
		}
	}
	_ = v.proc.Signal(syscall.SIGTERM) // the only error is that it has ended
	select {
	case <-v.done:
	case <-time.After(cleanupTimeout / 2):
		_ = v.proc.Kill()
		<-v.done
	}
	os.RemoveAll(v.dir)
}

// connected adds the bindings' connection, which they keep in a context under
// a key of their own, to the context of one call.
type connected struct {
	context.Context
	conn context.Context
}

func (c connected) Value(key any) any {
	if v := c.Context.Value(key); v != nil {
		return v
	}
	return c.conn.Value(key)
}

// podmanEnvironment is ours without what systemd means for us alone: with
// NOTIFY_SOCKET the service would report itself as the unit's main process,
// with LISTEN_FDS it would take descriptor 3 for its listener. CONTAINER_HOST
// would turn the command into a client of another host.
func podmanEnvironment(env []string) []string {
	var kept []string
	for _, entry := range env {
		switch key, _, _ := strings.Cut(entry, "="); key {
		case "NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "LISTEN_PIDFDID",
			"WATCHDOG_USEC", "WATCHDOG_PID", "CONTAINER_HOST", "CONTAINER_CONNECTION":
		default:
			kept = append(kept, entry)
		}
	}
	return kept
}
