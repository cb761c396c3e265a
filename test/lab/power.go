package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Boot switches the host on and returns when systemd has started everything that starts at boot, the
// cluster stack among it. What was on the disks at the power-off is there again.
func (h *Host) Boot(ctx context.Context) error { return h.boot(ctx, hostSetup{}) }

func (h *Host) boot(ctx context.Context, s hostSetup) error {
	if err := h.powerOn(ctx, s); err != nil {
		return fmt.Errorf("cannot boot %s: %w", h.name, err)
	}
	err := await(ctx, "the end of "+h.name+"'s boot", func() (bool, error) {
		if !h.Running() {
			return false, fmt.Errorf("%w: %s", errGivenUp, withTail(errors.New("the host is off again, fenced or dead"), h.console()))
		}
		// "degraded" is a failed unit: it has been started all the same.
		out, _ := h.Run(ctx, "systemctl", "is-system-running")
		out = strings.TrimSpace(out)
		return out == "running" || out == "degraded", fmt.Errorf("systemd says %q", out)
	})
	return err
}

// firmwareTime is what a machine takes at least from its power-off to its first process. Pacemaker counts on it: a
// host that has joined again before the others report that it was fenced takes that for a reason to stay down
// ("We were allegedly just fenced", tengine_stonith_notify in controld_fencing.c).
const firmwareTime = 3 * time.Second

// awaitFirmware returns when that has passed.
func (h *Host) awaitFirmware(ctx context.Context) error {
	off, err := os.Stat(h.offFile())
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it has never been off
	}
	if err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(time.Until(off.ModTime().Add(firmwareTime))):
		return nil
	}
}

// offFile is as old as the power-off.
func (h *Host) offFile() string { return h.dir("off") }

func (h *Host) powerOn(ctx context.Context, s hostSetup) error {
	if err := h.awaitFirmware(ctx); err != nil {
		return err
	}
	lock, err := h.lock(ctx)
	if err != nil {
		return err
	}
	defer lock.Close()
	if h.Running() {
		return errors.New("it is running")
	}
	// A host that ended by itself (panic, halt) has left its link and its cgroups.
	if err := h.clearAway(ctx); err != nil {
		return err
	}
	if err := h.makeDisks(); err != nil {
		return err
	}
	s.host(h)
	return h.startInit(ctx, s)
}

// startInit starts the host's first process, plugs in its network cable and lets it go on.
func (h *Host) startInit(ctx context.Context, s hostSetup) error {
	g, err := h.group()
	if err != nil {
		return err
	}
	if err := g.create(); err != nil {
		return err
	}
	cmd, setup, err := h.initCommand(g)
	if err != nil {
		return err
	}
	defer setup.Close() // without a setup the process ends
	if err := os.WriteFile(h.dir("pid"), []byte(strconv.Itoa(cmd.Process.Pid)), 0o644); err != nil {
		return err
	}
	if err := h.plug(ctx, cmd.Process.Pid); err != nil {
		return err
	}
	return json.NewEncoder(setup).Encode(s)
}

// initCommand starts a process that waits, in namespaces and in the cgroup of the host, for its setup on
// a pipe. It is not waited for: the host outlives this process as well as the other way round.
func (h *Host) initCommand(g cgroup) (*exec.Cmd, *os.File, error) {
	dir, err := g.open()
	if err != nil {
		return nil, nil, err
	}
	defer dir.Close()
	console, err := os.OpenFile(h.dir("console"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, nil, err
	}
	defer console.Close()
	reading, setup, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	defer reading.Close()
	cmd := helper(hostHelper)
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = console, console, []*os.File{reading}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setsid:      true,
		UseCgroupFD: true,
		CgroupFD:    int(dir.Fd()),
		Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET |
			unix.CLONE_NEWUTS | unix.CLONE_NEWIPC,
	}
	if err := cmd.Start(); err != nil {
		setup.Close()
		return nil, nil, err
	}
	return cmd, setup, nil
}

// makeDisks makes what the host keeps over a power-off. The directories bound into it lie on the machine's
// own file system, because container storage and databases do not work well on an overlay.
func (h *Host) makeDisks() error {
	for _, dir := range append([]string{"upper", "work", "root"}, diskDirs()...) {
		if err := os.MkdirAll(h.dir(dir), 0o755); err != nil {
			return err
		}
	}
	uid, gid, err := lookupUser(h.rootfs, "postgres")
	if err != nil {
		return err
	}
	return os.Chown(h.dir("disk", "pgsql"), uid, gid)
}

// console returns what the host has written to its console.
func (h *Host) console() string {
	data, err := os.ReadFile(h.dir("console"))
	if err != nil {
		return err.Error()
	}
	return string(data)
}

// PowerOff takes the host's power: its link first, so that no dying process sends a last packet, then
// every process at once. It returns when they are gone; a host that is off already is fine.
func (h *Host) PowerOff(ctx context.Context) error {
	lock, err := h.lock(ctx)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := h.pull(ctx); err != nil {
		return fmt.Errorf("cannot power off %s: %w", h.name, err)
	}
	if err := h.clearAway(ctx); err != nil {
		return fmt.Errorf("cannot power off %s: %w", h.name, err)
	}
	if err := os.WriteFile(h.offFile(), nil, 0o644); err != nil {
		return fmt.Errorf("cannot note when %s lost power: %w", h.name, err)
	}
	return nil
}

// clearAway ends the host's processes and removes what belongs to a running host only.
func (h *Host) clearAway(ctx context.Context) error {
	g, err := h.group()
	if err != nil {
		return err
	}
	mounts, err := loopMounts(h.dir("pid"))
	if err == nil {
		err = g.kill(ctx, func() { thaw(mounts) })
	}
	closeAll(mounts)
	if err != nil {
		return err
	}
	reap(h.dir("pid"))
	if err := g.remove(); err != nil {
		return err
	}
	if err := detachLoops(h.dir("disk")); err != nil {
		return err
	}
	return h.unplug(ctx)
}

// reap takes note of a helper's end if this process started it; the file stays for the one that did, and
// where that is gone the machine's init reaps.
func reap(pidFile string) {
	data, err := os.ReadFile(pidFile)
	if err != nil {
		return
	}
	pid, err := strconv.Atoi(string(data))
	if err != nil {
		return
	}
	if _, err := unix.Wait4(pid, nil, unix.WNOHANG, nil); err == nil {
		_ = os.Remove(pidFile)
	}
}
