package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// This file is what happens in a new host, in its namespaces, before systemd takes over.

// hostSetup tells a host's first process what to make.
type hostSetup struct {
	Name    string
	Addr    string
	Dir     string // the host's directory on the machine
	RootFS  string
	Install string // tree laid over /, first boot only
	Seeds   []seed // files to write, first boot only
}

// seed is a file that a host starts its life with.
type seed struct {
	Path     string
	Mode     os.FileMode
	UID, GID int
	Text     string
}

func (s *hostSetup) host(h *Host) {
	s.Name, s.Addr, s.Dir, s.RootFS = h.name, h.Addr(), h.dir(), h.rootfs
}

// hostMain becomes the host's systemd; it returns only when that cannot be.
func hostMain() error {
	// Namespaces belong to threads: what follows must all happen on the one that execs.
	runtime.LockOSThread()
	var s hostSetup
	if err := json.NewDecoder(os.NewFile(3, "setup")).Decode(&s); err != nil {
		return fmt.Errorf("cannot read the setup: %w", err)
	}
	// The cgroup namespace is rooted where the process is now, which is why it is not made at the clone.
	if err := unix.Unshare(unix.CLONE_NEWCGROUP); err != nil {
		return fmt.Errorf("cannot make a cgroup namespace: %w", err)
	}
	if err := unix.Sethostname([]byte(s.Name)); err != nil {
		return fmt.Errorf("cannot set the host name: %w", err)
	}
	ctx := context.Background()
	batch := "link set lo up\naddr add " + s.Addr + "/24 dev eth0\nlink set eth0 up\n"
	if _, err := runInput(ctx, batch, "ip", "-batch", "-"); err != nil {
		return err
	}
	root := filepath.Join(s.Dir, "root")
	if err := mountHost(root, s); err != nil {
		return err
	}
	if err := furnish(ctx, root, s); err != nil {
		return err
	}
	if err := pivot(root); err != nil {
		return err
	}
	unix.CloseOnExec(3)
	return execve("/lib/systemd/systemd", []string{"systemd.unit=multi-user.target"},
		[]string{"container=lab", "PATH=" + hostPath})
}

// furnish gives a new host its files.
func furnish(ctx context.Context, root string, s hostSetup) error {
	if s.Install != "" {
		extract := exec.CommandContext(ctx, extractArgs[0], extractArgs[1:]...)
		extract.SysProcAttr = &syscall.SysProcAttr{Chroot: root}
		extract.Dir = "/"
		if err := installTree(ctx, s.Install, extract); err != nil {
			return err
		}
	}
	for _, f := range s.Seeds {
		path := filepath.Join(root, f.Path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return fmt.Errorf("cannot make %s: %w", f.Path, err)
		}
		if err := os.WriteFile(path, []byte(f.Text), f.Mode); err != nil {
			return fmt.Errorf("cannot make %s: %w", f.Path, err)
		}
		if err := os.Chown(path, f.UID, f.GID); err != nil {
			return fmt.Errorf("cannot make %s: %w", f.Path, err)
		}
	}
	return nil
}

// pivot makes root, a mount point, the root of this mount namespace and forgets the old one.
func pivot(root string) error {
	if err := os.Chdir(root); err != nil {
		return fmt.Errorf("cannot enter the new root: %w", err)
	}
	// Both on ".": the old root ends up mounted over the new one and is then taken away.
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("cannot make %s the root: %w", root, err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("cannot leave the old root: %w", err)
	}
	return os.Chdir("/")
}

func execve(path string, args, env []string) error {
	argv := append([]string{path}, args...)
	return fmt.Errorf("cannot run %s: %w", strings.Join(argv, " "), syscall.Exec(path, argv, env))
}
