package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Host is one machine of the lab.
type Host struct {
	name   string
	number int // from 1; also the cluster's node id
	base   string
	rootfs string
}

// Name returns the host's name, which is also the node's name in the cluster.
func (h *Host) Name() string { return h.name }

// Addr returns the host's IP address.
func (h *Host) Addr() string { return hostIP(h.number) }

// PostgreSQL returns the major version of the host's PostgreSQL, in its packages and in its image.
func (h *Host) PostgreSQL() string { return PostgreSQL(h.base) }

// Running says whether the host has power: a frozen or cut host is running.
func (h *Host) Running() bool {
	g, err := h.group()
	return err == nil && g.populated()
}

// dir is where the host keeps what it has on the machine: its disks, its process id, its console.
func (h *Host) dir(elem ...string) string {
	return filepath.Join(append([]string{runDir, h.name}, elem...)...)
}

func (h *Host) group() (cgroup, error) {
	g, err := labGroup()
	return g.child(h.name), err
}

// lock keeps other processes from switching the host on or off at the same time.
func (h *Host) lock(ctx context.Context) (*os.File, error) { return lockFile(ctx, h.dir("lock")) }

// ReadFile reads a file of the running host from outside, which costs the host nothing: what is measured
// meanwhile is not disturbed. Symbolic links in the path that are absolute lead out of the host.
func (h *Host) ReadFile(path string) ([]byte, error) {
	pid, err := h.pid()
	if err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", path, err)
	}
	data, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "root", path))
	if err != nil {
		return nil, fmt.Errorf("cannot read %s of %s: %w", path, h.name, err)
	}
	return data, nil
}

// Dial connects to a Unix socket of the running host from outside.
func (h *Host) Dial(ctx context.Context, path string) (net.Conn, error) {
	pid, err := h.pid()
	if err != nil {
		return nil, fmt.Errorf("cannot connect to %s: %w", path, err)
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", filepath.Join("/proc", strconv.Itoa(pid), "root", path))
	if err != nil {
		return nil, fmt.Errorf("cannot connect to %s of %s: %w", path, h.name, err)
	}
	return conn, nil
}

// pid returns the process id, outside the host, of its first process.
func (h *Host) pid() (int, error) {
	data, err := os.ReadFile(h.dir("pid"))
	if errors.Is(err, fs.ErrNotExist) || !h.Running() {
		return 0, fmt.Errorf("%s is not running", h.name)
	}
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(string(data))
}

// hostPath is PATH in the hosts.
const hostPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// hostEnv is the environment of programs in the hosts: nothing of the machine's own gets in.
func hostEnv() []string {
	return []string{"PATH=" + hostPath, "HOME=/root", "LANG=C.UTF-8", "LC_ALL=C.UTF-8", "TERM=dumb"}
}

// Command returns a command that runs in the host, as root and with the exit status passed through. When
// the context ends, the program is killed with what it has started. Where the host is not running,
// starting the command fails.
func (h *Host) Command(ctx context.Context, argv ...string) *exec.Cmd {
	pid, err := h.pid()
	args := append([]string{"--target", strconv.Itoa(pid), "--all", "--"}, argv...)
	cmd := exec.CommandContext(ctx, "nsenter", args...)
	if err != nil {
		cmd.Err = fmt.Errorf("cannot run %s: %w", argv[0], err)
		return cmd
	}
	cmd.Env = hostEnv()
	// A process group of its own: nsenter's death alone would leave the program in the host behind.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGKILL) }
	cmd.WaitDelay = 2 * time.Second
	return cmd
}

// Run runs a program in the host and returns its stdout. Its error wraps the *exec.ExitError and ends in
// the tail of stderr.
func (h *Host) Run(ctx context.Context, argv ...string) (string, error) {
	return output(ctx, h.Command(ctx, argv...), strings.Join(argv, " ")+" on "+h.name)
}

// RunInput is Run with input on stdin.
func (h *Host) RunInput(ctx context.Context, input string, argv ...string) (string, error) {
	cmd := h.Command(ctx, argv...)
	cmd.Stdin = strings.NewReader(input)
	return output(ctx, cmd, strings.Join(argv, " ")+" on "+h.name)
}

// CopyIn copies a file of the machine to a path in the host, making the directories above it.
func (h *Host) CopyIn(ctx context.Context, src, dst string, mode fs.FileMode) error {
	f, err := os.Open(src)
	if err != nil {
		return fmt.Errorf("cannot copy to %s: %w", h.name, err)
	}
	defer f.Close()
	cmd := h.Command(ctx, "install", "-D", "-m", fmt.Sprintf("%04o", mode.Perm()), "/dev/stdin", dst)
	cmd.Stdin = f
	_, err = output(ctx, cmd, "install "+dst+" on "+h.name)
	return err
}

// Freeze stops every process of the host where it is, as a hang of the whole machine would. Programs that
// Command starts are outside the host's cgroups: they go on, to look at it.
func (h *Host) Freeze(ctx context.Context) error { return h.setFrozen(ctx, true) }

// Thaw lets a frozen host go on.
func (h *Host) Thaw(ctx context.Context) error { return h.setFrozen(ctx, false) }

// Frozen says whether the host stands still.
func (h *Host) Frozen() bool {
	g, err := h.group()
	return err == nil && g.event("frozen 1")
}

func (h *Host) setFrozen(ctx context.Context, frozen bool) error {
	if _, err := h.pid(); err != nil {
		return fmt.Errorf("cannot freeze or thaw: %w", err)
	}
	g, err := h.group()
	if err != nil {
		return err
	}
	return g.freeze(ctx, frozen)
}
