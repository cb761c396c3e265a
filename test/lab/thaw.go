package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// A file system that a host has frozen (fsfreeze(8)) holds every process that writes to it, even when it is killed: a
// power-off has to end that wait.

// fithaw is FITHAW of linux/fs.h, _IOWR('X', 120, int).
const fithaw = 0xC0045878

// loopMounts opens the file systems that the hosts whose first processes have left their ids in these files have mounted
// from loop devices. A host that is off has none.
func loopMounts(pidFiles ...string) ([]*os.File, error) {
	var open []*os.File
	for _, file := range pidFiles {
		pid, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return open, err
		}
		proc := filepath.Join("/proc", string(pid))
		mounts, err := loopMountsOf(filepath.Join(proc, "mountinfo"))
		if err != nil {
			return open, fmt.Errorf("cannot read the mounts of process %s: %w", pid, err)
		}
		for _, m := range mounts {
			if f, err := os.Open(filepath.Join(proc, "root", m.Mountpoint)); err == nil {
				open = append(open, f)
			}
		}
	}
	return open, nil
}

func loopMountsOf(mountInfo string) ([]*mountinfo.Info, error) {
	table, err := os.Open(mountInfo)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.EINVAL) { // gone, or waiting to be reaped
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer table.Close()
	return mountinfo.GetMountsFromReader(table, func(m *mountinfo.Info) (skip, stop bool) {
		return !strings.HasPrefix(m.Source, "/dev/loop"), false
	})
}

// thaw lets go what waits for frozen file systems.
func thaw(mounts []*os.File) {
	for _, f := range mounts {
		_ = unix.IoctlSetInt(int(f.Fd()), fithaw, 0) // EINVAL: it is not frozen
	}
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}
