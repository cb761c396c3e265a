package storage

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/moby/sys/mountinfo"
)

// MountedAt is the mount point of the file system that dir is on, or, while
// dir is missing, the nearest directory above it.
func MountedAt(dir string) (string, error) {
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

// MountPoint says whether something is mounted at dir. A missing directory is
// none, nor is a btrfs subvolume.
func MountPoint(dir string) (bool, error) {
	mounted, err := mountinfo.Mounted(dir)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("cannot look at %s: %w", dir, err)
	}
	return mounted, nil
}

// NoteMount remembers at path where the file system of dir is mounted.
func NoteMount(path, dir string) error {
	at, err := MountedAt(dir)
	if err != nil {
		return err
	}
	if noted, err := os.ReadFile(path); err == nil && string(noted) == at+"\n" {
		return nil
	}
	if err := os.WriteFile(path, []byte(at+"\n"), 0o644); err != nil {
		return fmt.Errorf("cannot note the file system of %s: %w", dir, err)
	}
	return nil
}

// Unmounted returns the mount point that NoteMount left at path where dir is
// on another file system now, else "". Without a note there is nothing to
// compare.
func Unmounted(path, dir string) (string, error) {
	noted, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("cannot read which file system %s was on: %w", dir, err)
	}
	at, err := MountedAt(dir)
	if was := strings.TrimSpace(string(noted)); err == nil && was != at {
		return was, nil
	}
	return "", err
}
