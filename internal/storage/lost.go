package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	lostMark   = ".lost-"
	lostCopies = 3 // sets that are kept aside
)

// SetAside copies files into a new directory beside dir and returns its name.
// They are copies and no links: PostgreSQL overwrites its files in place. Of
// what was set aside before, the newest two stay.
func SetAside(ctx context.Context, dir string, files []string, uid, gid uint32, now time.Time) (kept string, err error) {
	kept = dir + lostMark + now.UTC().Format("20060102T150405")
	if err := setAside(ctx, beside(dir, "lost"), kept, files, uid, gid); err != nil {
		return "", fmt.Errorf("cannot keep files aside in %s: %w", kept, err)
	}
	return kept, forgetSetAside(dir)
}

func setAside(ctx context.Context, staging, kept string, files []string, uid, gid uint32) (err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(staging))
		}
	}()
	// What an interrupted attempt has left.
	if err := os.RemoveAll(staging); err != nil {
		return err
	}
	if err := os.Mkdir(staging, 0o700); err != nil {
		return err
	}
	for _, file := range files {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		if err := copyFile(file, filepath.Join(staging, filepath.Base(file)), uid, gid); err != nil {
			return err
		}
	}
	if err := errors.Join(os.Chown(staging, int(uid), int(gid)), syncDir(staging)); err != nil {
		return err
	}
	if err := os.Rename(staging, kept); err != nil {
		return err
	}
	return syncDir(filepath.Dir(kept))
}

func copyFile(from, to string, uid, gid uint32) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, errCopy := io.Copy(out, in)
	return errors.Join(errCopy, out.Chown(int(uid), int(gid)), out.Sync(), out.Close())
}

// forgetSetAside removes the oldest of what was set aside beside dir.
func forgetSetAside(dir string) error {
	entries, err := os.ReadDir(filepath.Dir(dir)) // sorted by name, which ends in the time
	if err != nil {
		return fmt.Errorf("cannot look for what was kept aside of %s: %w", dir, err)
	}
	var kept []string
	for _, e := range entries {
		if e.IsDir() && strings.HasPrefix(e.Name(), filepath.Base(dir)+lostMark) {
			kept = append(kept, filepath.Join(filepath.Dir(dir), e.Name()))
		}
	}
	for _, path := range kept[:max(0, len(kept)-lostCopies)] {
		if err := os.RemoveAll(path); err != nil {
			return fmt.Errorf("cannot remove what was kept aside in %s: %w", path, err)
		}
	}
	return nil
}

// FreeBeside is the free space of the file system on which SetAside copies.
func FreeBeside(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(filepath.Dir(dir), &st); err != nil {
		return 0, fmt.Errorf("cannot see how much room there is beside %s: %w", dir, err)
	}
	return int64(st.Bavail) * st.Bsize, nil
}
