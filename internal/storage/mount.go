package storage

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/moby/sys/mountinfo"
)

// mountedAt is the mount point of the file system that dir is on, or, while
// dir is missing, the nearest directory above it.
func mountedAt(dir string) (string, error) {
	at, err := mountOf(dir)
	if err != nil {
		return "", err
	}
	return at.Mountpoint, nil
}

func mountOf(dir string) (*mountinfo.Info, error) {
	place, err := filepath.EvalSymlinks(dir)
	for errors.Is(err, os.ErrNotExist) && dir != filepath.Dir(dir) {
		dir = filepath.Dir(dir)
		place, err = filepath.EvalSymlinks(dir)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot find the file system of %s: %w", dir, err)
	}
	mounts, err := mountinfo.GetMounts(mountinfo.ParentsFilter(place))
	if err != nil {
		return nil, fmt.Errorf("cannot find the file system of %s: %w", dir, err)
	}
	deepest := &mountinfo.Info{Mountpoint: "/"}
	for _, m := range mounts {
		// Of several at one place the last one is seen.
		if len(m.Mountpoint) >= len(deepest.Mountpoint) {
			deepest = m
		}
	}
	return deepest, nil
}

// mountPoint says whether something is mounted at dir. A missing directory is
// none, nor is a btrfs subvolume.
func mountPoint(dir string) (bool, error) {
	mounted, err := mountinfo.Mounted(dir)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("cannot look at %s: %w", dir, err)
	}
	return mounted, nil
}

// NoteMounts remembers at path where the file systems of dirs are mounted, the
// data directory's first.
func NoteMounts(path string, dirs ...string) error {
	var note strings.Builder
	for i, dir := range dirs {
		at, err := mountedAt(dir)
		if err != nil {
			return err
		}
		if i > 0 {
			at = dir + noteMark + at
		}
		note.WriteString(at + "\n")
	}
	if noted, err := os.ReadFile(path); err == nil && string(noted) == note.String() {
		return nil
	}
	if err := os.WriteFile(path, []byte(note.String()), 0o644); err != nil {
		return fmt.Errorf("cannot note the file systems of the data: %w", err)
	}
	return nil
}

// noteMark is between a directory and the mount point of its file system. The
// data directory is not named: its line is the first.
const noteMark = "\t"

// Unmounted returns the mount point that NoteMounts left at path for the data
// directory dir where that is on another file system now, else "". Without a
// note there is nothing to compare.
func Unmounted(path, dir string) (string, error) {
	return unmounted(path, dir, "")
}

// UnmountedLink is Unmounted for a directory outside.
func UnmountedLink(path, dir string) (string, error) {
	return unmounted(path, dir, dir+noteMark)
}

func unmounted(path, dir, prefix string) (string, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("cannot read which file system %s was on: %w", dir, err)
	}
	for line := range strings.Lines(string(text)) {
		was, noted := strings.CutPrefix(strings.TrimSuffix(line, "\n"), prefix)
		if !noted || strings.Contains(was, noteMark) {
			continue
		}
		at, err := mountedAt(dir)
		if err != nil || was == at {
			return "", err
		}
		return was, nil
	}
	return "", nil
}
