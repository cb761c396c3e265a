package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// jail runs programs for and in a root file system that is being built. They are in a cgroup, so that a
// killed build leaves none of them behind, and mounts are in a namespace that ends with the program.
type jail struct {
	root  string
	group cgroup
}

func newJail(root string) (jail, error) {
	g, err := labGroup()
	if err != nil {
		return jail{}, err
	}
	g = g.child("build")
	return jail{root: root, group: g}, g.create()
}

// run runs a program in the root file system.
func (j jail) run(ctx context.Context, argv ...string) (string, error) {
	cmd := helper(jailHelper, append([]string{j.root}, argv...)...)
	cmd.Env = append(hostEnv(), "DEBIAN_FRONTEND=noninteractive")
	return j.start(ctx, cmd, unix.CLONE_NEWNS|unix.CLONE_NEWPID|unix.CLONE_NEWUTS, argv)
}

// runOutside runs a program of the machine.
func (j jail) runOutside(ctx context.Context, argv ...string) (string, error) {
	return j.start(ctx, exec.Command(argv[0], argv[1:]...), 0, argv)
}

func (j jail) start(ctx context.Context, cmd *exec.Cmd, flags uintptr, argv []string) (string, error) {
	dir, err := j.group.open()
	if err != nil {
		return "", err
	}
	defer dir.Close()
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd()), Cloneflags: flags}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	stop := context.AfterFunc(ctx, func() { _ = j.group.write("cgroup.kill", "1") })
	defer stop()
	if err := cmd.Run(); err != nil {
		// apt-get and debootstrap say on stdout what went wrong.
		err = withTail(errors.Join(err, context.Cause(ctx)), stdout.String()+stderr.String())
		return "", fmt.Errorf("cannot run %s: %w", shorten(strings.Join(argv, " ")), err)
	}
	return stdout.String(), nil
}

// jailMain becomes a program in the root file system that the arguments name.
func jailMain() error {
	runtime.LockOSThread()
	root, argv := os.Args[1], os.Args[2:]
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("cannot make mounts private: %w", err)
	}
	// A mount point of its own: unpacking an image makes the root private, which only a mount point can be.
	for _, m := range []mount{bind(root, ""), {"proc", "proc", "proc", 0, ""}} {
		if err := m.mount(root); err != nil {
			return err
		}
	}
	if err := pivot(root); err != nil {
		return err
	}
	path, err := exec.LookPath(argv[0])
	if err != nil {
		return err
	}
	return execve(filepath.Clean(path), argv[1:], os.Environ())
}
