// Package storage knows how a data directory is laid out on its file systems:
// how it is locked, replaced and kept, with the directories outside that it
// links to. It knows nothing else of what is in it.
package storage

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

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
