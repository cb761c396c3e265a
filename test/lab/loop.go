package lab

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Loop devices belong to the kernel, not to a host: one that a host has set up over a file of its disk would
// survive the power-off and hold the file.

// file identifies a file whatever its path.
type file struct{ device, inode uint64 }

// detachLoops frees the loop devices over files below dir.
func detachLoops(dir string) error {
	attached, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil || len(attached) == 0 {
		return err
	}
	files := map[file]bool{}
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil // a file that goes away meanwhile has no loop device
		}
		var s unix.Stat_t
		if unix.Lstat(path, &s) == nil {
			files[file{uint64(s.Dev), s.Ino}] = true
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("cannot look for loop devices: %w", err)
	}
	for _, path := range attached {
		device := "/dev/" + filepath.Base(filepath.Dir(filepath.Dir(path)))
		if err := detachLoop(device, files); err != nil {
			return fmt.Errorf("cannot detach %s: %w", device, err)
		}
	}
	return nil
}

// detachLoop frees a loop device if its file is one of those.
func detachLoop(device string, files map[file]bool) error {
	f, err := os.Open(device)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := unix.IoctlLoopGetStatus64(int(f.Fd()))
	if err != nil || !files[file{info.Device, info.Inode}] {
		return nil // detached in between, or another's
	}
	return unix.IoctlSetInt(int(f.Fd()), unix.LOOP_CLR_FD, 0)
}
