// Package storage knows how a data directory is laid out on its file system:
// how it is locked, replaced and kept. It knows nothing of what is in it.
package storage

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ErrLocked says that another activation works on the data directory.
var ErrLocked = errors.New("another activation holds it")

// Lock takes the exclusive lock beside the directory, which is held until the
// returned file is closed. It covers the preparation of the directory; once
// PostgreSQL runs, its working directory is the proof.
func Lock(dir string) (*os.File, error) {
	path := beside(dir, "lock")
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot lock %s: %w", dir, err)
	}
	lock := unix.Flock_t{Type: unix.F_WRLCK}
	// An open file description lock, unlike flock(2), also holds on NFS
	// (fcntl(2), Open file description locks).
	if err := unix.FcntlFlock(file.Fd(), unix.F_OFD_SETLK, &lock); err != nil {
		file.Close()
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
			err = ErrLocked
		}
		return nil, fmt.Errorf("cannot lock %s: %w", dir, err)
	}
	return file, nil
}

// beside names a file of ours next to the directory, hidden.
func beside(dir, what string) string {
	return filepath.Join(filepath.Dir(dir), "."+filepath.Base(dir)+".pgtwin-"+what)
}

// Staging is where a new copy of dir is made: on the same file system, so that
// it can take dir's place by a rename. A mount point cannot be renamed, so a
// copy for one is made in place.
func Staging(dir string) (string, error) {
	mounted, err := MountPoint(dir)
	if err != nil || mounted {
		return dir, err
	}
	return beside(dir, "new"), nil
}

// MountPoint says whether dir is where a file system is mounted. A missing
// directory is none.
func MountPoint(dir string) (bool, error) {
	here, err := os.Stat(dir)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("cannot look at %s: %w", dir, err)
	}
	above, err := os.Stat(filepath.Dir(dir))
	if err != nil {
		return false, fmt.Errorf("cannot look at %s: %w", filepath.Dir(dir), err)
	}
	return here.Sys().(*syscall.Stat_t).Dev != above.Sys().(*syscall.Stat_t).Dev, nil
}

// PrepareStaging makes an empty directory for a new copy, owned by uid and
// gid, in place of one that an interrupted copy left there.
func PrepareStaging(staging, dir string, uid, gid uint32) error {
	if staging != dir {
		if err := os.RemoveAll(staging); err != nil {
			return fmt.Errorf("cannot clear %s: %w", staging, err)
		}
	}
	if err := os.MkdirAll(staging, 0o700); err != nil {
		return fmt.Errorf("cannot make room for the new copy: %w", err)
	}
	entries, err := os.ReadDir(staging)
	if err != nil {
		return fmt.Errorf("cannot look at %s: %w", staging, err)
	}
	entries = slices.DeleteFunc(entries, func(e os.DirEntry) bool { return e.Name() == "lost+found" })
	if len(entries) > 0 {
		return fmt.Errorf("cannot replace the data in %s: it is a mount point, so the new copy cannot be made beside it: move its content away", dir)
	}
	if err := os.Chown(staging, int(uid), int(gid)); err != nil {
		return fmt.Errorf("cannot hand %s to its owner: %w", staging, err)
	}
	return os.Chmod(staging, 0o700)
}

// Swap puts the complete copy in staging in the place of dir. What was in dir
// is kept beside it under the returned name; an empty dir is not kept.
func Swap(staging, dir string, now time.Time) (kept string, err error) {
	if staging == dir {
		return "", syncTree(dir)
	}
	if err := syncTree(staging); err != nil {
		return "", err
	}
	err = os.Remove(dir)
	switch {
	case err == nil, errors.Is(err, os.ErrNotExist):
	case errors.Is(err, unix.ENOTEMPTY), errors.Is(err, unix.EEXIST):
		kept = keptName(dir, now)
		if err := os.Rename(dir, kept); err != nil {
			return "", fmt.Errorf("cannot keep the replaced data directory: %w", err)
		}
	default:
		return "", fmt.Errorf("cannot put the new copy in the place of %s: %w", dir, err)
	}
	if err := os.Rename(staging, dir); err != nil {
		return kept, fmt.Errorf("cannot put the new copy in the place of %s (the replaced data are in %q): %w", dir, kept, err)
	}
	return kept, syncDir(filepath.Dir(dir))
}

const keptMark = ".replaced-"

func keptName(dir string, now time.Time) string {
	return dir + keptMark + now.UTC().Format("20060102T150405")
}

// Kept lists the replaced copies of dir, oldest first.
func Kept(dir string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Dir(dir))
	if err != nil {
		return nil, fmt.Errorf("cannot look for replaced copies of %s: %w", dir, err)
	}
	var kept []string
	for _, e := range entries {
		if e.IsDir() && strings.HasPrefix(e.Name(), filepath.Base(dir)+keptMark) {
			kept = append(kept, filepath.Join(filepath.Dir(dir), e.Name()))
		}
	}
	return kept, nil
}

// Forget removes the replaced copies of dir but the newest keep ones.
func Forget(dir string, keep int) error {
	kept, err := Kept(dir)
	if err != nil {
		return err
	}
	for _, path := range kept[:max(0, len(kept)-keep)] {
		if err := os.RemoveAll(path); err != nil {
			return fmt.Errorf("cannot remove the replaced copy %s: %w", path, err)
		}
	}
	return nil
}

// syncTree writes all of a directory's file system to disk: a copy is complete
// only when a power failure cannot take it back.
func syncTree(dir string) error {
	file, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("cannot sync %s: %w", dir, err)
	}
	defer file.Close()
	if err := unix.Syncfs(int(file.Fd())); err != nil {
		return fmt.Errorf("cannot sync %s: %w", dir, err)
	}
	return nil
}

func syncDir(dir string) error {
	file, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("cannot sync %s: %w", dir, err)
	}
	defer file.Close()
	if err := file.Sync(); err != nil {
		return fmt.Errorf("cannot sync %s: %w", dir, err)
	}
	return nil
}

// Mark leaves a synced note at path that dir must not be used until the work
// named in it is complete. Unmark removes it.
func Mark(path, work string) error {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("cannot leave the marker for %s: %w", work, err)
	}
	_, errWrite := fmt.Fprintln(file, work)
	if err := errors.Join(errWrite, file.Sync(), file.Close()); err != nil {
		return fmt.Errorf("cannot leave the marker for %s: %w", work, err)
	}
	return syncDir(filepath.Dir(path))
}

// Unmark removes the note that Mark left. A missing one is no error.
func Unmark(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("cannot remove the marker: %w", err)
	}
	return syncDir(filepath.Dir(path))
}

// Marked says which work, if any, was not completed.
func Marked(path string) (work string, marked bool, err error) {
	text, err := os.ReadFile(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return "", false, nil
	case err != nil:
		return "", false, fmt.Errorf("cannot read the marker: %w", err)
	}
	return strings.TrimSpace(string(text)), true, nil
}

// Empty removes what is in dir, but not dir itself.
func Empty(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("cannot empty %s: %w", dir, err)
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return fmt.Errorf("cannot empty %s: %w", dir, err)
		}
	}
	return nil
}
