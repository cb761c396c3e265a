package lab

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// mount is one entry of a host's mount table; the target is relative to the host's root.
type mount struct {
	source, target, kind string
	flags                uintptr
	options              string
}

// diskDirs are the directories below a host's own that are bound over /var/lib in it.
func diskDirs() []string {
	return []string{"disk/containers", "disk/docker", "disk/pgtwin", "disk/pgsql"}
}

// mountHost mounts the host's file systems below root.
func mountHost(root string, s hostSetup) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("cannot make mounts private: %w", err)
	}
	overlay := fmt.Sprintf("lowerdir=%s,upperdir=%s/upper,workdir=%[2]s/work", s.RootFS, s.Dir)
	mounts := []mount{
		{"overlay", "", "overlay", 0, overlay},
		{"proc", "proc", "proc", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, ""},
		{"sysfs", "sys", "sysfs", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, ""},
		{"cgroup2", "sys/fs/cgroup", "cgroup2", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, ""},
		{"tmpfs", "run", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV, "mode=755"},
		{"tmpfs", "dev", "tmpfs", unix.MS_NOSUID, "mode=755"},
		{"devpts", "dev/pts", "devpts", unix.MS_NOSUID | unix.MS_NOEXEC, "newinstance,ptmxmode=0666,mode=620,gid=5"},
		{"tmpfs", "dev/shm", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV, "mode=1777"},
		bind(fenceDir, fenceMount),
		bind(program, "usr/sbin/fence_lab"),
		// Container images lie below no overlay but their own: the kernel stacks two at most.
		readOnly(s.RootFS+imageStore, imageStore),
		// The kernel is everybody's: a host that tunes "its" machine must not reach the real one.
		readOnly("/proc/sys/kernel", "proc/sys/kernel"),
		readOnly("/proc/sys/vm", "proc/sys/vm"),
		readOnly("/proc/sys/fs", "proc/sys/fs"),
	}
	if _, err := os.Stat("/proc/sysrq-trigger"); err == nil {
		mounts = append(mounts, bind("/dev/null", "proc/sysrq-trigger")) // nor reset it
	}
	for _, dir := range diskDirs() {
		mounts = append(mounts, bind(filepath.Join(s.Dir, dir), "var/lib/"+filepath.Base(dir)))
	}
	for _, m := range mounts {
		if err := m.mount(root); err != nil {
			return err
		}
	}
	return makeDevices(filepath.Join(root, "dev"))
}

func bind(source, target string) mount { return mount{source, target, "", unix.MS_BIND, ""} }

func readOnly(source, target string) mount {
	return mount{source, target, "", unix.MS_BIND | unix.MS_RDONLY, ""}
}

func (m mount) mount(root string) error {
	target := filepath.Join(root, m.target)
	if err := m.makeTarget(target); err != nil {
		return fmt.Errorf("cannot make mount point /%s: %w", m.target, err)
	}
	err := unix.Mount(m.source, target, m.kind, m.flags, m.options)
	if err == nil && m.flags&(unix.MS_BIND|unix.MS_RDONLY) == unix.MS_BIND|unix.MS_RDONLY {
		// A bind takes on read-only with a remount alone.
		err = unix.Mount("", target, "", m.flags|unix.MS_REMOUNT, "")
	}
	if err != nil {
		return fmt.Errorf("cannot mount %s on /%s: %w", m.source, m.target, err)
	}
	return nil
}

// makeTarget makes the mount point: a file to bind a file on, a directory for anything else.
func (m mount) makeTarget(target string) error {
	if _, err := os.Stat(target); err == nil {
		return nil
	}
	if info, err := os.Stat(m.source); m.flags&unix.MS_BIND != 0 && err == nil && !info.IsDir() {
		return os.WriteFile(target, nil, 0o644)
	}
	return os.MkdirAll(target, 0o755)
}

// makeDevices fills /dev. There is no udev in the hosts.
func makeDevices(dev string) error {
	type node struct {
		name         string
		kind         uint32
		major, minor uint32
	}
	nodes := []node{
		{"null", unix.S_IFCHR, 1, 3}, {"zero", unix.S_IFCHR, 1, 5}, {"full", unix.S_IFCHR, 1, 7},
		{"random", unix.S_IFCHR, 1, 8}, {"urandom", unix.S_IFCHR, 1, 9}, {"tty", unix.S_IFCHR, 5, 0},
		{"fuse", unix.S_IFCHR, 10, 229}, {"btrfs-control", unix.S_IFCHR, 10, 234},
		{"loop-control", unix.S_IFCHR, 10, 237}, {"net/tun", unix.S_IFCHR, 10, 200},
	}
	for n := range uint32(8) {
		nodes = append(nodes, node{fmt.Sprintf("loop%d", n), unix.S_IFBLK, 7, n})
	}
	if err := os.Mkdir(filepath.Join(dev, "net"), 0o755); err != nil {
		return err
	}
	defer unix.Umask(unix.Umask(0))
	for _, n := range nodes {
		if err := unix.Mknod(filepath.Join(dev, n.name), n.kind|0o666, int(unix.Mkdev(n.major, n.minor))); err != nil {
			return fmt.Errorf("cannot make /dev/%s: %w", n.name, err)
		}
	}
	for name, target := range map[string]string{
		"ptmx": "pts/ptmx", "fd": "/proc/self/fd",
		"stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2",
	} {
		if err := os.Symlink(target, filepath.Join(dev, name)); err != nil {
			return fmt.Errorf("cannot make /dev/%s: %w", name, err)
		}
	}
	return nil
}
